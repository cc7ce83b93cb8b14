//! What the ledger says of a call, and an engine's state made of it: what a relay goes on with where another one was killed.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::calls::Call;
use super::handover::State;
use super::tapping::TappingState;
use crate::call::CallKey;
use crate::drop_reason::DropCounters;
use crate::lane::xdp::rows::Uncounted;
use crate::program::message::Count;
use crate::row::Row;
use crate::table::Slot;
use crate::tap::Writer;

/// A promoted call, as its worker knew it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Index of the worker.
    pub worker: u32,
    pub(super) call: Call,
    /// Its rows.
    pub rows: Vec<(Slot, Row)>,
    /// What the program had done for those that were aboard.
    pub executed: Vec<Executed>,
}

/// What the program had done for a row when it was written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// Its slot.
    pub slot: Slot,
    /// Forwarded, by the program's own count.
    pub count: Count,
    /// Of what it counted alone, that which the row has.
    pub seen: Uncounted,
}

impl Kept {
    /// Its key.
    pub const fn key(&self) -> CallKey {
        self.call.key
    }

    /// What the server knew of it.
    pub fn book(&self) -> &[u8] {
        &self.call.book
    }
}

impl State {
    /// That of an engine that has these calls, whose sockets are new, and which taps into the new ring `tap`.
    pub fn of(calls: Vec<Kept>, tap: &mut Writer) -> Self {
        let mut state = Self {
            rows: Vec::new(),
            calls: Vec::new(),
            tapping: TappingState::beginning(tap),
            connections: VecDeque::new(),
            forwarded: Count::default(),
            received: 0,
            drops: DropCounters::default(),
        };
        for Kept { call, rows, .. } in calls {
            state.calls.push(call);
            for (slot, mut row) in rows {
                if std::mem::take(&mut row.connected) {
                    state.connections.push_back((slot, row.source.connectable()));
                }
                state.rows.push((slot, row));
            }
        }
        state
    }
}
