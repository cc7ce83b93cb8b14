//! When a row is on the express lane, and what the program did with its packets there.
//!
//! A row is taken there once its socket is connected, to rest: the program then keeps strangers out, and learns how its
//! party is reached. When the other leg's row is there too, and one source speaks, the row becomes pending; when the worker
//! has sent the last packet that went up, active (see [`crate::lane::xdp::rows`]). It rests again before anything of it changes,
//! and when a packet goes up that the program cannot decide. What the program told is replayed, in order: before the
//! worker handles a packet that went up after it, and before anything of the row is read or changed.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Engine;
use super::calls::Call;
use super::kept::{Executed, Kept};
use crate::call::CallKey;
use crate::drop_reason::DropReason;
use crate::lane::xdp::rows::{self, Orders, State, Uncounted};
use crate::lane::xdp::{self, Express};
use crate::program::message::{PayloadTypes, StreamKind};
use crate::row::{Port, Row};
use crate::sys::clock::Now;
use crate::table::Slot;

/// So long a row rests after a packet went up that the program could not decide: as long as a key is held, about.
const REST_NS: u64 = 500_000_000;
/// A row that is pending for so long is given up for now: what went up did not reach the worker.
const PENDING_NS: u64 = 1_000_000_000;
/// Calls that are looked at for rows to promote, each time: of those that were opened or changed a while ago at the most,
const FRESH: usize = 256;
/// and of all.
const CALLS: usize = 8;
/// That while.
const FRESH_NS: u64 = 4_000_000_000;
/// So old may be what the ledger says of a call's figures: a relay that goes on with it lacks what was measured since, and
/// nothing else.
const KEEP_NS: u64 = 30_000_000_000;
/// From one such look to the next.
const LOOK_NS: u64 = 10_000_000;

/// Where a row stands with the express lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// It is the socket lane's alone.
    #[default]
    Off,
    /// The program passes its packets up, since this time.
    Rest(u64),
    /// It waits for the last packet that goes up, since this time; at the last look so many had, and were all handled.
    Pending(u64, Option<u32>),
    /// The program executes it.
    Active,
}

/// A row's part on the express lane.
#[derive(Debug, Clone, Copy, Default)]
pub struct Boarding {
    /// Where it stands.
    pub stage: Stage,
    /// The last RTP that was handled while it was pending, as [`rows::header`] has it.
    pub handled: u64,
    /// What the program counted and the row has.
    seen: Uncounted,
}

impl Boarding {
    /// Takes note of RTP that came up.
    #[inline]
    pub fn note(&mut self, packet: &[u8]) {
        if matches!(self.stage, Stage::Pending(..)) {
            self.handled = rows::header(packet);
        }
    }
}

/// The engine's part.
#[derive(Debug)]
pub struct Station {
    express: Express,
    /// Rows that are pending.
    pending: Vec<Slot>,
    /// Calls that were opened or changed, and until when they are looked at more often than others.
    fresh: VecDeque<(CallKey, u64)>,
    /// Calls up to this one were looked at.
    looked: Option<CallKey>,
    look_ns: u64,
    /// Replayed packets of which the engine thought otherwise than the program.
    disagreed: u64,
    untold: u64,
}

impl Engine {
    /// Has settled rows executed by the express lane from now on. Rows that it executes already, for a relay that was killed, it
    /// goes on with.
    pub fn board(&mut self, mut express: Express) {
        let (executed, last_ns) = (std::mem::take(&mut express.executed), express.begin());
        let mut station = Box::new(Station {
            express,
            pending: Vec::new(),
            fresh: self.calls.keys().map(|key| (*key, Now::read().mono_ns + FRESH_NS)).collect(),
            looked: None,
            look_ns: 0,
            disagreed: 0,
            untold: 0,
        });
        if !executed.is_empty() {
            self.go_on(&mut station, &executed, last_ns);
        }
        self.station = Some(station);
    }

    /// Goes on with rows of a relay that was killed, which was last alive at `last_ns`.
    fn go_on(&mut self, station: &mut Station, executed: &[Executed], last_ns: u64) {
        // The recorder hears of its calls before it hears their packets.
        self.tell_recorded(Now { mono_ns: last_ns, wall_ns: 0 });
        let mut owed = Vec::new();
        for Executed { slot, count, seen } in executed {
            let (Some(shared), Some(row)) = (station.express.row(slot.index), self.table.at_mut(slot.index))
            else {
                continue;
            };
            if !shared.is_of(*slot) {
                continue;
            }
            let stage = if shared.state() == State::Active {
                Stage::Active
            } else {
                shared.rest();
                Stage::Rest(0)
            };
            row.boarding = Boarding { stage, handled: 0, seen: *seen };
            // What came between the last entry and the end was measured by the one that is gone.
            row.reception.interrupt();
            owed.push((*slot, row.rtp + shared.executed().since(*count)));
        }
        self.replay(station, true);
        for (slot, expected) in owed {
            self.count_unseen(&station.express, &mut station.untold, slot);
            if let Some(row) = self.table.at_mut(slot.index) {
                let missing = expected.since(row.rtp);
                if missing.packets > 0 {
                    row.last_ns = row.last_ns.max(last_ns);
                }
                row.rtp = row.rtp + missing;
                self.forwarded = self.forwarded + missing;
            }
        }
    }

