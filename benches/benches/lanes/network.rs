//! Two hosts on a wire: network namespaces with a veth pair, where this user may make them, else loopback.
//!
//! Nobody needs to clean up: each namespace is kept by a process that ends with its standard input, so with the bench,
//! however that ends; wire and addresses go with the namespaces.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where the relay is, and where its callers and callees are.
pub struct Network {
    pub near: Host,
    pub far: Host,
}

/// One end of the wire.
pub struct Host {
    pub address: IpAddr,
    /// None on loopback.
    space: Option<Space>,
}

struct Space {
    file: File,
    keeper: Child,
    _alive: ChildStdin,
}

impl Network {
    /// Namespaces, or else loopback, and why.
    pub fn lay() -> (Self, Option<anyhow::Error>) {
        match Self::namespaces() {
            Ok(network) => (network, None),
            Err(why) => {
                let host = || Host { address: Ipv4Addr::LOCALHOST.into(), space: None };
                (Self { near: host(), far: host() }, Some(why))
            }
        }
    }

    fn namespaces() -> Result<Self> {
        let (near, far) = (Space::make()?, Space::make()?);
        near.ip(&format!("link add near type veth peer name far netns {}", far.keeper.id()))?;
        for (space, device, address) in [(&near, "near", "10.7.0.1/24"), (&far, "far", "10.7.0.2/24")] {
            space.ip(&format!("address add {address} dev {device}"))?;
            space.ip("link set lo up")?;
            space.ip(&format!("link set {device} up"))?;
        }
        let host = |last, space| Host { address: Ipv4Addr::new(10, 7, 0, last).into(), space: Some(space) };
        Ok(Self { near: host(1, near), far: host(2, far) })
    }
}

impl Host {
    /// The calling thread, and what it starts from now on, is on this host.
    pub fn enter(&self) -> Result<()> {
        let Some(space) = &self.space else { return Ok(()) };
        Ok(move_into_link_name_space(space.file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Its namespace, where it has one of its own.
    pub fn namespace(&self) -> Option<&File> {
        self.space.as_ref().map(|space| &space.file)
    }
}

impl Space {
    fn make() -> Result<Self> {
        let mut keeper = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo made; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("unshare (Debian: util-linux)")?;
        let alive = keeper.stdin.take().context("no pipe")?;
        let mut said = String::new();
        BufReader::new(keeper.stdout.take().context("no pipe")?).read_line(&mut said)?;
        if said != "made\n" {
            keeper.wait()?;
            anyhow::bail!("a network namespace is refused; it takes root");
        }
        let file = File::open(format!("/proc/{}/ns/net", keeper.id()))?;
        Ok(Self { file, keeper, _alive: alive })
    }

    fn ip(&self, arguments: &str) -> Result<()> {
        let pid = self.keeper.id().to_string();
        let done = Command::new("nsenter")
            .args(["--target", &pid, "--net", "ip"])
            .args(arguments.split(' '))
            .output()
            .context("nsenter, ip (Debian: util-linux, iproute2)")?;
        ensure!(done.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&done.stderr).trim());
        Ok(())
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
