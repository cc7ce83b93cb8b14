//! The connection to the relay: made, kept, made again; the registry rebuilt from it; overdue calls ended.
//!
//! One task, [`run`]. While it is not connected, or still rebuilding, offers and answers are refused with
//! `Relay is out of reach`, and what must be closed is kept in [`Link::close_later`] and [`Link::delete_later`]. A
//! control that has just started lets requests wait for its first connection. A new relay process has another
//! epoch, and of the old one's calls those at most that the kernel carried on.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use relay::program::Client;
use relay::program::client::ClientError;
use relay::program::message::{CallKey, Event, LiveCall, Refusal, Reply, Request, Stats};
use time::OffsetDateTime;
use tokio::sync::mpsc::UnboundedReceiver;

use super::desk::Calls;
use super::label;
use super::registry::{Entry, Live};
use super::state::{Call, Ended};
use crate::live::RelayFacts;
use crate::moment::Moment;
use crate::ng::error::NgError;

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LAST: Duration = Duration::from_secs(2);
/// How long a request waits for the first connection.
const FIRST: Duration = Duration::from_secs(2);
/// Most Call-IDs kept to be deleted.
const MOST_DELETED: usize = 4096;
/// How often calls are looked through for those that are overdue.
const LOOK: Duration = Duration::from_secs(1);

/// What is known of the relay, and the way to it.
#[derive(Default)]
pub struct Link {
    state: Mutex<State>,
    connected: tokio::sync::Notify,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    epoch: Option<u64>,
    facts: RelayFacts,
    /// Calls that ended while the relay was away, with their last label.
    to_close: HashMap<CallKey, Option<Vec<u8>>>,
    /// Call-IDs that were deleted while the relay was away and that are not known here, oldest first, and when.
    deleted: VecDeque<(OffsetDateTime, String)>,
    /// Calls of the relay whose state does not open here.
    foreign: HashSet<CallKey>,
}

impl Link {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the relay, if it stands and the registry is rebuilt.
    pub fn client(&self) -> Result<Client, NgError> {
        self.lock().client.clone().ok_or(NgError::RelayAway)
    }

    /// The same; a control that has just started and was never connected is given a moment for it, so that its
    /// restart costs no call.
    pub async fn client_soon(&self) -> Result<Client, NgError> {
        let arrival = self.connected.notified();
        let (client, never) = {
            let state = self.lock();
            (state.client.clone(), state.epoch.is_none())
        };
        match client {
            Some(client) => Ok(client),
            None if never => {
                let _ = tokio::time::timeout(FIRST, arrival).await;
                self.client()
            }
            None => Err(NgError::RelayAway),
        }
    }

    /// For `/readyz`.
    pub fn facts(&self) -> RelayFacts {
        self.lock().facts.clone()
    }

    /// The relay began or ended draining.
    pub fn drained(&self, draining: bool) {
        self.lock().facts.draining = draining;
    }

    /// Closes a call as soon as the relay is back.
    pub fn close_later(&self, key: CallKey, label: Option<Vec<u8>>) {
        self.lock().to_close.insert(key, label);
    }

    /// Closes the call with this Call-ID as soon as the relay is back, if it has one.
    pub fn delete_later(&self, call_id: &str) {
        let mut state = self.lock();
        if state.deleted.len() >= MOST_DELETED {
            state.deleted.pop_front();
        }
        state.deleted.push_back((OffsetDateTime::now_utc(), call_id.to_owned()));
    }

    /// How many calls the relay has whose state does not open here.
    pub fn foreign(&self) -> usize {
        self.lock().foreign.len()
    }

    fn lost(&self, trouble: &str) -> bool {
        let mut state = self.lock();
        state.client = None;
        state.facts.connected = false;
        state.facts.recorder_attached = false;
        let new = state.facts.trouble.as_deref() != Some(trouble);
        state.facts.trouble = Some(trouble.to_owned());
        new
    }
}

/// Keeps the connection to the relay at `socket`, for ever.
pub async fn run(calls: Arc<Calls>, socket: PathBuf) {
    let mut wait = RETRY_FIRST;
    loop {
        let trouble = match connect(&calls, &socket).await {
            Ok(events) => {
                wait = RETRY_FIRST;
                attend(&calls, events).await;
                "the connection to the relay closed".to_owned()
            }
            Err(e) => e.to_string(),
        };
        if calls.link.lost(&trouble) {
            tracing::warn!("no relay: {trouble}; trying again");
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LAST);
    }
}

