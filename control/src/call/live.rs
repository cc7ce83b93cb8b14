//! What HTTP shows of calls in progress and of the relay: control's side of [`LiveCalls`].

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use relay::program::message::{CallCounters, Count, InterfaceStats, Leg, Reply, Request, Stats, WorkerStats};
use uuid::Uuid;

use super::desk::Calls;
use super::pause::Wish;
use super::registry::Live;
use super::sound;
use super::state::{Call, Ended};
use crate::live::{
    Asker, CallDetail, CallSummary, Later, LiveCalls, Pause, PauseError, Recorded, RelayAway, RelayFacts,
    SoundFacts, StreamFacts,
};
use crate::metrics::{Kind, Text};
use crate::moment::Moment;
use crate::name::TripId;
use crate::quality::opinion::millis;
use crate::quality::record::{hundredths, mos};
use crate::quality::sound::Sound;

const NOW: &str = "bauta_calls";
const ENDED: &str = "bauta_calls_ended_total";
const LANE: &str = "bauta_relay_lane";
/// The lane of a stream that the relay has promoted.
const EXPRESS: &str = "xdp";

/// How many calls ended, by reason.
#[derive(Default)]
pub struct EndedCounts([AtomicU64; Ended::ALL.len()]);

impl EndedCounts {
    /// Counts one.
    pub fn count(&self, why: Ended) {
        if let Some(count) = self.0.get(why as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl LiveCalls for Calls {
    fn list(&self) -> Vec<CallSummary> {
        let mut calls = self.registry.look(|live| summary(&live.call));
        // A UUID v7 begins with its time.
        calls.sort_by_key(|call| call.id);
        calls
    }

    fn get(&self, id: Uuid) -> Later<'_, Option<CallDetail>> {
        Box::pin(async move {
            let seen = |live: &Live| (live.call.id == id).then(|| live.call.clone());
            let call = self.registry.look(seen).into_iter().flatten().next()?;
            let counters = match self.link.client() {
                Ok(client) => client.ask(Request::Read { call: call.key }).await.ok(),
                Err(_) => None,
            };
            let lane = self.link.facts().lane.unwrap_or_default();
            let streams = match counters {
                Some(Reply::Counters(counters)) => streams(&call, &counters, &lane),
                _ => Vec::new(),
            };
            Some(CallDetail { summary: summary(&call), lane, streams })
        })
    }

    fn in_progress(&self, trip: &TripId) -> usize {
        let of_trip = |call: &Call| call.terms.as_ref().is_some_and(|terms| terms.trip == *trip);
        self.registry.count(of_trip)
    }

    fn in_progress_by_trip(&self) -> HashMap<TripId, usize> {
        let trips = self.registry.look(|live| live.call.terms.as_ref().map(|terms| terms.trip.clone()));
        let mut calls = HashMap::new();
        for trip in trips.into_iter().flatten() {
            *calls.entry(trip).or_default() += 1;
        }
        calls
    }

    fn pause_trip<'a>(
        &'a self,
        trip: &'a TripId,
        paused: bool,
        by: Asker,
    ) -> Later<'a, Result<Vec<Recorded>, PauseError>> {
        Box::pin(self.tap_trip(trip, Wish { paused, by }))
    }

    fn pause_call(&self, id: Uuid, paused: bool, by: Asker) -> Later<'_, Result<Recorded, PauseError>> {
        Box::pin(self.tap_id(id, Wish { paused, by }))
    }

    fn drain(&self, draining: bool) -> Later<'_, Result<(), RelayAway>> {
        Box::pin(async move {
            let client = self.link.client().map_err(|_| RelayAway)?;
            client.ask(Request::Drain { draining }).await.map_err(|e| {
                tracing::warn!("not told to the relay: {e}");
                RelayAway
            })?;
            tracing::info!(draining, "drain");
            self.link.drained(draining);
            Ok(())
        })
    }

    fn relay(&self) -> RelayFacts {
        self.link.facts()
    }

    fn metrics(&self) -> Later<'_, String> {
        Box::pin(async move {
            let mut text = Text::default();
            self.ng.write(&mut text);
            self.write_calls(&mut text);
            self.digits.write(&mut text);
            let stats = match self.link.client() {
                Ok(client) => client.ask(Request::Stats).await.ok(),
                Err(_) => None,
            };
            text.single(
                "bauta_relay_connected",
                Kind::Gauge,
                "Whether control is connected to the relay.",
                u8::from(stats.is_some()),
            );
            if let Some(Reply::Stats(stats)) = stats {
                write_relay(&mut text, &stats);
            }
            text.finish()
        })
    }
}

