//! The calls that are known to be live, and those that ended a moment ago. Memory only: the relay holds the truth.
//!
//! Every lock here is held for a look-up and never across an await. Work on one call takes its
//! [`Entry::turn`] first, so that two requests for one call run one after the other.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use relay::program::message::{CallKey, LocalPorts};

use super::state::Call;
use crate::ng::bencode;
use crate::ng::value::Value;

/// How long an ended call is remembered, so that a late delete is answered with its figures.
const REMEMBERED: Duration = Duration::from_secs(300);
/// Most ended calls remembered.
const MOST_REMEMBERED: usize = 4096;

/// A call and the relay's ports for it.
#[derive(Clone)]
pub struct Live {
    /// Its state.
    pub call: Call,
    /// Per stream, the ports facing caller and callee.
    pub ports: Vec<[LocalPorts; 2]>,
}

/// A call's place in the registry.
#[derive(Default)]
pub struct Entry {
    /// Whoever works on the call holds it.
    pub turn: tokio::sync::Mutex<()>,
    live: Mutex<Option<Live>>,
}

impl Entry {
    /// A copy of the call; none while it is being opened.
    pub fn live(&self) -> Option<Live> {
        self.look(Live::clone)
    }

    /// What there is to see in the call, without a copy of it; none while it is being opened.
    pub fn look<T>(&self, see: impl FnOnce(&Live) -> T) -> Option<T> {
        lock(&self.live).as_ref().map(see)
    }
}

/// The registry.
#[derive(Default)]
pub struct Registry {
    calls: Mutex<Index>,
    ended: Mutex<Ended>,
}

#[derive(Default)]
struct Index {
    by_call_id: HashMap<String, Arc<Entry>>,
    by_key: HashMap<CallKey, Arc<Entry>>,
    /// The relay's ports, and whose they are.
    ports: HashMap<SocketAddr, CallKey>,
}

#[derive(Default)]
struct Ended {
    /// Their figures in bencode: one piece of memory each, where a tree would be hundreds.
    by_call_id: HashMap<String, (Instant, Box<[u8]>)>,
    by_age: VecDeque<(Instant, String)>,
}

impl Index {
    fn remove(&mut self, live: &Live) {
        self.by_key.remove(&live.call.key);
        for address in addresses(live) {
            if self.ports.get(&address) == Some(&live.call.key) {
                self.ports.remove(&address);
            }
        }
    }
}

/// The relay's addresses for a call: its own, and what the parties were told instead.
fn addresses(live: &Live) -> impl Iterator<Item = SocketAddr> {
    let shown = live.call.shown_as();
    live.ports.iter().flat_map(move |legs| legs.iter().zip(shown)).flat_map(|(local, shown)| {
        let LocalPorts { address, rtp, rtcp } = *local;
        let all = [Some(address), shown.filter(|shown| *shown != address)];
        all.into_iter().flatten().flat_map(move |at| [rtp, rtcp].map(|port| SocketAddr::new(at, port)))
    })
}

impl Registry {
    /// A call's place, if it has one.
    pub fn find(&self, call_id: &str) -> Option<Arc<Entry>> {
        lock(&self.calls).by_call_id.get(call_id).cloned()
    }

    /// The place of the call that the relay knows by this key.
    pub fn find_key(&self, key: CallKey) -> Option<Arc<Entry>> {
        let entry = lock(&self.calls).by_key.get(&key).cloned()?;
        entry.look(|live| live.call.key == key).filter(|same| *same).and(Some(entry))
    }

    /// A call's place, made if need be. Whoever then takes the turn must see whether it [`Self::stands`].
    pub fn enter(&self, call_id: &str) -> Arc<Entry> {
        Arc::clone(lock(&self.calls).by_call_id.entry(call_id.to_owned()).or_default())
    }

    /// Whether this is still the call's place.
    pub fn stands(&self, call_id: &str, entry: &Arc<Entry>) -> bool {
        lock(&self.calls).by_call_id.get(call_id).is_some_and(|e| Arc::ptr_eq(e, entry))
    }

    /// Puts a call's new state in its place.
    pub fn put(&self, entry: &Arc<Entry>, live: Live) {
        let mut calls = lock(&self.calls);
        let mut place = lock(&entry.live);
        place.iter().for_each(|before| calls.remove(before));
        calls.by_key.insert(live.call.key, Arc::clone(entry));
        for address in addresses(&live) {
            calls.ports.insert(address, live.call.key);
        }
        *place = Some(live);
    }