    /// Writes a call down again, if it is written down.
    pub(super) fn keep_again(&mut self, key: CallKey, now_ns: u64) {
        let Some(mut station) = self.station.take() else { return };
        if station.express.ledger.as_ref().is_some_and(|ledger| ledger.written_ns(key).is_some()) {
            self.keep(&mut station.express, key, now_ns);
        }
        self.station = Some(station);
    }

    /// Writes down what a relay must know to go on with a call whose rows are aboard, or are about to be.
    fn keep(&self, express: &mut Express, key: CallKey, now_ns: u64) {
        let (Some(call), Some(mut ledger)) = (self.calls.get(&key), express.ledger.take()) else { return };
        let rows: Vec<(Slot, Row)> =
            call.slots().filter_map(|slot| Some((slot, self.table.get(slot)?.clone()))).collect();
        let executed =
            rows.iter().filter(|(_, row)| row.boarding.stage != Stage::Off).filter_map(|(slot, row)| {
                let shared = express.row(slot.index)?;
                Some(Executed { slot: *slot, count: shared.executed(), seen: row.boarding.seen })
            });
        let executed = executed.collect();
        let kept = Kept { worker: express.worker(), call: call.clone(), rows, executed };
        // Plain data: it can always be written.
        ledger.keep(key, &postcard::to_stdvec(&kept).unwrap_or_default(), now_ns);
        express.ledger = Some(ledger);
    }

    /// A call was opened or changed: its rows will soon be ready.
    pub(super) fn freshen(&mut self, call: CallKey, now_ns: u64) {
        if let Some(station) = &mut self.station {
            station.fresh.push_back((call, now_ns.saturating_add(FRESH_NS)));
        }
    }

    /// Whether there is an express lane.
    pub(super) const fn boards(&self) -> bool {
        self.station.is_some()
    }

    /// Whether rows may be on the express lane: then [`Self::express`] wants to be called every ten milliseconds.
    pub fn on_express(&self) -> bool {
        self.station.is_some() && !self.calls.is_empty()
    }

    /// To be called after each turn of the lane: replays what was told, and promotes rows.
    pub fn express(&mut self, now: Now) {
        let Some(mut station) = self.station.take() else { return };
        station.express.beat(now.mono_ns);
        self.replay(&mut station, false);
        if !station.pending.is_empty() {
            self.keep_pending(&mut station, now.mono_ns);
            self.promote(&mut station, now.mono_ns);
        }
        if now.mono_ns.saturating_sub(station.look_ns) >= LOOK_NS {
            station.look_ns = now.mono_ns;
            self.look(&mut station, now.mono_ns);
        }
        self.station = Some(station);
    }

    /// A packet came to its socket: of an active row, what was told before it goes first.
    #[inline]
    pub(super) fn overtaken(&mut self, slot: Slot, now_ns: u64) {
        if self.station.is_some()
            && self.table.get(slot).is_some_and(|row| row.boarding.stage == Stage::Active)
        {
            self.came_up(slot, now_ns);
        }
    }

    #[cold]
    fn came_up(&mut self, slot: Slot, now_ns: u64) {
        let Some(mut station) = self.station.take() else { return };
        self.replay(&mut station, true);
        let state = station.express.row(slot.index).map(rows::SharedRow::state);
        if let Some(row) = self.table.at_mut(slot.index)
            && state != Some(State::Active)
        {
            row.boarding.stage = Stage::Rest(now_ns);
            station.fresh.push_back((row.call, now_ns.saturating_add(FRESH_NS)));
        }
        self.station = Some(station);
    }

    /// Takes rows back from the program, before anything of them changes. `off`: they leave the express lane.
    pub(super) fn alight(&mut self, slots: impl Iterator<Item = Slot>, off: bool, now_ns: u64) {
        let Some(mut station) = self.station.take() else { return };
        let aboard: Vec<Slot> = slots
            .filter(|s| self.table.get(*s).is_some_and(|row| row.boarding.stage != Stage::Off))
            .collect();
        for slot in &aboard {
            station.express.row(slot.index).into_iter().for_each(rows::SharedRow::rest);
        }
        if !aboard.is_empty() {
            self.replay(&mut station, true);
        }
        for slot in aboard {
            self.count_unseen(&station.express, &mut station.untold, slot);
            let Some(row) = self.table.at_mut(slot.index) else { continue };
            row.boarding.stage = Stage::Rest(now_ns.saturating_sub(REST_NS));
            // What was written down of the call is about to be wrong.
            station.express.ledger.iter_mut().for_each(|ledger| ledger.forget(row.call));
            if let Some(local) = row.local.filter(|_| off) {
                row.boarding = Boarding::default();
                station.express.free(slot.index, local);
            }
        }
        self.station = Some(station);
    }

