//! The funnel: a program at the kernel's socket look-up (`sk_lookup`) that steers every port's datagrams into one socket,
//! so that one receive takes what came for many calls. Packets leave through the rows' own sockets, as their source
//! ports must be right.
//!
//! Those sockets cannot be connected: the kernel finds a connected socket before it asks the program. The row is looked up
//! by the packet's source, which is its own phone's here; a relay would ask for the port it was sent to
//! (`IP_RECVORIGDSTADDR`), a control message a packet more. So this is the best that a funnel can be.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use aya::maps::SockMap;
use aya::programs::SkLookup;
use relay::engine::Engine;
use relay::sys::clock::Now;
use relay::sys::mmsg::Batch;
use relay::sys::socket;
use relay::sys::uring::{Completion, Operation, Ring, Sizes};
use relay::table::Slot;
use rustix::event::{PollFd, PollFlags, poll};

use super::network::Host;
use super::rows::{Plan, Rows};
use super::ways::{PATIENCE, Way, patience};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/lanes/funnel.bpf.c");
/// Outside of the range that is steered.
const OWN_PORT: u16 = 9_999;
/// Room for what all the rows' sockets could hold; the kernel may grant less.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The funnel's socket, and the sockets that send.
pub struct Funnel {
    socket: OwnedFd,
    /// RTP slots by leg.
    slots: Vec<Slot>,
    senders: Vec<(Slot, UdpSocket)>,
    /// The program is attached as long as this lives.
    _program: Ebpf,
}

impl Funnel {
    /// Steers all ports of `plan` on `host`, where the calling thread must be.
    pub fn open(plan: &Plan, host: &Host, rows: &mut Rows) -> Result<Self> {
        let namespace = host.namespace().context("a funnel takes a network namespace of its own")?;
        let socket = socket::bind(SocketAddr::new(plan.near, OWN_PORT), RECEIVE_BUFFER, 0)?;
        let mut program = Ebpf::load(&compile(plan.ports())?)?;
        let mut map = SockMap::try_from(program.map_mut("funnel").context("no map")?)?;
        map.set(0, &socket, 0)?;
        let steer: &mut SkLookup = program.program_mut("steer").context("no program")?.try_into()?;
        steer.load()?;
        steer.attach(namespace)?;
        let slots = rows.of_legs();
        Ok(Self { socket, slots, senders: rows.by_slot()?, _program: program })
    }

    /// Whose packet this is.
    fn slot(&self, source: SocketAddr) -> Option<Slot> {
        self.slots.get(Plan::leg_of_phone(source.port())).copied()
    }
}

fn compile([first, last]: [u16; 2]) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let object = folder.path().join("funnel.o");
    let done = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-c", PROGRAM, "-o"])
        .arg(&object)
        .arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args([format!("-DFIRST_PORT={first}"), format!("-DLAST_PORT={last}")])
        .output()
        .context("clang (Debian: apt-get install clang linux-libc-dev)")?;
    ensure!(done.status.success(), "clang: {}", String::from_utf8_lossy(&done.stderr));
    Ok(std::fs::read(object)?)
}

/// Receives from the funnel with `recvmmsg`, 64 datagrams a call, and sends each by itself: no two go the same way.
pub struct Batches {
    funnel: Funnel,
    batch: Batch,
}

impl Batches {
    pub fn new(funnel: Funnel) -> Self {
        Self { funnel, batch: Batch::default() }
    }
}

impl Way for Batches {
    fn turn(&mut self, engine: &mut Engine) -> io::Result<()> {
        let count = match self.batch.receive(self.funnel.socket.as_fd()) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(&self.funnel.socket, PollFlags::IN)], Some(&patience()))?;
                self.batch.receive(self.funnel.socket.as_fd()).unwrap_or(0)
            }
            other => other?,
        };
        let now = Now::read();
        for index in 0..count {
            let Some((source, bytes, length)) = self.batch.datagram(index) else { continue };
            let Some(slot) = self.funnel.slot(source) else { continue };
            let Some(out) = engine.receive(slot, source, bytes, length, now) else { continue };
            if let (Some(to), Some((_, via))) = (out.to, self.funnel.senders.get(out.via as usize)) {
                let _ = via.send_to(&bytes[..out.length], to);
            }
        }
        engine.batch_done();
        Ok(())
    }
}

/// Receives from the funnel by one multishot receive, and sends through the ring, as the uring lane does.
pub struct Multishot {
    funnel: Funnel,
    ring: Ring,
    /// The funnel's place in the ring's table of files, behind the senders.
    entrance: Slot,
    gather: Duration,
    armed: bool,
}

impl Multishot {
    /// Packets gather so long before the first is handled.
    pub fn new(funnel: Funnel, gather: Duration) -> Result<Self> {
        let entrance = Slot { index: u32::try_from(funnel.senders.len())?, generation: 0 };
        let sizes = Sizes {
            files: entrance.index + 1,
            submissions: 1_024,
            completions: 8_192,
            buffers: 4_096,
            polled: false,
        };
        let mut ring = Ring::new(sizes)?;
        ring.register(entrance.index, funnel.socket.as_fd())?;
        for (slot, socket) in &funnel.senders {
            ring.register(slot.index, socket.as_fd())?;
        }
        Ok(Self { funnel, ring, entrance, gather, armed: false })
    }

    fn complete(&mut self, completion: Completion, engine: &mut Engine, now: Now) -> io::Result<()> {
        let Completion { operation: Operation::Receive, result, more, buffer, .. } = completion else {
            return Ok(());
        };
        self.armed = more;
        let (Some(buffer), Ok(filled)) = (buffer, result) else { return Ok(()) };
        if let Some((source, bytes, length)) = self.ring.datagram(&buffer, filled)
            && let Some(slot) = self.funnel.slot(source)
            && let Some(out) = engine.receive(slot, source, bytes, length, now)
        {
            self.ring.send(slot, out.via, out.to, &buffer, out.length)?;
        }
        self.ring.hold(buffer);
        Ok(())
    }
}

impl Way for Multishot {
    fn turn(&mut self, engine: &mut Engine) -> io::Result<()> {
        if !self.armed {
            self.ring.submit()?;
            self.ring.receive(self.entrance)?;
            self.armed = true;
        }
        let gather = (!self.gather.is_zero()).then_some((GATHERED, self.gather));
        self.ring.wait(PATIENCE, gather)?;
        let now = Now::read();
        for _ in 0..BATCH {
            let Some(completion) = self.ring.take() else { break };
            self.complete(completion, engine, now)?;
        }
        engine.batch_done();
        Ok(())
    }
}

/// Completions handled before sends are submitted, as in the uring lane.
const BATCH: usize = 512;
/// Packets that end a wait before its time, as in the uring lane.
const GATHERED: usize = 64;