/// Connects and rebuilds the registry; from then on requests may go through.
async fn connect(calls: &Arc<Calls>, socket: &Path) -> Result<UnboundedReceiver<Event>, ClientError> {
    let (client, events) = Client::connect(socket).await?;
    let Reply::Stats(stats) = client.ask(Request::Stats).await? else { return Err(ClientError::Unexpected) };
    let found = list(&client).await?;
    // A relay that was started anew while the POP drains must not begin to fill it again.
    let draining = calls.link.facts().draining;
    if draining && !stats.draining {
        client.ask(Request::Drain { draining }).await?;
    }
    let stats = Stats { draining: draining || stats.draining, ..stats };
    // From here on no await: what is deleted meanwhile must not come back with the list.
    let to_close = rebuild(calls, found);
    admit(calls, client.clone(), stats);
    calls.pause_again(&client).await;
    let mut to_close = to_close.into_iter();
    while let Some((key, label)) = to_close.next() {
        match client.ask(Request::Close { call: key, label: label.clone() }).await {
            Ok(_) | Err(ClientError::Refused(_)) => {}
            Err(e) => {
                calls.link.close_later(key, label);
                to_close.for_each(|(key, label)| calls.link.close_later(key, label));
                return Err(e);
            }
        }
    }
    Ok(events)
}

/// Takes what the relay has for the truth, but for calls that ended while it was away: those are returned, to be
/// closed.
fn rebuild(calls: &Calls, found: Vec<LiveCall>) -> HashMap<CallKey, Option<Vec<u8>>> {
    let (live, foreign) = open(calls, found);
    let strangers = foreign.len();
    let (mut to_close, deleted) = {
        let mut state = calls.link.lock();
        state.foreign = foreign;
        (std::mem::take(&mut state.to_close), std::mem::take(&mut state.deleted))
    };
    let counted: HashSet<CallKey> = to_close.keys().copied().collect();
    let deleted: HashMap<String, OffsetDateTime> = deleted.into_iter().map(|(at, id)| (id, at)).collect();
    // A call that began after the delete is another one with the same Call-ID.
    let deleted = |live: &Live| deleted.get(&live.call.call_id).is_some_and(|at| live.call.offered_at <= *at);
    // What ended while the relay was away has been counted by then, whatever else was asked.
    let deleted = |live: &&Live| deleted(live) && !counted.contains(&live.call.key);
    for Live { call, .. } in live.iter().filter(deleted) {
        let ended = (call.given_up(), OffsetDateTime::now_utc());
        to_close.insert(call.key, label::label(call, &calls.keys, Some(ended)));
    }
    let (ended, live): (Vec<_>, Vec<_>) = live.into_iter().partition(|l| to_close.contains_key(&l.call.key));
    for live in ended.iter().filter(deleted) {
        calls.forget(live, live.call.given_up());
    }
    for Live { call, .. } in live.iter().filter(|live| live.call.answered_at.is_some()) {
        calls.note_recording(call);
    }
    live.iter().for_each(|live| calls.book.used(&live.call.call_id, Moment::now()));
    let kept = live.len();
    let lost = calls.registry.rebuild(live);
    for live in &lost {
        calls.forget(live, Ended::Lost);
    }
    tracing::info!(
        kept,
        lost = lost.len(),
        ended = ended.len(),
        foreign = strangers,
        "connected to the relay"
    );
    to_close
}

/// Lets requests through.
fn admit(calls: &Calls, client: Client, stats: Stats) {
    let mut state = calls.link.lock();
    if state.epoch.is_some_and(|epoch| epoch != client.epoch()) {
        tracing::warn!(
            "the relay is a new process: calls of the old one that it did not go on with are gone"
        );
    }
    state.epoch = Some(client.epoch());
    state.facts = RelayFacts {
        connected: true,
        lane: Some(stats.lane),
        lane_reason: Some(stats.lane_reason),
        draining: stats.draining,
        missing: stats.missing,
        recorder_attached: stats.recorder_attached,
        trouble: None,
    };
    state.client = Some(client);
    calls.link.connected.notify_waiters();
}