    /// Takes every row back.
    pub(super) fn alight_all(&mut self) {
        let slots: Vec<Slot> = self.table.rows().map(|(slot, _)| slot).collect();
        self.alight(slots.into_iter(), true, 0);
    }

    /// Counters of the express lane that hint at trouble, by name.
    pub(super) fn express_counters(&self) -> Vec<(String, u64)> {
        let counters = self.station.iter().flat_map(|station| {
            [("express_untold", station.untold), ("express_disagreed", station.disagreed)]
        });
        counters.map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// Rows that the program executes now.
    pub(super) fn express_rows(&self) -> u64 {
        let aboard = self.station.iter().flat_map(|_| self.table.rows());
        aboard.filter(|(_, row)| row.is_express()).count() as u64
    }

    /// Replays what the program told, as if the packets had come to their sockets.
    fn replay(&mut self, station: &mut Station, all: bool) {
        let Station { express, disagreed, .. } = station;
        // More than there can be now would be told meanwhile.
        let mut before = None;
        for _ in 0..express.most() {
            while let Some(slot) = express.ahead() {
                self.prefetch(slot);
                before.replace(slot).into_iter().for_each(|slot| self.prefetch_way(slot));
            }
            let Some((told, packet)) = express.next(all) else { break };
            let (slot, length, sent) = (told.slot, told.length, told.forwarded);
            let now = Now { mono_ns: told.at_ns, wall_ns: 0 };
            let Some(source) = self.table.get(slot).and_then(|row| row.source.settled()) else { continue };
            let forwarded = self.receive(slot, source, packet, length, now).is_some();
            *disagreed += u64::from(forwarded != sent);
        }
        express.done();
    }

    /// Writes calls down of which a row will be active in a moment.
    fn keep_pending(&self, station: &mut Station, now_ns: u64) {
        let Station { express, pending, .. } = station;
        for slot in pending {
            if let Some(row) = self.table.get(*slot)
                && matches!(row.boarding.stage, Stage::Pending(_, Some(_)))
            {
                self.keep(express, row.call, now_ns);
            }
        }
    }

    /// Makes pending rows active of which the worker has sent all that went up. It had them by the last look, and lanes send
    /// what they have in the turn after that at the latest.
    fn promote(&mut self, station: &mut Station, now_ns: u64) {
        let Self { table, .. } = self;
        let Station { express, pending, .. } = station;
        pending.retain(|slot| {
            let Some(orders) = orders(table, express, *slot) else {
                give_up(table, express, *slot, now_ns);
                return false;
            };
            let (Some(row), Some(shared)) = (table.at_mut(slot.index), express.row(slot.index)) else {
                return false;
            };
            let Stage::Pending(since, before) = row.boarding.stage else { return false };
            let State::Pending(passed) = shared.state() else {
                row.boarding.stage = Stage::Rest(now_ns);
                return false;
            };
            let all = passed > 0 && shared.passed() == row.boarding.handled;
            if all && before == Some(passed) {
                shared.order(&orders);
                if shared.promote(passed) {
                    row.boarding.stage = Stage::Active;
                    return false;
                }
            }
            if now_ns.saturating_sub(since) >= PENDING_NS {
                give_up(table, express, *slot, now_ns);
                return false;
            }
            row.boarding.stage = Stage::Pending(since, all.then_some(passed));
            true
        });
    }

    /// Looks at some calls, fresh ones and those that were not looked at for longest: takes their settled rows aboard, and has
    /// those that are there become pending.
    fn look(&mut self, station: &mut Station, now_ns: u64) {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = station.looked.map_or(Unbounded, Excluded);
        let mut keys: Vec<CallKey> =
            self.calls.range((from, Unbounded)).take(CALLS).map(|(key, _)| *key).collect();
        // Behind the last one comes the first.
        station.looked = keys.last().copied();
        for _ in 0..station.fresh.len().min(FRESH) {
            let Some((key, until)) = station.fresh.pop_front() else { break };
            if self.calls.contains_key(&key) {
                keys.push(key);
                if now_ns < until {
                    station.fresh.push_back((key, until));
                }
            }
        }
        for key in &keys {
            let written = station.express.ledger.as_ref().and_then(|ledger| ledger.written_ns(*key));
            if written.is_some_and(|written| now_ns.saturating_sub(written) >= KEEP_NS) {
                self.keep(&mut station.express, *key, now_ns);
            }
        }
        let rows = |key: &CallKey| self.calls.get(key).map(Call::rtp_slots).into_iter().flatten();
        let slots: Vec<Slot> = keys.iter().flat_map(rows).collect();
        let Station { express, pending, untold, .. } = station;
        for slot in slots {
            let Some(row) = self.table.get(slot) else { continue };
            match row.boarding.stage {
                Stage::Off => {
                    if let Some((local, source)) = settled(row)
                        && express.take(slot, local, source)
                        && let Some(row) = self.table.at_mut(slot.index)
                    {
                        row.boarding =
                            Boarding { stage: Stage::Rest(now_ns.saturating_sub(REST_NS)), ..row.boarding };
                    }
                }
                Stage::Rest(since)
                    if now_ns.saturating_sub(since) >= REST_NS
                        && orders(&self.table, express, slot).is_some() =>
                {
                    if let Some(row) = self.table.at_mut(slot.index)
                        && express.row(slot.index).is_some_and(rows::SharedRow::await_last)
                    {
                        row.boarding.stage = Stage::Pending(now_ns, None);
                        pending.push(slot);
                    }
                }
                // The program put it to rest, and what went up never came.
                Stage::Active if express.row(slot.index).is_some_and(|row| row.state() != State::Active) => {
                    if let Some(row) = self.table.at_mut(slot.index) {
                        row.boarding.stage = Stage::Rest(now_ns);
                    }
                }
                _ => {}
            }
            self.count_unseen(express, untold, slot);
        }
    }

    /// Adds to a row's counters what the program alone counted.
    fn count_unseen(&mut self, express: &Express, untold: &mut u64, slot: Slot) {
        let Some(shared) = express.row(slot.index) else { return };
        let Some(row) = self.table.at_mut(slot.index) else { return };
        if row.boarding.stage == Stage::Off {
            return;
        }
        let now = shared.uncounted();
        let seen = std::mem::replace(&mut row.boarding.seen, now);
        let strangers = now.mismatched.wrapping_sub(seen.mismatched);
        let packets = now.untold.wrapping_sub(seen.untold);
        row.drops.add(DropReason::SourceMismatch, strangers);
        self.drops.add(DropReason::SourceMismatch, strangers);
        self.received += strangers + packets;
        if packets > 0 {
            *untold += packets;
            let bytes = now.untold_bytes.wrapping_sub(seen.untold_bytes);
            for count in [&mut row.rtp, &mut self.forwarded] {
                count.packets += packets;
                count.bytes += bytes;
            }
            row.last_ns = shared.last_ns().max(row.last_ns);
            if row.tapping {
                self.tapping.missing(row, packets, shared.last_ns());
            }
        }
    }
}

/// The port and the source of a row that can be taken aboard.
fn settled(row: &Row) -> Option<(SocketAddr, SocketAddr)> {
    let plain = row.port == Port::Rtp && row.kind == StreamKind::Rtp && !row.verbatim && row.connected;
    let (local, source) = (row.local?, row.source.connectable()?);
    (plain && xdp::fits(local, source)).then_some((local, source))
}

/// What becomes of a row's packets, if the program can do it: both legs are aboard, how the other one is reached is known,
/// and one source speaks.
fn orders(table: &crate::table::Table, express: &Express, slot: Slot) -> Option<Orders> {
    let row = table.get(slot)?;
    let peer = table.at(row.peer.rtp)?;
    let (_, _) = settled(row)?;
    let (local, destination) = settled(peer)?;
    let aboard = row.boarding.stage != Stage::Off && peer.boarding.stage != Stage::Off;
    let here = express.row(slot.index)?.hop()?;
    let there = express.row(row.peer.rtp)?.hop()?;
    if !aboard || here != there || local.is_ipv4() != row.local?.is_ipv4() {
        return None;
    }
    let accepts = PayloadTypes(row.accepts.0 & !row.events.0);
    let tapped = if row.tapping { row.tapped } else { PayloadTypes::NONE };
    Some(Orders {
        accepts,
        tapped,
        guise: row.mask.only()?,
        way: (local, destination),
        dscp: express.dscp(local),
        cap: row.cap.state(),
        peer: express.name(row.peer.rtp),
    })
}

/// Takes a row back that cannot be promoted now.
fn give_up(table: &mut crate::table::Table, express: &Express, slot: Slot, now_ns: u64) {
    if table.get(slot).is_some()
        && let Some(row) = table.at_mut(slot.index)
    {
        express.row(slot.index).into_iter().for_each(rows::SharedRow::rest);
        row.boarding.stage = Stage::Rest(now_ns);
    }
}