    /// Gives up a call's place.
    pub fn leave(&self, call_id: &str, entry: &Arc<Entry>) {
        let mut calls = lock(&self.calls);
        if calls.by_call_id.get(call_id).is_some_and(|e| Arc::ptr_eq(e, entry)) {
            calls.by_call_id.remove(call_id);
        }
        if let Some(live) = lock(&entry.live).take() {
            calls.remove(&live);
        }
    }

    /// Whether the relay gave this port to a live call.
    pub fn gave(&self, address: SocketAddr) -> bool {
        lock(&self.calls).ports.contains_key(&address)
    }

    /// What there is to see in every live call, without copies of them.
    pub fn look<T>(&self, see: impl Fn(&Live) -> T) -> Vec<T> {
        self.entries().iter().filter_map(|entry| entry.look(&see)).collect()
    }

    /// How many live calls are like this.
    pub fn count(&self, like: impl Fn(&Call) -> bool) -> usize {
        let of = |entry: &&Arc<Entry>| entry.look(|live| like(&live.call)) == Some(true);
        lock(&self.calls).by_call_id.values().filter(of).count()
    }

    /// Every place.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        lock(&self.calls).by_call_id.values().cloned().collect()
    }

    /// Takes what the relay has for the truth. Returns the calls that it has not.
    pub fn rebuild(&self, truth: Vec<Live>) -> Vec<Live> {
        let mut lost: HashMap<CallKey, Live> = self.look(|l| (l.call.key, l.clone())).into_iter().collect();
        for live in truth {
            lost.remove(&live.call.key);
            let entry = self.enter(&live.call.call_id);
            self.put(&entry, live);
        }
        for live in lost.values() {
            match self.find_key(live.call.key) {
                Some(entry) => self.leave(&live.call.call_id, &entry),
                // A newer call with its Call-ID has taken its place.
                None => lock(&self.calls).remove(live),
            }
        }
        lost.into_values().collect()
    }

    /// Remembers an ended call with its last figures.
    pub fn remember(&self, call_id: &str, figures: &Value, now: Instant) {
        let figures = bencode::encode(figures).into_boxed_slice();
        let mut ended = lock(&self.ended);
        while ended.by_age.len() >= MOST_REMEMBERED
            || ended.by_age.front().is_some_and(|(at, _)| now.duration_since(*at) >= REMEMBERED)
        {
            let Some((at, oldest)) = ended.by_age.pop_front() else { break };
            if ended.by_call_id.get(&oldest).is_some_and(|(t, _)| *t == at) {
                ended.by_call_id.remove(&oldest);
            }
        }
        ended.by_age.push_back((now, call_id.to_owned()));
        ended.by_call_id.insert(call_id.to_owned(), (now, figures));
    }

    /// The last figures of a call that ended not long ago.
    pub fn remembered(&self, call_id: &str, now: Instant) -> Option<Value> {
        let ended = lock(&self.ended);
        let (_, figures) =
            ended.by_call_id.get(call_id).filter(|(at, _)| now.duration_since(*at) < REMEMBERED)?;
        bencode::decode(figures).ok()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_calls_are_remembered_for_a_while_and_in_bounded_number() {
        let (registry, start) = (Registry::default(), Instant::now());
        registry.remember("a", &Value::from("x"), start);
        assert_eq!(registry.remembered("a", start + REMEMBERED / 2), Some(Value::from("x")));
        assert_eq!(registry.remembered("a", start + REMEMBERED), None);
        for n in 0..2 * MOST_REMEMBERED {
            registry.remember(&n.to_string(), &Value::from("y"), start);
        }
        assert_eq!(lock(&registry.ended).by_call_id.len(), MOST_REMEMBERED);
        assert_eq!(registry.remembered("0", start), None);
        registry.remember("late", &Value::from("z"), start + REMEMBERED);
        assert_eq!(lock(&registry.ended).by_call_id.len(), 1);
    }

    #[test]
    fn a_place_that_was_given_up_does_not_stand() {
        let registry = Registry::default();
        let entry = registry.enter("a");
        assert!(registry.stands("a", &entry) && Arc::ptr_eq(&entry, &registry.enter("a")));
        registry.leave("a", &entry);
        assert!(!registry.stands("a", &entry) && registry.find("a").is_none());
        let next = registry.enter("a");
        registry.leave("a", &entry);
        assert!(registry.stands("a", &next));
    }
}
