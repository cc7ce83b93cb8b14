//! Stopping: every receive is cancelled, and its completions are handled until the last. `ended` holds the sockets
//! that do not receive meanwhile, so that going on is what follows every receive that ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::{Socket, Uring};
use crate::engine::Engine;
use crate::lane::Handover;
use crate::sys::clock::Now;
use crate::sys::uring::Operation;
use crate::table::Slot;

/// How long cancelling may take: the kernel does it at once, or something is broken.
const PATIENCE_NS: u64 = 1_000_000_000;

impl Uring {
    /// Keeps a descriptor of each of at most `sockets` sockets, as on kernels before 6.8; before the first one is opened.
    pub fn keep_sockets(&mut self, sockets: u32) {
        self.ring.keep_files(sockets);
    }
}

impl Handover for Uring {
    fn stop(&mut self, engine: &mut Engine, freed: &mut Vec<Slot>) -> io::Result<()> {
        let deadline = Now::read().mono_ns + PATIENCE_NS;
        for index in 0..self.sockets.len() {
            if let Some(Socket::Receiving(slot)) = self.sockets.get(index).copied() {
                self.ring.cancel(slot)?;
            }
        }
        loop {
            self.ring.submit()?;
            let now = Now::read();
            while let Some(completion) = self.ring.take() {
                self.complete(completion, engine, now)?;
            }
            freed.append(&mut self.freed);
            let left = self.sockets.iter().filter(|s| **s != Socket::Absent).count();
            if left == self.ended.len() {
                // Sends what came last, and counts what of it was refused.
                self.ring.submit()?;
                if !self.ring.has_completions() {
                    return Ok(());
                }
            } else if now.mono_ns > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "receives could not be cancelled"));
            } else {
                self.ring.wait(Duration::from_millis(10), None)?;
            }
        }
    }

    fn socket(&mut self, slot: Slot) -> io::Result<OwnedFd> {
        if self.sockets.get(slot.index as usize) != Some(&Socket::Receiving(slot)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(kept) = self.ring.kept(slot.index) {
            return kept.try_clone_to_owned();
        }
        self.ring.install(slot)?;
        loop {
            self.ring.wait(Duration::from_millis(10), None)?;
            while let Some(completion) = self.ring.take() {
                match completion.operation {
                    Operation::Install => return self.ring.installed(&completion),
                    Operation::Wake => self.watching &= completion.more,
                    // Of a lane that has stopped nothing else is in flight.
                    _ => self.counters.stale += 1,
                }
            }
        }
    }

    fn adopt(&mut self, slot: Slot, socket: OwnedFd) -> io::Result<()> {
        self.ring.register(slot.index, socket.as_fd())?;
        if let Some(place) = self.sockets.get_mut(slot.index as usize) {
            *place = Socket::Receiving(slot);
        }
        self.ended.push(slot);
        Ok(())
    }

    fn resume(&mut self) -> io::Result<()> {
        // Nothing had to be armed again for want of anything.
        let rearmed = self.counters.rearmed;
        self.rearm()?;
        self.counters.rearmed = rearmed;
        self.ring.submit()
    }
}
