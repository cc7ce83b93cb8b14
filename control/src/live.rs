//! What the calls half tells the masking half about calls in progress and about the relay:
//! for `GET /v1/calls`, `/readyz`, `/metrics`; and how HTTP pauses recordings. Implemented by the calls half, used by HTTP.
//!
//! Nothing here holds a party's number, a SIP Call-ID or a tag.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::moment::Moment;
use crate::name::{City, Role, TripId};

/// A boxed future, so that the trait can be used as `dyn`.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The calls in progress and the relay that carries them.
pub trait LiveCalls: Send + Sync {
    /// Every call in progress, oldest first. From memory.
    fn list(&self) -> Vec<CallSummary>;

    /// One call by its id, with counters read from the relay.
    fn get(&self, id: Uuid) -> Later<'_, Option<CallDetail>>;

    /// How many calls of this trip are in progress. From memory.
    fn in_progress(&self, trip: &TripId) -> usize;

    /// How many calls of each trip are in progress; trips without any are left out. From memory, in one go: for those
    /// who ask about many trips.
    fn in_progress_by_trip(&self) -> HashMap<TripId, usize> {
        let mut calls = HashMap::new();
        for trip in self.list().into_iter().filter_map(|call| call.trip) {
            *calls.entry(trip).or_default() += 1;
        }
        calls
    }

    /// Pauses or resumes the recording of every recorded call of this trip, those that are being opened too. Where it
    /// is so already, nothing changes. Oldest first; none when no call of the trip is recorded.
    fn pause_trip<'a>(
        &'a self,
        trip: &'a TripId,
        paused: bool,
        by: Asker,
    ) -> Later<'a, Result<Vec<Recorded>, PauseError>>;

    /// The same for one call, by its id.
    fn pause_call(&self, id: Uuid, paused: bool, by: Asker) -> Later<'_, Result<Recorded, PauseError>>;

    /// Begins or ends draining: no new calls, those in progress go on.
    fn drain(&self, draining: bool) -> Later<'_, Result<(), RelayAway>>;

    /// What is known about the relay and the recorder. From memory.
    fn relay(&self) -> RelayFacts;

    /// Metric families of the calls half (NG, calls, the relay's counters), written with [`crate::metrics::Text`].
    fn metrics(&self) -> Later<'_, String>;
}

/// One line of `GET /v1/calls`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallSummary {
    /// The call's id, which is the id of its recording too (UUID v7, made at the offer).
    pub id: Uuid,
    /// `offered` until the answer, then `answered`.
    pub state: &'static str,
    /// When the offer came.
    pub since: Moment,
    /// The trip, when the call had a route decision.
    pub trip: Option<TripId>,
    /// The trip's city.
    pub city: Option<City>,
    /// Role of the party that called.
    pub caller: Option<Role>,
    /// Role of the party that was called.
    pub callee: Option<Role>,
    /// Whether the call is tapped.
    pub recording: bool,
    /// The pause of its recording, while there is one.
    pub paused: Option<Pause>,
}

/// Who asks for a pause, or for its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Asker {
    /// The business back end, over HTTP.
    Business,
    /// The operator, over HTTP.
    Operator,
    /// The SIP proxy, over NG.
    Proxy,
}

/// A pause that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pause {
    /// Who asked for it first.
    pub by: Asker,
    /// Since when.
    pub since: Moment,
}

/// A recorded call, as whoever paused or resumed it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// The call's id.
    pub id: Uuid,
    /// The call's pseudonym, in hexadecimal, as its manifest and control's log have it.
    pub call: String,
    /// Whether its recording is paused now.
    pub paused: bool,
}

/// Why no recording was paused or resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// There is no such call.
    #[error("there is no such call in progress")]
    NoCall,
    /// The call is not recorded.
    #[error("the call is not recorded")]
    NotRecorded,
    /// The relay did not do it, or not to every call.
    #[error("the relay is out of reach; ask again")]
    Relay,
}

/// The relay could not be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the relay is out of reach; ask again")]
pub struct RelayAway;