impl Calls {
    fn write_calls(&self, text: &mut Text) {
        let answered = self.registry.count(|call| call.answered_at.is_some());
        let offered = self.registry.count(|call| call.answered_at.is_none());
        text.family(NOW, Kind::Gauge, "Calls in progress.")
            .sample(NOW, &[("state", "offered")], offered)
            .sample(NOW, &[("state", "answered")], answered);
        let paused = self.registry.count(|call| call.pause.is_some());
        text.single("bauta_recordings_paused", Kind::Gauge, "Calls whose recording is paused.", paused);
        let foreign = self.link.foreign();
        text.single(
            "bauta_calls_foreign",
            Kind::Gauge,
            "Calls in the relay whose state control cannot read; closed when they expire or have been silent for an hour.",
            foreign,
        );
        text.family(ENDED, Kind::Counter, "Calls that ended, by reason.");
        for (why, count) in Ended::ALL.iter().zip(&self.ended.0) {
            text.sample(ENDED, &[("reason", why.label())], count.load(Ordering::Relaxed));
        }
        self.tally.write(text);
        text.single(
            "bauta_call_records_lost_total",
            Kind::Counter,
            "Records of calls that could not be written to disk.",
            self.records.lost(),
        );
    }
}

fn summary(call: &Call) -> CallSummary {
    let terms = call.terms.as_ref();
    let role = |leg: Leg| terms.and_then(|terms| terms.roles.get(leg as usize).cloned());
    CallSummary {
        id: call.id,
        state: if call.answered_at.is_some() { "answered" } else { "offered" },
        since: Moment::from_unix(call.offered_at.unix_timestamp()),
        trip: terms.map(|terms| terms.trip.clone()),
        city: terms.map(|terms| terms.city.clone()),
        caller: role(Leg::Caller),
        callee: role(Leg::Callee),
        recording: call.recorded(),
        paused: call
            .pause
            .map(|pause| Pause { by: pause.by, since: Moment::from_unix(pause.since.unix_timestamp()) }),
    }
}

fn streams(call: &Call, counters: &CallCounters, lane: &str) -> Vec<StreamFacts> {
    let facts = |of: &Sound<'_>, kind, count: Count, rtp: bool| StreamFacts {
        from: of.side(),
        kind,
        lane: if rtp && of.counters.express { EXPRESS.to_owned() } else { lane.to_owned() },
        packets: count.packets,
        bytes: count.bytes,
        // The relay counts events and drops per leg; they are told with its RTP.
        events: if rtp { of.counters.events } else { 0 },
        drops: if rtp { of.counters.drops.iter().cloned().collect() } else { BTreeMap::new() },
        // Milliseconds of a call's life are exact in a f64.
        // The relay tells one time for both: of a stream without packets it is not.
        last_packet_seconds_ago: of
            .counters
            .last_packet_ms
            .filter(|_| count.packets > 0)
            .map(|ms| std::time::Duration::from_millis(ms).as_secs_f64()),
        sound: if rtp { sounded(of) } else { SoundFacts::default() },
    };
    let sounds = sound::of(call, counters);
    let rows = sounds
        .iter()
        .flatten()
        .flat_map(|of| [facts(of, "rtp", of.counters.rtp, true), facts(of, "rtcp", of.counters.rtcp, false)]);
    rows.collect()
}

