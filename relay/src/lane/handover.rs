//! What a lane must be able to do so that another process's lane can go on with its sockets.

use std::io;
use std::os::fd::OwnedFd;

use crate::engine::Engine;
use crate::table::Slot;

/// Stopping and going on, in the same process or in another one, without losing a datagram.
///
/// Old lane: [`Self::stop`], [`Self::socket`] for each slot; then the process ends, or [`Self::resume`]. New lane:
/// [`Self::adopt`] for each slot, then [`Self::resume`]. Between stopping and going on, datagrams wait in the sockets.
pub trait Handover {
    /// Ends receiving. All that was received is handed to `engine` and what it says is sent; slots that became free
    /// are appended to `freed`. After an error the lane goes on as if it had not been asked once [`Self::resume`] was
    /// called.
    fn stop(&mut self, engine: &mut Engine, freed: &mut Vec<Slot>) -> io::Result<()>;

    /// One more descriptor of a slot's socket; the lane must have stopped.
    fn socket(&mut self, slot: Slot) -> io::Result<OwnedFd>;

    /// Takes a socket of another lane for `slot`.
    fn adopt(&mut self, slot: Slot, socket: OwnedFd) -> io::Result<()>;

    /// Receives from every socket.
    fn resume(&mut self) -> io::Result<()>;
}
