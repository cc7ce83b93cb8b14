//! What capture needs of the tap, and the real one.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use relay::tap::{Attachment, Reader, Record, TapError, attach};

/// A ring that must not be read any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("ring {0} of the tap is broken")]
pub struct Broken(pub u32);

/// Where links come from.
pub trait Tap {
    /// What it gives.
    type Link: Link;
    /// Attaches to the relay.
    fn attach(&mut self) -> Result<Self::Link, TapError>;
}

/// All rings of one relay process.
pub trait Link {
    /// Its ring.
    type Ring: Ring;
    /// The relay process.
    fn epoch(&self) -> u64;
    /// Its rings, by index.
    fn rings(&mut self) -> &mut [Self::Ring];
    /// False once the relay's process has ended; its rings can still be drained.
    fn alive(&self) -> bool;
    /// Sleeps until there are records, the relay is gone, or the time is over.
    fn wait(&mut self, timeout: Duration) -> io::Result<()>;
}

/// One ring.
pub trait Ring {
    /// The next record, its payload in `payload`.
    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record>, Broken>;
    /// Lets the ring advance over all that [`Self::next`] gave.
    fn commit(&mut self);
}

/// The relay's tap socket.
#[derive(Debug)]
pub struct TapSocket(
    /// Where it is.
    pub PathBuf,
);

impl Tap for TapSocket {
    type Link = Attachment;
    fn attach(&mut self) -> Result<Attachment, TapError> {
        attach(&self.0)
    }
}

impl Link for Attachment {
    type Ring = Reader;
    fn epoch(&self) -> u64 {
        self.epoch
    }
    fn rings(&mut self) -> &mut [Reader] {
        &mut self.rings
    }
    fn alive(&self) -> bool {
        self.relay_alive()
    }
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        Self::wait(self, timeout)
    }
}

impl Ring for Reader {
    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Record>, Broken> {
        Self::next(self, payload).map_err(|_| Broken(u32::try_from(self.index()).unwrap_or(u32::MAX)))
    }
    fn commit(&mut self) {
        Self::commit(self);
    }
}
