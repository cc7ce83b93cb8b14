//! Nothing is in flight between two turns: to stop is not to turn.

use std::io;
use std::os::fd::OwnedFd;

use super::Mmsg;
use crate::engine::Engine;
use crate::lane::{Handover, Lane};
use crate::table::Slot;

impl Handover for Mmsg {
    fn stop(&mut self, _engine: &mut Engine, freed: &mut Vec<Slot>) -> io::Result<()> {
        freed.append(&mut self.freed);
        Ok(())
    }

    fn socket(&mut self, slot: Slot) -> io::Result<OwnedFd> {
        match self.sockets.get(slot.index as usize) {
            Some(Some((held, socket))) if *held == slot => socket.try_clone(),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn adopt(&mut self, slot: Slot, socket: OwnedFd) -> io::Result<()> {
        self.open(slot, socket)
    }

    fn resume(&mut self) -> io::Result<()> {
        Ok(())
    }
}
