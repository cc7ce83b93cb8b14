//! A row: one local port of one leg of one stream; where its packets must come from, and what becomes of them.
//!
//! Owned by a worker, indexed by slot. Learning is a small pure state machine: [`Source`].

use std::net::SocketAddr;

use crate::call::{CallKey, Leg};
use crate::cap::RateCap;
use crate::drop_reason::DropCounters;
use crate::dtmf::Keypad;
use crate::program::message::{
    Clock, Count, Extensions, Learning, MAX_CLOCKS, PayloadTypes, Stream, StreamKind,
};
use crate::quality::Reception;
use crate::rewrite::Mask;
use crate::sys::clock::Timeline;

/// Which of a leg's two ports a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The even port; with rtcp-mux it carries RTCP too.
    Rtp,
    /// The odd port.
    Rtcp,
}

/// The rows of one leg of one stream, as slot indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Slot of the RTP row.
    pub rtp: u32,
    /// Slot of the RTCP row.
    pub rtcp: u32,
}

/// One row of the binding table.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each negotiated by itself")]
pub struct Row {
    /// What this port is for.
    pub port: Port,
    /// Who sends to this port.
    pub leg: Leg,
    /// Index of the stream (m-line).
    pub stream: u8,
    /// What the stream carries.
    pub kind: StreamKind,
    /// Packets pass without privacy rewriting.
    pub verbatim: bool,
    /// RTCP may come to the RTP port.
    pub rtcp_mux: bool,
    /// Packets are copied to the tap (recorded call, not paused).
    pub tapping: bool,
    /// Whose call it is.
    pub call: CallKey,
    /// The call's clock: what the tap is told goes by it.
    pub timeline: Timeline,
    /// Payload types this leg may send.
    pub accepts: PayloadTypes,
    /// Those that are copied to the tap.
    pub tapped: PayloadTypes,
    /// Those that are telephone events.
    pub events: PayloadTypes,
    /// Telephone events are not forwarded.
    pub block_events: bool,
    /// Header extensions that pass.
    pub extensions: Extensions,
    /// RTP clocks of this leg.
    pub clocks: [Clock; MAX_CLOCKS],
    /// How many packets a second may come.
    pub cap: RateCap,
    /// What is measured of this leg's stream (kept in the RTP row).
    pub reception: Reception,
    /// Telephone events of this leg (kept in the RTP row).
    pub keypad: Keypad,
    /// Where packets come from, and where the leg is sent to.
    pub source: Source,
    /// This leg's rows.
    pub own: Pair,
    /// The other leg's rows: its sockets send what comes in here.
    pub peer: Pair,
    /// What is rewritten in RTP from this leg (kept in the RTP row).
    pub mask: Mask,
    /// Forwarded RTP.
    pub rtp: Count,
    /// Forwarded RTCP.
    pub rtcp: Count,
    /// When the last packet was forwarded, monotonic nanoseconds; 0 for never.
    pub last_ns: u64,
    /// What was dropped.
    pub drops: DropCounters,
    /// Packets that did not fit into the tap ring.
    pub tap_lost: u64,
    /// The open gap in the tap, if there is one.
    pub gap: Option<Gap>,
}

/// What names a row: what does not change while it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whose call it is.
    pub call: CallKey,
    /// Who sends to this port.
    pub leg: Leg,
    /// Index of the stream (m-line).
    pub stream: u8,
    /// What this port is for.
    pub port: Port,
    /// This leg's rows.
    pub own: Pair,
    /// The other leg's rows.
    pub peer: Pair,
    /// The call's clock.
    pub timeline: Timeline,
}

impl Row {
    /// A row of which nothing was signalled yet; `seed` must be random and used once.
    pub fn new(identity: Identity, seed: u64) -> Self {
        let Identity { call, leg, stream, port, own, peer, timeline } = identity;
        Self {
            port,
            leg,
            stream,
            kind: StreamKind::Rtp,
            verbatim: false,
            rtcp_mux: false,
            tapping: false,
            call,
            timeline,
            accepts: PayloadTypes::NONE,
            tapped: PayloadTypes::NONE,
            events: PayloadTypes::NONE,
            block_events: false,
            extensions: Extensions::NONE,
            clocks: [Clock::default(); MAX_CLOCKS],
            cap: RateCap::default(),
            reception: Reception::default(),
            keypad: Keypad::default(),
            source: Source::UNKNOWN,
            own,
            peer,
            mask: Mask::new(seed),
            rtp: Count::default(),
            rtcp: Count::default(),
            last_ns: 0,
            drops: DropCounters::default(),
            tap_lost: 0,
            gap: None,
        }
    }

    /// Takes over what was negotiated for its leg, at `now_ns` (monotonic nanoseconds).
    pub fn signal(&mut self, stream: &Stream, now_ns: u64, window_ns: u64) {
        let [caller, callee] = &stream.legs;
        let media = if self.leg == Leg::Caller { caller } else { callee };
        let address = media.remote.map(|r| if self.port == Port::Rtp { r.rtp } else { r.rtcp });
        self.source.signal(address, media.learning, now_ns, window_ns);
        self.kind = stream.kind;
        self.verbatim = stream.verbatim;
        self.accepts = media.accepts;
        self.tapped = media.tapped;
        self.events = media.events;
        self.block_events = media.block_events;
        self.extensions = media.extensions;
        self.clocks = media.clocks;
        self.rtcp_mux = media.rtcp_mux;
        self.cap.set(media.packets_per_second, now_ns);
    }
}

