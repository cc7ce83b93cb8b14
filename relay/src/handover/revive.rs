//! Going on where another relay was killed: from what the ledger says of its promoted calls. On the main thread, at start.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc;

use super::HandoverError;
use super::receive::step;
use crate::call::CallKey;
use crate::engine::handover::State;
use crate::engine::kept::Kept;
use crate::lane::express::Opened;
use crate::lane::xdp::Express;
use crate::lane::xdp::program::Left;
use crate::server;
use crate::table::Slot;
use crate::tap::{Handles, Writer};
use crate::worker::handover::{Adoption, Step};

/// What is gone on with.
#[derive(Debug, Default)]
pub struct Revived {
    calls: Vec<Kept>,
    sockets: Vec<(u32, Slot, OwnedFd)>,
    /// What the server goes on with.
    pub server: Option<server::State>,
}

impl Revived {
    /// Finds the calls that were left on the express lane, and opens their sockets by `bind`. None if there are none. What
    /// cannot be gone on with is taken away, and the log says why.
    pub fn find(express: &mut Opened, bind: impl Fn(SocketAddr) -> std::io::Result<OwnedFd>) -> Option<Self> {
        let left = express.program.as_mut()?.left()?;
        Some(Self::new(left, &mut express.ends, bind)).filter(|revived| !revived.calls.is_empty())
    }

    fn new(left: Left, ends: &mut [Express], bind: impl Fn(SocketAddr) -> std::io::Result<OwnedFd>) -> Self {
        let mut revived = Self::default();
        for (_, bytes) in &left.calls {
            match read(bytes, &left, &bind) {
                Ok((kept, sockets)) => {
                    let worker = kept.worker;
                    revived.sockets.extend(sockets.into_iter().map(|(slot, socket)| (worker, slot, socket)));
                    revived.calls.push(kept);
                }
                Err(why) => tracing::warn!("a call of the relay that was killed cannot go on: {why}"),
            }
        }
        let rows =
            revived.calls.iter().flat_map(|kept| kept.executed.iter().map(|e| (kept.worker, e.slot.index)));
        let rows: HashSet<(u32, u32)> = rows.collect();
        let keys: Vec<(CallKey, u32)> = revived.calls.iter().map(|kept| (kept.key(), kept.worker)).collect();
        for kept in &revived.calls {
            let end = ends.iter_mut().find(|end| end.worker() == kept.worker);
            end.into_iter().for_each(|end| end.executed.extend(&kept.executed));
        }
        let books: Vec<_> = revived.calls.iter().map(|kept| (kept.key(), kept.book())).collect();
        // Each was understood above.
        revived.server = server::State::of(&books, &left.title.addresses);
        left.clear(&rows, &keys, ends);
        revived
    }

    /// Calls.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Has the workers go on with them, which wait for it; `rings` are their new tap rings.
    pub fn hand_over(
        self,
        workers: &[mpsc::Sender<Step>],
        rings: Vec<(Writer, Handles)>,
    ) -> Result<(), HandoverError> {
        let Self { mut calls, mut sockets, .. } = self;
        for ((worker, (mut writer, handles)), index) in workers.iter().zip(rings).zip(0..) {
            writer.populate();
            let own = calls.extract_if(.., |kept| kept.worker == index).collect();
            let state = State::of(own, &mut writer);
            drop(writer);
            step(worker, Adoption::State(Box::new(state), handles))?;
            let own = sockets.extract_if(.., |(worker, ..)| *worker == index);
            step(worker, Adoption::Sockets(own.map(|(_, slot, socket)| (slot, socket)).collect()))?;
        }
        workers.iter().try_for_each(|worker| step(worker, Adoption::Go))
    }
}

type Found = (Kept, Vec<(Slot, OwnedFd)>);

fn read(
    bytes: &[u8],
    left: &Left,
    bind: impl Fn(SocketAddr) -> std::io::Result<OwnedFd>,
) -> Result<Found, String> {
    let kept: Kept = postcard::from_bytes(bytes).map_err(|e| format!("its entry is not understood: {e}"))?;
    if kept.worker >= left.title.workers || kept.rows.iter().any(|(slot, _)| slot.index >= left.title.slots) {
        return Err("its entry speaks of slots that there are not".into());
    }
    if server::State::of(&[(kept.key(), kept.book())], &left.title.addresses).is_none() {
        return Err("what the server knew of it is not understood".into());
    }
    let mut sockets = Vec::with_capacity(kept.rows.len());
    for (slot, row) in &kept.rows {
        let local = row.local.ok_or("its ports are not known")?;
        sockets.push((*slot, bind(local).map_err(|e| format!("{local} cannot be bound: {e}"))?));
    }
    Ok((kept, sockets))
}
