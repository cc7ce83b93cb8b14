//! Replies that were given, so that a request which comes twice is run once.
//!
//! Keyed by (source address, cookie): two proxies may make the same cookie. Two generations change places every
//! [`GENERATION`], so a reply is kept for one to two of them. Sans-IO; owned by the server, under its lock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How long a generation lasts.
pub const GENERATION: Duration = Duration::from_secs(30);
/// Most replies in one generation; then the older one is given up before its time.
const MOST_REPLIES: usize = 16_384;
/// Most bytes of replies in one generation.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Names a request.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Where it came from.
    pub source: SocketAddr,
    /// The cookie in front of it.
    pub cookie: Box<[u8]>,
}

/// What to do with a request.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub enum Known {
    /// It is the first: run it, then call [`Cache::finish`].
    New,
    /// The same is being run: its reply will be sent for this one too.
    Running,
    /// It was run before: send this again.
    Replied(Bytes),
}

/// The cache.
#[derive(Default)]
pub struct Cache {
    running: HashMap<Key, u32>,
    newer: Generation,
    older: Generation,
    since: Option<Instant>,
}

#[derive(Default)]
struct Generation {
    replies: HashMap<Key, Bytes>,
    bytes: usize,
}

impl Cache {
    /// Looks a request up, and marks it as running when it is new.
    pub fn begin(&mut self, key: &Key, now: Instant) -> Known {
        self.turn(now);
        if let Some(reply) = self.newer.replies.get(key).or_else(|| self.older.replies.get(key)) {
            return Known::Replied(reply.clone());
        }
        if let Some(waiting) = self.running.get_mut(key) {
            *waiting = waiting.saturating_add(1);
            return Known::Running;
        }
        self.running.insert(key.clone(), 0);
        Known::New
    }

    /// Keeps the reply to a request that was [`Known::New`]; returns how many duplicates came meanwhile and
    /// must get it too.
    pub fn finish(&mut self, key: Key, reply: Bytes, now: Instant) -> u32 {
        self.turn(now);
        let waiting = self.running.remove(&key).unwrap_or(0);
        self.newer.bytes += reply.len() + key.cookie.len();
        self.newer.replies.insert(key, reply);
        waiting
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let full = self.newer.replies.len() >= MOST_REPLIES || self.newer.bytes >= MOST_BYTES;
        if full || now.duration_since(since) >= GENERATION {
            self.older = std::mem::take(&mut self.newer);
            self.since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16, cookie: &str) -> Key {
        Key { source: SocketAddr::from(([127, 0, 0, 1], port)), cookie: cookie.as_bytes().into() }
    }

    #[test]
    fn a_duplicate_gets_the_first_reply_for_thirty_to_sixty_seconds() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        assert_eq!(cache.begin(&key(1, "a"), start), Known::New);
        assert_eq!(cache.finish(key(1, "a"), Bytes::from_static(b"x"), start + Duration::from_secs(1)), 0);
        for seconds in [1, 29, 31, 59] {
            let known = cache.begin(&key(1, "a"), start + Duration::from_secs(seconds));
            assert_eq!(known, Known::Replied(Bytes::from_static(b"x")), "after {seconds} s");
        }
        assert_eq!(cache.begin(&key(1, "a"), start + Duration::from_secs(90)), Known::New);
    }

    #[test]
    fn another_source_with_the_same_cookie_is_another_request() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        assert_eq!(cache.begin(&key(1, "a"), now), Known::New);
        assert_eq!(cache.begin(&key(2, "a"), now), Known::New);
    }

    #[test]
    fn duplicates_that_come_while_the_first_runs_are_counted_and_not_run() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        assert_eq!(cache.begin(&key(1, "a"), now), Known::New);
        let late = now + GENERATION * 3;
        assert_eq!(cache.begin(&key(1, "a"), now), Known::Running);
        assert_eq!(cache.begin(&key(1, "a"), late), Known::Running);
        assert_eq!(cache.finish(key(1, "a"), Bytes::from_static(b"x"), late), 2);
    }

    #[test]
    fn the_cache_is_bounded() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for n in 0..3 * MOST_REPLIES {
            let key = key(1, &n.to_string());
            assert_eq!(cache.begin(&key, now), Known::New);
            cache.finish(key, Bytes::from_static(b"x"), now);
        }
        assert!(cache.newer.replies.len() <= MOST_REPLIES && cache.older.replies.len() <= MOST_REPLIES);
        assert!(cache.running.is_empty());
    }
}