async fn list(client: &Client) -> Result<Vec<LiveCall>, ClientError> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let Reply::Calls(page) = client.ask(Request::List { after }).await? else {
            return Err(ClientError::Unexpected);
        };
        // Ordered by key: a page that goes on where the last one ended cannot bring the loop back.
        match page.last() {
            Some(last) if Some(last.call) > after => after = Some(last.call),
            _ => return Ok(found),
        }
        found.extend(page);
    }
}

/// Opens the blobs. What does not open was sealed with a key that is gone, or by another version: its media flows on,
/// and [`end_foreign`] closes it some day.
fn open(calls: &Calls, found: Vec<LiveCall>) -> (Vec<Live>, HashSet<CallKey>) {
    let (mut live, mut foreign) = (Vec::new(), HashSet::new());
    for LiveCall { call: key, blob, ports, .. } in found {
        match label::open(&blob, &calls.keys) {
            Ok(call) if call.key == key => live.push(Live { call, ports }),
            Ok(_) => drop(foreign.insert(key)),
            Err(e) => {
                foreign.insert(key);
                tracing::warn!(call = %key, "the relay has a call whose state cannot be read, it is left alone until it is silent: {e}");
            }
        }
    }
    (live, foreign)
}

/// Takes the relay's events until the connection ends.
async fn attend(calls: &Arc<Calls>, mut events: UnboundedReceiver<Event>) {
    let times = calls.policy.times;
    let overdue = |entry| end(calls, entry, move |call, now| call.overdue(now, &times));
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                None => return,
                Some(Event::Recorder { attached }) => {
                    tracing::info!(attached, "recorder");
                    calls.link.lock().facts.recorder_attached = attached;
                }
                Some(digit @ Event::Digit { .. }) => calls.pressed(&digit),
                Some(Event::Load(_)) => {}
                Some(Event::Silent { call, seconds }) if calls.link.lock().foreign.contains(&call) => {
                    if time::Duration::seconds(seconds.into()) >= times.silent {
                        end_foreign(calls, call);
                    }
                }
                Some(Event::Expired { call }) if calls.link.lock().foreign.contains(&call) => end_foreign(calls, call),
                Some(Event::Silent { call, seconds }) => {
                    let silent = move |call: &Call, now| call.silent_too_long(seconds, now, &times).then_some(Ended::Silence);
                    calls.registry.find_key(call).into_iter().for_each(|entry| end(calls, entry, silent));
                }
                // The limit counts from the answer, and the relay's clock from the offer: ask our own.
                Some(Event::Expired { call }) => calls.registry.find_key(call).into_iter().for_each(overdue),
            },
            _ = look.tick() => calls.registry.entries().into_iter().for_each(overdue),
        }
    }
}

/// Ends a call that nobody can read: it reached its longest duration, or has been silent for as long as a call may be
/// held. Nobody would ever delete it.
fn end_foreign(calls: &Arc<Calls>, key: CallKey) {
    let calls = Arc::clone(calls);
    tokio::spawn(async move {
        let Ok(client) = calls.link.client() else { return };
        match client.ask(Request::Close { call: key, label: None }).await {
            Ok(_) | Err(ClientError::Refused(Refusal::UnknownCall)) => {
                calls.link.lock().foreign.remove(&key);
                tracing::info!(call = %key, "a call whose state cannot be read has ended");
            }
            Err(e) => tracing::warn!(call = %key, "not closed: {e}"),
        }
    });
}

/// Ends a call when `judge` says so: beside the event loop, so that one slow reply does not hold up the others, and
/// not while a request is changing the call; the next look comes in a second.
fn end<F>(calls: &Arc<Calls>, entry: Arc<Entry>, judge: F)
where
    F: Fn(&Call, OffsetDateTime) -> Option<Ended> + Send + 'static,
{
    let due = move |entry: &Entry| entry.look(|live| judge(&live.call, OffsetDateTime::now_utc())).flatten();
    if due(&entry).is_none() {
        return;
    }
    let calls = Arc::clone(calls);
    tokio::spawn(async move {
        let Ok(_turn) = entry.turn.try_lock() else { return };
        if let Some((live, why)) = entry.live().zip(due(&entry)) {
            let (call_id, now) = (&live.call.call_id, Moment::now());
            // The proxy gave it up a while ago, as one that is deleted at once.
            if why == Ended::Unanswered && live.call.delete_at.is_some() {
                calls.book.released(call_id, now);
            } else {
                calls.book.ended(call_id, now);
            }
            calls.close(&entry, &live, why).await;
        }
    });
}