/// `GET /v1/calls/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallDetail {
    /// As in the list.
    #[serde(flatten)]
    pub summary: CallSummary,
    /// The lane that the call's rows run on.
    pub lane: String,
    /// One entry per row.
    pub streams: Vec<StreamFacts>,
}

/// One direction of a call's media.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StreamFacts {
    /// Whose media this is: `caller` or `callee`.
    pub from: &'static str,
    /// `rtp` or `rtcp`.
    pub kind: &'static str,
    /// The lane that moves it now.
    pub lane: String,
    /// Packets forwarded.
    pub packets: u64,
    /// Bytes forwarded (UDP payload).
    pub bytes: u64,
    /// Telephone events (RFC 4733) of this party, each counted once; told with its RTP.
    pub events: u64,
    /// Packets not forwarded, by the relay's reason.
    pub drops: BTreeMap<String, u64>,
    /// Seconds since the last packet that was forwarded.
    pub last_packet_seconds_ago: Option<f64>,
    /// How it sounded; none for RTCP, and before the first packet.
    #[serde(flatten)]
    pub sound: SoundFacts,
}

/// How one direction of a call's media sounded. Each is none where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct SoundFacts {
    /// Share of packets that never came, 0 to 1.
    pub loss: Option<f64>,
    /// Interarrival jitter on average.
    pub jitter_ms: Option<f64>,
    /// Packets that came more than once.
    pub duplicates: Option<u64>,
    /// Packets that came after a later one.
    pub reordered: Option<u64>,
    /// Round trip between the relay and the party.
    pub round_trip_ms: Option<f64>,
    /// Mean opinion score so far, 1 to 4.5.
    pub mos: Option<f64>,
    /// The worst five seconds.
    pub mos_lowest: Option<f64>,
    /// The last five seconds.
    pub mos_last: Option<f64>,
    /// Mean opinion score of what this party gets from the other, as it says itself over RTCP.
    pub mos_heard: Option<f64>,
}

/// The relay and the recorder, for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RelayFacts {
    /// Whether the programming connection stands.
    pub connected: bool,
    /// The lane in use (`uring`, `mmsg`, …), as the relay said when it was last connected.
    pub lane: Option<String>,
    /// Why that lane.
    pub lane_reason: Option<String>,
    /// Whether no new calls are taken, because the operator asked for it.
    pub draining: bool,
    /// What a privilege or a limit of the host would add to the relay's service, one sentence each.
    pub missing: Vec<String>,
    /// Whether a recorder is attached to the relay's tap.
    pub recorder_attached: bool,
    /// What stands in the way, for a person to read (`connect /…/relay.sock: connection refused`).
    pub trouble: Option<String>,
}

/// No calls half: nothing in progress, no relay. For tests of the masking half.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCalls;

impl LiveCalls for NoCalls {
    fn list(&self) -> Vec<CallSummary> {
        Vec::new()
    }

    fn get(&self, _id: Uuid) -> Later<'_, Option<CallDetail>> {
        Box::pin(std::future::ready(None))
    }

    fn in_progress(&self, _trip: &TripId) -> usize {
        0
    }

    fn pause_trip<'a>(
        &'a self,
        _trip: &'a TripId,
        _paused: bool,
        _by: Asker,
    ) -> Later<'a, Result<Vec<Recorded>, PauseError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn pause_call(&self, _id: Uuid, _paused: bool, _by: Asker) -> Later<'_, Result<Recorded, PauseError>> {
        Box::pin(std::future::ready(Err(PauseError::NoCall)))
    }

    fn drain(&self, _draining: bool) -> Later<'_, Result<(), RelayAway>> {
        Box::pin(std::future::ready(Err(RelayAway)))
    }

    fn relay(&self) -> RelayFacts {
        RelayFacts { trouble: Some("no relay is configured".into()), ..RelayFacts::default() }
    }

    fn metrics(&self) -> Later<'_, String> {
        Box::pin(std::future::ready(String::new()))
    }
}
