//! An engine's rows, calls and counters as plain data: what a relay process hands to the one that takes over.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::calls::Call;
use super::digits::Digits;
use super::learning;
use super::tapping::{Tapping, TappingState};
use super::{Engine, Spans};
use crate::drop_reason::DropCounters;
use crate::program::message::Count;
use crate::row::Row;
use crate::table::{Slot, Table};
use crate::tap::Handles;

/// All that an engine knows. Times are monotonic: they mean the same to every process of this host.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pub(super) rows: Vec<(Slot, Row)>,
    pub(super) calls: Vec<Call>,
    pub(super) tapping: TappingState,
    /// Sockets that are to be connected, or to be so no longer; the rows say which are.
    pub(super) connections: VecDeque<(Slot, Option<SocketAddr>)>,
    pub(super) forwarded: Count,
    pub(super) received: u64,
    pub(super) drops: DropCounters,
}

impl State {
    /// The slots that have a row: each has a socket.
    pub fn slots(&self) -> Vec<Slot> {
        self.rows.iter().map(|(slot, _)| *slot).collect()
    }

    /// How many slots an engine must have to take it.
    pub fn size(&self) -> u32 {
        self.rows.iter().map(|(slot, _)| slot.index + 1).max().unwrap_or(0)
    }

    /// Calls.
    pub fn call_count(&self) -> usize {
        self.calls.len()
    }
}

impl Engine {
    /// What this engine knows. Its lane must have stopped, every slot that it closed must have been released, and every
    /// digit must have been taken.
    pub fn export(&mut self) -> State {
        self.alight_all();
        State {
            rows: self.table.rows().map(|(slot, row)| (slot, row.clone())).collect(),
            calls: self.calls.values().cloned().collect(),
            tapping: self.tapping.export(),
            connections: self.connections.clone(),
            forwarded: self.forwarded,
            received: self.received,
            drops: self.drops,
        }
    }

    /// An engine of `size` slots (at least [`State::size`]) that goes on where another one was; `tap` are the handles of
    /// the ring that this one wrote, of the relay `epoch`.
    pub fn resume(state: State, size: u32, tap: Handles, epoch: u64, spans: Spans) -> std::io::Result<Self> {
        let State { rows, calls, tapping, connections: theirs, forwarded, received, drops } = state;
        let mut connections = learning::queue(size);
        connections.extend(theirs);
        Ok(Self {
            table: Table::with_rows(size, rows),
            calls: calls.into_iter().map(|call| (call.key, call)).collect(),
            tapping: Tapping::resume(tapping, tap, epoch)?,
            spans,
            connections,
            digits: Digits::new(),
            forwarded,
            received,
            drops,
            #[cfg(feature = "xdp")]
            station: None,
        })
    }
}
