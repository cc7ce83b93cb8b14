//! Lanes: ways of executing rows. A lane moves datagrams between sockets and the [`Engine`], which decides.
//!
//! Lives on one worker's thread. Slots are opened with a socket and closed in two steps: after [`Lane::close`] the
//! lane reports the slot once no operation is left on it, and only then may the slot be used again.

mod choice;
pub mod express;
mod handover;
mod mmsg;
mod pace;
mod uring;
#[cfg(feature = "xdp")]
pub mod xdp;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

pub use choice::{Choice, LaneKind, choose};
pub use handover::Handover;
pub use mmsg::Mmsg;
pub use pace::Pace;
pub use uring::Uring;
#[cfg(feature = "xdp")]
pub use xdp::Express;

/// A worker's end of the express lane, which this relay was built without.
#[cfg(not(feature = "xdp"))]
#[derive(Debug)]
pub enum Express {}

use crate::engine::Engine;
use crate::table::Slot;

/// A way of executing rows.
pub trait Lane: Handover {
    /// Starts to receive on `socket` for `slot`.
    fn open(&mut self, slot: Slot, socket: OwnedFd) -> io::Result<()>;

    /// Stops receiving for `slot`; [`Self::turn`] reports it when it is free.
    fn close(&mut self, slot: Slot) -> io::Result<()>;

    /// Connects the sockets whose rows have settled and disconnects those that have not any more, as `engine` says. Done
    /// when it returns: what a new source sends from then on is heard.
    fn connect(&mut self, engine: &mut Engine) -> io::Result<()>;

    /// Waits until something arrives, the wake-up descriptor is readable, or `timeout` is over; hands every datagram
    /// to `engine` and sends what it says. Slots that became free are appended to `freed`. True: the wake-up
    /// descriptor was readable (it is not read here).
    fn turn(&mut self, engine: &mut Engine, timeout: Duration, freed: &mut Vec<Slot>) -> io::Result<bool>;

    /// Events that hint at trouble, by name.
    fn counters(&mut self) -> Vec<(&'static str, u64)>;
}

/// Whether a socket's error is news of an earlier packet, told by ICMP: where it went, nobody listens, or no way leads.
const fn icmp(error: Option<i32>) -> bool {
    matches!(
        error,
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENOPROTOOPT
                | libc::EPROTO
                | libc::EACCES
                | libc::EMSGSIZE
        )
    )
}

/// Makes the lane of this kind on the calling thread, for at most `sockets` sockets; `wake` interrupts its waiting,
/// which goes by `pace`.
pub fn make(kind: LaneKind, sockets: u32, wake: BorrowedFd<'_>, pace: Pace) -> io::Result<Box<dyn Lane>> {
    Ok(match kind {
        LaneKind::Uring => Box::new(Uring::new(sockets, wake, pace)?),
        LaneKind::Mmsg => Box::new(Mmsg::new(sockets, wake, pace)?),
    })
}