fn sounded(of: &Sound<'_>) -> SoundFacts {
    let (opinion, measured) = (of.opinion, of.counters.quality.is_some());
    let [_, duplicates, reordered] = of.troubles();
    SoundFacts {
        loss: opinion.map(|opinion| (opinion.average.loss * 1e4).round() / 1e4),
        jitter_ms: opinion.map(|opinion| hundredths(millis(opinion.average.jitter))),
        duplicates: measured.then_some(duplicates),
        reordered: measured.then_some(reordered),
        round_trip_ms: of.round_trip().map(|time| hundredths(millis(time))),
        mos: opinion.and_then(|opinion| mos(&opinion.average)),
        mos_lowest: opinion.and_then(|opinion| mos(&opinion.lowest)),
        mos_last: opinion.and_then(|opinion| mos(&opinion.last)),
        mos_heard: of.heard.and_then(|heard| mos(&heard)),
    }
}

fn write_relay(text: &mut Text, stats: &Stats) {
    text.family(LANE, Kind::Gauge, "The lane that forwards packets: 1 for the one in use.");
    text.sample(LANE, &[("lane", &stats.lane), ("reason", &stats.lane_reason)], 1);
    text.single("bauta_relay_calls", Kind::Gauge, "Calls open in the relay.", stats.calls);
    let pairs = |text: &mut Text, name: &str, help: &str, value: fn(&InterfaceStats) -> u64| {
        text.family(name, Kind::Gauge, help);
        for stats in &stats.interfaces {
            text.sample(name, &[("interface", &stats.name)], value(stats));
        }
    };
    pairs(text, "bauta_relay_port_pairs_free", "Port pairs that a call can take.", |i| i.pairs_free);
    pairs(text, "bauta_relay_port_pairs_resting", "Port pairs that rest after a call.", |i| i.pairs_resting);
    pairs(text, "bauta_relay_port_pairs", "Port pairs in the range.", |i| i.pairs_total);
    let help = "Whether no new calls are taken.";
    text.single("bauta_relay_draining", Kind::Gauge, help, u8::from(stats.draining));
    let attached = u8::from(stats.recorder_attached);
    text.single("bauta_recorder_attached", Kind::Gauge, "Whether a recorder reads the tap.", attached);
    let each = |text: &mut Text, name: &str, kind: Kind, help: &str, value: fn(&WorkerStats) -> u64| {
        text.family(name, kind, help);
        for (worker, stats) in stats.workers.iter().enumerate() {
            text.sample(name, &[("worker", &worker.to_string())], value(stats));
        }
    };
    each(text, "bauta_relay_sockets", Kind::Gauge, "Sockets open.", |w| w.sockets);
    let help = "Rows (each one direction of a stream) that the express lane executes.";
    each(text, "bauta_relay_express_rows", Kind::Gauge, help, |w| w.express_rows);
    each(text, "bauta_relay_packets_per_second", Kind::Gauge, "Packets received in the last second.", |w| {
        w.load.packets_per_second
    });
    each(
        text,
        "bauta_relay_busy_permille",
        Kind::Gauge,
        "Share of its core that it used in the last second.",
        |w| w.load.busy_permille.into(),
    );
    each(text, "bauta_relay_packets_total", Kind::Counter, "Packets forwarded.", |w| w.forwarded.packets);
    each(text, "bauta_relay_bytes_total", Kind::Counter, "Bytes of UDP payload forwarded.", |w| {
        w.forwarded.bytes
    });
    each(text, "bauta_tap_records_total", Kind::Counter, "Records written to the tap.", |w| w.tap_records);
    each(
        text,
        "bauta_tap_lost_total",
        Kind::Counter,
        "Packets that the recorder did not get: the tap was full.",
        |w| w.tap_lost,
    );
    each(text, "bauta_tap_backlog_bytes", Kind::Gauge, "Bytes that the recorder has not taken yet.", |w| {
        w.tap_backlog
    });
    let named = |text: &mut Text,
                 name: &str,
                 label: &str,
                 help: &str,
                 list: fn(&WorkerStats) -> &Vec<(String, u64)>| {
        text.family(name, Kind::Counter, help);
        for (worker, stats) in stats.workers.iter().enumerate() {
            for (reason, count) in list(stats) {
                text.sample(name, &[("worker", &worker.to_string()), (label, reason)], count);
            }
        }
    };
    named(text, "bauta_relay_dropped_packets_total", "reason", "Packets not forwarded, by reason.", |w| {
        &w.drops
    });
    named(text, "bauta_relay_lane_events_total", "event", "What hints at trouble in the lane.", |w| &w.lane);
}