/// Packets of a row that the tap ring had no room for, not yet told to the recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub packets: u64,
    /// Arrival of the first, nanoseconds of the call's clock.
    pub since_ns: u64,
    /// Arrival of the last.
    pub until_ns: u64,
}

/// Where a row's packets may come from, and where packets to this leg go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    signalled: Option<SocketAddr>,
    learning: Learning,
    /// Learning ends at this time, monotonic nanoseconds.
    window_ends_ns: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing acceptable has come yet.
    Waiting,
    /// Learned inside the window; a closer match may still take its place.
    Candidate(SocketAddr),
    /// Fixed until the next offer or answer changes the signalled address.
    Settled(SocketAddr),
}

/// What a packet's source address means to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// It is the settled source.
    Yes,
    /// It is to be taken as the source from now on, by [`Source::learn`].
    Learn,
    /// It is not the expected source.
    Mismatch,
    /// It could have been learned inside the window, or under the `nat` profile.
    NotLearned,
}

impl Source {
    /// A leg of which nothing is known.
    pub const UNKNOWN: Self =
        Self { signalled: None, learning: Learning::Strict, window_ends_ns: 0, state: State::Waiting };

    /// Takes the signalled address and policy of an offer or answer. When either differs from before, what was
    /// learned is forgotten. Unless the source is settled, the window opens (again) for `window_ns` from `now_ns`: a
    /// phone may ring for long before it is the other's turn to speak.
    pub fn signal(&mut self, signalled: Option<SocketAddr>, learning: Learning, now_ns: u64, window_ns: u64) {
        if self.signalled != signalled || self.learning != learning {
            *self = Self { signalled, learning, window_ends_ns: now_ns + window_ns, state: State::Waiting };
        } else if self.settled().is_none() {
            self.window_ends_ns = now_ns + window_ns;
        }
    }

    /// Where to send to this leg: the learned source, else what was signalled (symmetric RTP, RFC 4961).
    #[inline]
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.state {
            // Learned, but meanwhile put on hold: nothing is sent.
            _ if self.signalled.is_none() => None,
            State::Settled(address) | State::Candidate(address) => Some(address),
            State::Waiting => self.signalled,
        }
    }

    /// The source, once it cannot change any more.
    pub fn settled(&self) -> Option<SocketAddr> {
        match self.state {
            State::Settled(address) => Some(address),
            _ => None,
        }
    }

    /// Judges a packet's source. Pure: [`Match::Learn`] has no effect before [`Self::learn`].
    #[inline]
    pub fn judge(&self, source: SocketAddr, now_ns: u64) -> Match {
        let Some(signalled) = self.signalled else { return Match::Mismatch };
        match self.state {
            State::Settled(settled) if settled == source => Match::Yes,
            State::Settled(_) => Match::Mismatch,
            // An exact match locks at once, whatever was learned before and whenever it comes.
            _ if source == signalled => Match::Learn,
            State::Candidate(candidate) if candidate == source => {
                if now_ns < self.window_ends_ns {
                    Match::Yes
                } else {
                    Match::Learn
                }
            }
            _ if self.learning == Learning::Strict => Match::Mismatch,
            _ if now_ns >= self.window_ends_ns => Match::NotLearned,
            State::Waiting => Match::Learn,
            State::Candidate(candidate) if closeness(source, signalled) > closeness(candidate, signalled) => {
                Match::Learn
            }
            State::Candidate(_) => Match::Mismatch,
        }
    }

    /// Takes a source for which [`Self::judge`] said [`Match::Learn`].
    pub fn learn(&mut self, source: SocketAddr, now_ns: u64) {
        let exact = self.signalled == Some(source);
        let state = if exact || now_ns >= self.window_ends_ns { State::Settled } else { State::Candidate };
        self.state = state(source);
    }
}

