//! The SIP proxy: Kamailio with the configuration that is shipped in `tools/kamailio/`.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::deadline::seconds;
use crate::ports::Ports;
use crate::process::Process;
use crate::programs::repository;

/// The trunk's name, as control is told.
pub const TRUNK: &str = "test-trunk";

/// A running proxy.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
    address: SocketAddr,
}

/// What a site puts beside the configuration that is shipped.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Where calls go out, a SIP URI; the callee of the test when none.
    pub next_hop: Option<String>,
    /// `site.cfg`.
    pub settings: String,
    /// `site-routes.cfg`.
    pub routes: String,
}

impl Kamailio {
    /// Starts the proxy of `site` between the callers and the callee of `ports`, with control at `ports`.
    pub fn start(ports: &Ports, folder: &Path, token: &str, site: &Site) -> Self {
        let run = folder.join("kamailio");
        std::fs::create_dir_all(&run).expect("run directory");
        let configuration = run.join("kamailio.cfg");
        std::fs::copy(repository("tools/kamailio/kamailio.cfg"), &configuration).expect("configuration");
        std::fs::write(run.join("site.cfg"), &site.settings).expect("site.cfg");
        std::fs::write(run.join("site-routes.cfg"), &site.routes).expect("site-routes.cfg");
        let callee = || format!("sip:{}:{}", ports.phones(), ports.callee());
        let next_hop = site.next_hop.clone().unwrap_or_else(callee);
        let address = ports.proxy();
        let mut command = Command::new("kamailio");
        command.arg("-f").arg(configuration);
        command.args(["-DD", "-E", "-m", "64", "-M", "8", "-Y"]).arg(&run);
        for define in [
            format!("BAUTA_LISTEN=udp:{address}"),
            format!("BAUTA_ROUTE_URL=\"http://{}/v1/route\"", ports.http()),
            format!("BAUTA_NG=\"udp:{}\"", ports.ng()),
            format!("BAUTA_NEXT_HOP=\"{next_hop}\""),
            format!("BAUTA_TRUNK=\"{TRUNK}\""),
            format!("BAUTA_PEERS=\"^(127.0.0.1|{})$\"", ports.phones()),
            "BAUTA_CHILDREN=2".into(),
        ] {
            command.args(["-A", &define]);
        }
        command.env("BAUTA_PROXY_TOKEN", token).env_remove("http_proxy").env_remove("HTTP_PROXY");
        let mut process = Process::start("kamailio", command, folder.join("kamailio.log"));
        process.ready("answers OPTIONS", seconds(20), |_| answers(address).then_some(()));
        process.ready("finds control's NG", seconds(20), |p| {
            p.output().contains(", support for it enabled").then_some(())
        });
        Self { process, address }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its log.
    pub fn log(&self) -> String {
        self.process.output()
    }
}

impl Drop for Kamailio {
    /// Its main process waits for the others; killed with them, it would leave that to init, which may not do it.
    fn drop(&mut self) {
        self.process.ask_to_end(seconds(3));
    }
}

/// Whether the proxy at `address` answers.
fn answers(address: SocketAddr) -> bool {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("socket");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("time-out");
    let here = socket.local_addr().expect("address");
    let options = format!(
        "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{port}\r\nFrom: <sip:{here}>;tag=1\r\n\
         To: <sip:{address}>\r\nCall-ID: {port}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 9\r\nContent-Length: 0\r\n\r\n",
        port = here.port()
    );
    let mut buffer = [0; 2048];
    socket.send_to(options.as_bytes(), address).is_ok()
        && socket.recv(&mut buffer).is_ok_and(|n| buffer[..n].starts_with(b"SIP/2.0 200"))
}
