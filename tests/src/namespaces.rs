//! Two hosts on one machine: network namespaces with a veth pair between them, gone when this is dropped.
//!
//! Frames carry whole checksums, as a network's do, and the generator's device takes what an XDP program of the other one
//! sends. It needs root, `ip`, `ethtool` and `clang`.
//!
//! A program is put into its namespace before it starts; of this process only threads that ask something go in, and end
//! there.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::programs::installed;

/// The network device in each namespace.
pub const DEVICE: &str = "media";
/// What is measured (RFC 2544's own network: nobody else's here).
pub const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));
/// The callers' side of the generator, and the callees'.
pub const PARTIES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)), IpAddr::V4(Ipv4Addr::new(198, 18, 0, 3))];
/// The network of all of them.
pub const NETWORK: &str = "198.18.0.0/24";
/// A second device in each namespace, where there is one.
pub const SECOND_DEVICE: &str = "media2";
/// What is measured, there.
pub const SECOND_RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 1));
/// The callees there.
pub const SECOND_PARTY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 1, 3));

/// Both hosts, joined.
#[derive(Debug)]
pub struct Link {
    /// Where what is measured runs.
    pub relay: Space,
    /// Where the load comes from.
    pub generator: Space,
}

impl Link {
    /// Makes both for a test; or says why it is skipped.
    pub fn for_a_test(what: &str) -> Option<Self> {
        if !installed(&["ip", "ethtool", "nsenter", "setpriv", "clang"]) {
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: network namespaces are root's to make");
            return None;
        }
        match Self::make(what, 2) {
            Ok(link) => Some(link),
            Err(why) => {
                let why = format!("{why:#}");
                let forbidden =
                    ["not permitted", "Permission denied"].iter().any(|words| why.contains(words));
                assert!(forbidden, "namespaces: {why}");
                eprintln!("SKIPPED: {why}");
                None
            }
        }
    }

    /// Makes both, under names that nobody else has: they begin with `bauta-` and `what`. Devices have so many queues.
    pub fn make(what: &str, queues: usize) -> Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let id = format!("{}-{}", std::process::id(), MADE.fetch_add(1, Relaxed));
        let relay = Space::make(format!("bauta-{what}-{id}-relay"))?;
        let generator = Space::make(format!("bauta-{what}-{id}-load"))?;
        let link = Self { relay, generator };
        link.join(DEVICE, queues, &[RELAY], &PARTIES)?;
        Ok(link)
    }

    /// Joins them a second time.
    pub fn join_again(&self) -> Result<()> {
        self.join(SECOND_DEVICE, 1, &[SECOND_RELAY], &[SECOND_PARTY])
    }

    fn join(&self, device: &str, queues: usize, relay: &[IpAddr], generator: &[IpAddr]) -> Result<()> {
        let queues = queues.to_string();
        let queues = ["numrxqueues", &queues, "numtxqueues", &queues];
        let mut words = vec!["link", "add", device, "netns", &self.relay.name];
        words.extend(queues);
        words.extend(["type", "veth", "peer", "name", device, "netns", &self.generator.name]);
        words.extend(queues);
        ip(words)?;
        for (space, addresses) in [(&self.relay, relay), (&self.generator, generator)] {
            space.address(device, addresses)?;
            space.run("ethtool", &["-K", device, "tx", "off", "gro", "on"])?;
        }
        // Without a program of its own a veth device leaves what one on the other end sends where it is.
        self.generator.program(device, 2)
    }
}

/// A namespace.
#[derive(Debug)]
pub struct Space {
    name: String,
}

impl Space {
    fn make(name: String) -> Result<Self> {
        ip(["netns", "add", &name])?;
        Ok(Self { name })
    }

    fn address(&self, device: &str, addresses: &[IpAddr]) -> Result<()> {
        for address in addresses {
            ip(["-n", &self.name, "address", "add", &format!("{address}/24"), "dev", device])?;
        }
        ip(["-n", &self.name, "link", "set", "lo", "up"])?;
        ip(["-n", &self.name, "link", "set", device, "up"])
    }

    /// Puts an XDP program on the device that passes every frame up.
    pub fn pass_all(&self) -> Result<()> {
        self.program(DEVICE, 2)
    }

    /// Puts one in its place that drops every frame.
    pub fn drop_all(&self) -> Result<()> {
        self.run("ip", &["link", "set", "dev", DEVICE, "xdpdrv", "off"])?;
        self.program(DEVICE, 1)
    }

    /// Puts an XDP program on the device that has one verdict for all (linux/bpf.h).
    fn program(&self, device: &str, verdict: u32) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (source, object) = (folder.path().join("all.c"), folder.path().join("all.o"));
        let text = format!(
            "__attribute__((section(\"xdp\"))) int all(void *frame) {{ return {verdict}; }}\n\
             char _license[] __attribute__((section(\"license\"))) = \"GPL\";\n"
        );
        std::fs::write(&source, text)?;
        let mut clang = Command::new("clang");
        clang.args(["-O2", "-target", "bpf", "-c"]).arg(&source).arg("-o").arg(&object);
        let done = clang.status().context("clang (apt-get install clang)")?;
        ensure!(done.success(), "clang: {done}");
        let object = object.to_str().context("folder")?;
        self.run("ip", &["link", "set", "dev", device, "xdpdrv", "object", object, "section", "xdp"])
            .map(drop)
    }

    /// What `ip link` says of the device.
    pub fn device(&self) -> Result<String> {
        self.run("ip", &["link", "show", "dev", DEVICE])
    }

    /// Frames that an XDP program has seen in each of the device's queues.
    pub fn seen_in_queues(&self) -> Result<Vec<u64>> {
        let text = self.run("ethtool", &["-S", DEVICE])?;
        let seen = text.lines().filter(|l| l.contains("rx_queue_") && l.contains("_xdp_packets:"));
        seen.map(|l| l.rsplit(' ').next().context("a figure")?.parse().context(l.to_owned())).collect()
    }

    /// Runs a program of the system in here, to its end; gives what it prints.
    fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path())).arg(program).args(words).stdin(Stdio::null());
        let done = command.output().context("nsenter (apt-get install util-linux)")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{program} {words:?} (apt-get install {program}): {}", said.trim());
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// `program`, to be started in here on `core` alone. It is killed when this process goes, however that happens.
    /// Each of the words before it turns into the next, so the process id is the program's own.
    pub fn command_on(&self, program: impl AsRef<OsStr>, core: usize) -> Command {
        let mut command = self.enter();
        command.args(["taskset", "--cpu-list", &core.to_string()]).arg(program);
        command
    }

    /// The same, on whatever core.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.enter();
        command.arg(program);
        command
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("setpriv");
        // `ip netns exec` would hide /sys/fs/bpf.
        command.args(["--pdeathsig", "KILL", "nsenter", &format!("--net={}", self.path())]);
        command.env_remove("RUST_LOG");
        command
    }

    /// What `ask` gives in here: sockets that it makes stay in here.
    pub fn inside<T: Send>(&self, ask: impl FnOnce() -> T + Send) -> Result<T> {
        let space = File::open(self.path()).context(self.path())?;
        let given = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok::<T, rustix::io::Errno>(ask())
            });
            inside.join().expect("a thread in a namespace ends well")
        });
        given.with_context(|| format!("enter {}", self.name))
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if let Err(error) = ip(["netns", "delete", &self.name]) {
            eprintln!("{error:#}: remove it by hand");
        }
    }
}

fn ip<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words).stdin(Stdio::null());
    let done = command.output().context("ip (apt-get install iproute2)")?;
    ensure!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}
