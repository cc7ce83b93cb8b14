//! The contestants, by name.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use relay::engine::Engine;
use relay::lane::{Lane, Mmsg, Pace, Uring};
use relay::table::Slot;
use rustix::event::{EventfdFlags, Timespec, eventfd};

use super::funnel::{self, Funnel};
use super::meter::{Cost, Meter};
use super::network::Host;
use super::plain::Plain;
use super::rows::{Plan, Rows, Sockets};
use super::tasks;

/// A way of moving packets between sockets and the engine.
pub trait Way {
    /// Waits for packets, has the engine decide on them, and sends what it says.
    fn turn(&mut self, engine: &mut Engine) -> io::Result<()>;
}

/// How long a turn waits for a packet at the most.
pub const PATIENCE: Duration = Duration::from_millis(20);

/// The same, as `epoll` wants it.
pub fn patience() -> Timespec {
    Timespec { tv_sec: 0, tv_nsec: PATIENCE.subsec_nanos().into() }
}

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Contestant {
    Recvfrom,
    Mmsg,
    TokioUring,
    UringOpen,
    UringConnected,
    UringGather,
    FunnelMmsg,
    FunnelUring,
    FunnelGather,
}

impl Contestant {
    /// What it is, for a reader of the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recvfrom => "recvfrom and send, epoll",
            Self::Mmsg => "recvmmsg and sendmmsg, epoll (mmsg lane)",
            Self::TokioUring => "tokio-uring, recv_from and send_to",
            Self::UringOpen => "io_uring, sockets not connected (uring lane)",
            Self::UringConnected => "io_uring, sockets connected (uring lane)",
            Self::UringGather => "io_uring, sockets connected, packets gather first (uring lane)",
            Self::FunnelMmsg => "sk_lookup funnel, recvmmsg and sendto",
            Self::FunnelUring => "sk_lookup funnel, io_uring",
            Self::FunnelGather => "sk_lookup funnel, io_uring, packets gather first",
        }
    }

    /// Whether it takes a network namespace of its own.
    pub const fn is_funnel(self) -> bool {
        matches!(self, Self::FunnelMmsg | Self::FunnelUring | Self::FunnelGather)
    }

    const fn sockets(self) -> Sockets {
        match self {
            Self::Recvfrom | Self::Mmsg | Self::UringConnected | Self::UringGather => Sockets::Connect,
            // A connected socket is found before a funnel is asked.
            _ => Sockets::StayOpen,
        }
    }

    /// Forwards on the calling thread, which must be on `host`, until the meter says that the run is over.
    pub fn run(self, plan: &Plan, host: &Host, mut meter: Meter, gather: Duration) -> Result<Option<Cost>> {
        let gather =
            if matches!(self, Self::UringGather | Self::FunnelGather) { gather } else { Duration::ZERO };
        let pace = Pace::Gather(gather);
        let mut rows = Rows::open(plan, self.sockets())?;
        let mut way: Box<dyn Way> = match self {
            Self::TokioUring => return tasks::run(rows, meter),
            Self::Recvfrom => Box::new(Plain::new(&mut rows)?),
            Self::Mmsg => Box::new(Ours::new(&mut rows, |slots, wake| Mmsg::new(slots, wake.as_fd(), pace))?),
            Self::UringOpen | Self::UringConnected | Self::UringGather => {
                Box::new(Ours::new(&mut rows, |slots, wake| Uring::new(slots, wake.as_fd(), pace))?)
            }
            Self::FunnelMmsg => Box::new(funnel::Batches::new(Funnel::open(plan, host, &mut rows)?)),
            Self::FunnelUring | Self::FunnelGather => {
                Box::new(funnel::Multishot::new(Funnel::open(plan, host, &mut rows)?, gather)?)
            }
        };
        while meter.goes_on(&rows.engine) {
            way.turn(&mut rows.engine)?;
        }
        Ok(meter.cost())
    }
}

/// One of the relay's own lanes.
struct Ours<L> {
    lane: L,
    freed: Vec<Slot>,
    _wake: OwnedFd,
}

impl<L: Lane> Ours<L> {
    fn new(rows: &mut Rows, make: impl FnOnce(u32, &OwnedFd) -> io::Result<L>) -> Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
        let mut lane = make(rows.slots, &wake)?;
        for opening in rows.openings.drain(..) {
            lane.open(opening.slot, opening.socket)?;
        }
        Ok(Self { lane, freed: Vec::new(), _wake: wake })
    }
}

impl<L: Lane> Way for Ours<L> {
    fn turn(&mut self, engine: &mut Engine) -> io::Result<()> {
        self.lane.turn(engine, PATIENCE, &mut self.freed)?;
        engine.batch_done();
        Ok(())
    }
}