/// How near a source is to what was signalled: the same host through another port is likelier the same phone than
/// a stranger is.
fn closeness(source: SocketAddr, signalled: SocketAddr) -> u8 {
    match (source.ip() == signalled.ip(), source.port() == signalled.port()) {
        (true, true) => 3,
        (true, false) => 2,
        (false, true) => 1,
        (false, false) => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: u64 = 3_000;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn signalled(learning: Learning) -> Source {
        let mut source = Source::UNKNOWN;
        source.signal(Some(at("192.0.2.1:4000")), learning, 0, WINDOW);
        source
    }

    fn offer(source: &mut Source, address: &str, now: u64) -> Match {
        let verdict = source.judge(at(address), now);
        if verdict == Match::Learn {
            source.learn(at(address), now);
        }
        verdict
    }

    #[test]
    fn an_exact_match_settles_at_once_and_nothing_moves_it() {
        for learning in [Learning::Strict, Learning::Nat] {
            let mut source = signalled(learning);
            assert_eq!(offer(&mut source, "192.0.2.1:4000", 1), Match::Learn);
            assert_eq!(source.settled(), Some(at("192.0.2.1:4000")));
            assert_eq!(offer(&mut source, "192.0.2.1:4000", 2), Match::Yes);
            assert_eq!(offer(&mut source, "192.0.2.1:4001", 3), Match::Mismatch);
        }
    }

    #[test]
    fn strict_legs_learn_nothing_else() {
        let mut source = signalled(Learning::Strict);
        assert_eq!(offer(&mut source, "192.0.2.1:4001", 1), Match::Mismatch);
        assert_eq!(source.destination(), Some(at("192.0.2.1:4000")));
    }

    #[test]
    fn nat_legs_prefer_closer_sources_inside_the_window_and_settle_after_it() {
        let mut source = signalled(Learning::Nat);
        assert_eq!(offer(&mut source, "203.0.113.9:7", 1), Match::Learn);
        assert_eq!(offer(&mut source, "203.0.113.10:7", 2), Match::Mismatch, "no closer than the first");
        assert_eq!(offer(&mut source, "192.0.2.1:4001", 3), Match::Learn, "the signalled host");
        assert_eq!(offer(&mut source, "203.0.113.9:7", 4), Match::Mismatch);
        assert_eq!(source.destination(), Some(at("192.0.2.1:4001")));
        assert_eq!(source.settled(), None);
        assert_eq!(offer(&mut source, "192.0.2.1:4001", WINDOW), Match::Learn);
        assert_eq!(source.settled(), Some(at("192.0.2.1:4001")));
        assert_eq!(offer(&mut source, "192.0.2.1:4000", WINDOW + 1), Match::Mismatch);
    }

    #[test]
    fn after_the_window_only_the_signalled_address_is_taken() {
        let mut source = signalled(Learning::Nat);
        assert_eq!(offer(&mut source, "203.0.113.9:7", WINDOW), Match::NotLearned);
        assert_eq!(offer(&mut source, "192.0.2.1:4000", WINDOW), Match::Learn);
    }

    #[test]
    fn the_answer_opens_the_window_again_for_a_caller_who_waited() {
        let mut source = signalled(Learning::Nat);
        assert_eq!(offer(&mut source, "203.0.113.9:7", 20_000), Match::NotLearned, "it rings");
        source.signal(Some(at("192.0.2.1:4000")), Learning::Nat, 20_001, WINDOW);
        assert_eq!(offer(&mut source, "203.0.113.9:7", 20_002), Match::Learn);
    }

    #[test]
    fn a_new_signalled_address_opens_the_window_again_and_the_same_one_does_not() {
        let mut source = signalled(Learning::Nat);
        offer(&mut source, "192.0.2.1:4000", 1);
        let settled = source;
        source.signal(Some(at("192.0.2.1:4000")), Learning::Nat, 9_000, WINDOW);
        assert_eq!(source, settled);
        source.signal(Some(at("192.0.2.2:4000")), Learning::Nat, 9_000, WINDOW);
        assert_eq!(source.destination(), Some(at("192.0.2.2:4000")));
        assert_eq!(
            offer(&mut source, "192.0.2.1:4000", 9_001),
            Match::Learn,
            "still possible: behind the same NAT"
        );
        source.signal(None, Learning::Nat, 9_100, WINDOW);
        assert_eq!(
            (source.destination(), offer(&mut source, "192.0.2.1:4000", 9_101)),
            (None, Match::Mismatch)
        );
    }

    proptest! {
        /// Whatever comes and when: once settled, always the same; strict never takes a stranger; a stranger is
        /// never taken after the window.
        #[test]
        fn learning_is_safe(
            nat: bool,
            packets in proptest::collection::vec((0..4_u8, 0..4_u16, 0..6_000_u64), 0..60),
        ) {
            let learning = if nat { Learning::Nat } else { Learning::Strict };
            let mut source = signalled(learning);
            let mut now = 0;
            for (host, port, gap) in packets {
                now += gap / 8;
                let from = SocketAddr::from(([192, 0, 2, host], 3998 + port));
                let (before, verdict) = (source, source.judge(from, now));
                if verdict == Match::Learn {
                    source.learn(from, now);
                }
                let stranger = from != at("192.0.2.1:4000");
                prop_assert!(before.settled().is_none() || (source == before && (verdict == Match::Yes) == (before.settled() == Some(from))));
                prop_assert!(nat || !stranger || verdict == Match::Mismatch);
                prop_assert!(!stranger || now < WINDOW || verdict != Match::Learn || before.destination() == Some(from));
            }
        }
    }
}

/// A row to build test cases from.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// A row with nothing known.
    pub(crate) fn row(port: Port) -> Row {
        let identity = Identity {
            call: CallKey(1),
            leg: Leg::Caller,
            stream: 0,
            port,
            own: Pair { rtp: 0, rtcp: 1 },
            peer: Pair { rtp: 2, rtcp: 3 },
            timeline: Timeline::default(),
        };
        Row::new(identity, 1)
    }
}
