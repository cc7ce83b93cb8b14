//! Where a row's packets may come from, and where packets to its leg go: a small pure state machine.
//!
//! Safe by default. The signalled address locks at once. Another one is learned only under the profile `nat`, inside
//! the window after an offer or answer, never away from an exact match, and never once settled. What is settled moves
//! by the next offer or answer; or, where the leg's policy allows handover, to whoever goes on with the same SSRC
//! after the old source fell silent.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::program::message::{Learning, LegMedia};

/// A settled source that was not heard of for so long may be replaced, by handover: far longer than any pause between
/// packets of a source that still sends, and soon enough for a phone that changed from one network to another.
pub const HANDOVER_NS: u64 = 2_000_000_000;

/// Where a row's packets may come from, and where packets to this leg go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    signalled: Option<SocketAddr>,
    policy: Policy,
    /// Learning ends at this time, monotonic nanoseconds.
    window_ends_ns: u64,
    state: State,
    /// The SSRC that was heard last from the settled source, and when, monotonic nanoseconds. Kept under handover only.
    heard: Option<(u32, u64)>,
}

/// What a leg's policy says of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Policy {
    learning: Learning,
    handover: bool,
    asymmetric: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// What is known of a packet beside its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// RTP of an accepted payload type under this SSRC.
    Rtp(u32),
    /// RTCP; it teaches nothing but the signalled address, or another port of the host that the leg's RTP comes from.
    Rtcp(Option<IpAddr>),
    /// A datagram that is not looked at.
    Opaque,
}

impl Source {
    /// A leg of which nothing is known.
    pub const UNKNOWN: Self = Self {
        signalled: None,
        policy: Policy { learning: Learning::Strict, handover: false, asymmetric: false },
        window_ends_ns: 0,
        state: State::Waiting,
        heard: None,
    };

    /// Takes the signalled address and the policy of an offer or answer. When either differs from before, what was
    /// learned is forgotten. Unless the source is settled, the window opens (again) for `window_ns` from `now_ns`: a
    /// phone may ring for long before it is the other's turn to speak.
    pub fn signal(&mut self, signalled: Option<SocketAddr>, media: &LegMedia, now_ns: u64, window_ns: u64) {
        let LegMedia { learning, handover, asymmetric, .. } = *media;
        let policy = Policy { learning, handover, asymmetric };
        let window_ends_ns = now_ns.saturating_add(window_ns);
        if self.signalled != signalled || self.policy != policy {
            *self = Self { signalled, policy, window_ends_ns, state: State::Waiting, heard: None };
        } else if self.settled().is_none() {
            self.window_ends_ns = window_ends_ns;
        }
    }

    /// Where to send to this leg: the learned source, else what was signalled (symmetric RTP, RFC 4961); an asymmetric
    /// leg always gets it where it was signalled.
    #[inline]
    pub fn destination(&self) -> Option<SocketAddr> {
        match self.state {
            // Learned, but meanwhile put on hold: nothing is sent.
            _ if self.signalled.is_none() => None,
            State::Settled(address) | State::Candidate(address) if !self.policy.asymmetric => Some(address),
            _ => self.signalled,
        }
    }

    /// Where its packets come from, as far as known.
    #[inline]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.state {
            State::Settled(address) | State::Candidate(address) => Some(address),
            State::Waiting => None,
        }
    }

    /// The host that its packets come from, as far as known.
    #[inline]
    pub fn host(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }

    /// The source, once it cannot change any more, handover aside.
    pub fn settled(&self) -> Option<SocketAddr> {
        match self.state {
            State::Settled(address) => Some(address),
            _ => None,
        }
    }

    /// What its socket may be connected to: the kernel then keeps strangers out, and sending is cheaper. Only where
    /// packets come from where they go to, and nobody else may ever be heard.
    pub fn connectable(&self) -> Option<SocketAddr> {
        let Policy { handover, asymmetric, .. } = self.policy;
        self.settled().filter(|_| self.signalled.is_some() && !handover && !asymmetric)
    }

    /// Judges a packet's source. Pure: [`Match::Learn`] has no effect before [`Self::learn`].
    #[inline]
    pub fn judge(&self, source: SocketAddr, evidence: Evidence, now_ns: u64) -> Match {
        let Some(signalled) = self.signalled else { return Match::Mismatch };
        match self.state {
            State::Settled(settled) if settled == source => Match::Yes,
            State::Settled(_) if self.hands_over(source, evidence, now_ns) => Match::Learn,
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
            _ if self.policy.learning == Learning::Strict => Match::Mismatch,
            _ if now_ns >= self.window_ends_ns => Match::NotLearned,
            _ if matches!(evidence, Evidence::Rtcp(host) if host != Some(source.ip())) => Match::NotLearned,
            State::Waiting => Match::Learn,
            State::Candidate(candidate) if closeness(source, signalled) > closeness(candidate, signalled) => {
                Match::Learn
            }
            State::Candidate(_) => Match::Mismatch,
        }
    }

    /// Whether the settled source's place may be taken by `source`.
    #[cold]
    fn hands_over(&self, source: SocketAddr, evidence: Evidence, now_ns: u64) -> bool {
        self.policy.handover
            && match evidence {
                Evidence::Rtp(ssrc) => self
                    .heard
                    .is_some_and(|(last, at_ns)| last == ssrc && now_ns.saturating_sub(at_ns) >= HANDOVER_NS),
                // RTCP follows where RTP has gone.
                Evidence::Rtcp(host) => host == Some(source.ip()) && self.host() != host,
                Evidence::Opaque => false,
            }
    }

    /// Takes a source for which [`Self::judge`] said [`Match::Learn`].
    pub fn learn(&mut self, source: SocketAddr, now_ns: u64) {
        let exact = self.signalled == Some(source);
        let fixed = exact || now_ns >= self.window_ends_ns || self.settled().is_some();
        self.state = if fixed { State::Settled(source) } else { State::Candidate(source) };
    }

    /// For RTCP, when its leg's RTP is found to come from `host`: what was learned from any other host, it was from
    /// somebody who came before and was taken for the leg, and he is to be heard and sent to no longer.
    pub fn follow(&mut self, host: IpAddr) {
        if self.address().is_some_and(|address| Some(address) != self.signalled && address.ip() != host) {
            self.state = State::Waiting;
        }
    }

    /// Notes RTP that came from the source, for a handover from it.
    #[inline]
    pub fn heard(&mut self, ssrc: u32, now_ns: u64) {
        if self.policy.handover {
            self.heard = Some((ssrc, now_ns));
        }
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
    use crate::program::message::{Clock, Extensions, Family, MAX_CLOCKS, PayloadTypes, Place};

    const WINDOW: u64 = 3_000;
    const STRICT: LegMedia = LegMedia {
        place: Place { interface: 0, family: Family::Any },
        remote: None,
        accepts: PayloadTypes::NONE,
        tapped: PayloadTypes::NONE,
        events: PayloadTypes::NONE,
        block_events: false,
        extensions: Extensions::NONE,
        clocks: [Clock { payload_types: PayloadTypes::NONE, hz: 0 }; MAX_CLOCKS],
        rtcp_mux: false,
        learning: Learning::Strict,
        handover: false,
        asymmetric: false,
        packets_per_second: 0,
    };

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    const SSRC: u32 = 5;
    const RTP: Evidence = Evidence::Rtp(SSRC);
    const NAT: LegMedia = LegMedia { learning: Learning::Nat, ..STRICT };

    fn signalled(media: LegMedia) -> Source {
        let mut source = Source::UNKNOWN;
        source.signal(Some(at("192.0.2.1:4000")), &media, 0, WINDOW);
        source
    }

    /// A packet comes, and the row does with it what the engine does.
    fn comes(source: &mut Source, address: &str, evidence: Evidence, now: u64) -> Match {
        let verdict = source.judge(at(address), evidence, now);
        if verdict == Match::Learn {
            source.learn(at(address), now);
        }
        if let (Match::Yes | Match::Learn, Evidence::Rtp(ssrc)) = (verdict, evidence) {
            source.heard(ssrc, now);
        }
        verdict
    }

    fn offer(source: &mut Source, address: &str, now: u64) -> Match {
        comes(source, address, RTP, now)
    }

    #[test]
    fn an_exact_match_settles_at_once_and_nothing_moves_it() {
        for media in [STRICT, NAT] {
            let mut source = signalled(media);
            assert_eq!(offer(&mut source, "192.0.2.1:4000", 1), Match::Learn);
            assert_eq!(source.settled(), Some(at("192.0.2.1:4000")));
            assert_eq!(offer(&mut source, "192.0.2.1:4000", 2), Match::Yes);
            assert_eq!(offer(&mut source, "192.0.2.1:4001", 3), Match::Mismatch);
        }
    }

    #[test]
    fn strict_legs_learn_nothing_else() {
        let mut source = signalled(STRICT);
        assert_eq!(offer(&mut source, "192.0.2.1:4001", 1), Match::Mismatch);
        assert_eq!(source.destination(), Some(at("192.0.2.1:4000")));
    }

    #[test]
    fn nat_legs_prefer_closer_sources_inside_the_window_and_settle_after_it() {
        let mut source = signalled(NAT);
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
        let mut source = signalled(NAT);
        assert_eq!(offer(&mut source, "203.0.113.9:7", WINDOW), Match::NotLearned);
        assert_eq!(offer(&mut source, "192.0.2.1:4000", WINDOW), Match::Learn);
    }

    #[test]
    fn the_answer_opens_the_window_again_for_a_caller_who_waited() {
        let mut source = signalled(NAT);
        assert_eq!(offer(&mut source, "203.0.113.9:7", 20_000), Match::NotLearned, "it rings");
        source.signal(Some(at("192.0.2.1:4000")), &NAT, 20_001, WINDOW);
        assert_eq!(offer(&mut source, "203.0.113.9:7", 20_002), Match::Learn);
    }

    #[test]
    fn a_new_signalled_address_opens_the_window_again_and_the_same_one_does_not() {
        let mut source = signalled(NAT);
        offer(&mut source, "192.0.2.1:4000", 1);
        let settled = source;
        source.signal(Some(at("192.0.2.1:4000")), &NAT, 9_000, WINDOW);
        assert_eq!(source, settled);
        source.signal(Some(at("192.0.2.2:4000")), &NAT, 9_000, WINDOW);
        assert_eq!(source.destination(), Some(at("192.0.2.2:4000")));
        assert_eq!(
            offer(&mut source, "192.0.2.1:4000", 9_001),
            Match::Learn,
            "still possible: behind the same NAT"
        );
        source.signal(None, &NAT, 9_100, WINDOW);
        assert_eq!(
            (source.destination(), offer(&mut source, "192.0.2.1:4000", 9_101)),
            (None, Match::Mismatch)
        );
    }

    #[test]
    fn rtcp_teaches_nothing_but_another_port_of_the_host_that_rtp_comes_from() {
        let stranger = "203.0.113.9:7";
        let at_host = |host: &str| Evidence::Rtcp(host.parse().ok());
        let mut source = signalled(NAT);
        assert_eq!(comes(&mut source, stranger, Evidence::Rtcp(None), 1), Match::NotLearned);
        assert_eq!(comes(&mut source, stranger, at_host("203.0.113.10"), 1), Match::NotLearned);
        assert_eq!(comes(&mut source, stranger, at_host("203.0.113.9"), 1), Match::Learn);
        assert_eq!(comes(&mut source, "192.0.2.1:4000", Evidence::Rtcp(None), 2), Match::Learn, "signalled");
        let mut strict = signalled(STRICT);
        assert_eq!(comes(&mut strict, stranger, at_host("203.0.113.9"), 1), Match::Mismatch);
    }

    #[test]
    fn handover_goes_to_whoever_goes_on_with_the_ssrc_after_a_silence() {
        let policy = LegMedia { handover: true, ..STRICT };
        let mut source = signalled(policy);
        let (here, there) = ("192.0.2.1:4000", "203.0.113.9:7");
        assert_eq!(comes(&mut source, there, RTP, HANDOVER_NS), Match::Mismatch, "nothing was heard yet");
        offer(&mut source, here, 10);
        assert_eq!(source.connectable(), None, "the next one must be heard");
        assert_eq!(offer(&mut source, there, 10 + HANDOVER_NS - 1), Match::Mismatch, "it is not silent yet");
        for evidence in [Evidence::Rtp(6), Evidence::Rtcp(None), Evidence::Opaque] {
            assert_eq!(
                comes(&mut source, there, evidence, 10 + HANDOVER_NS),
                Match::Mismatch,
                "{evidence:?}"
            );
        }
        assert_eq!(offer(&mut source, there, 10 + HANDOVER_NS), Match::Learn);
        assert_eq!((source.destination(), source.settled()), (Some(at(there)), Some(at(there))));
        assert_eq!(offer(&mut source, here, 11 + HANDOVER_NS), Match::Mismatch, "and not straight back");
        // RTCP follows, with the next packet.
        let mut rtcp = signalled(policy);
        comes(&mut rtcp, here, Evidence::Rtcp(None), 10);
        assert_eq!(comes(&mut rtcp, "203.0.113.9:8", Evidence::Rtcp(Some(at(there).ip())), 20), Match::Learn);
        assert_eq!(
            comes(&mut rtcp, "203.0.113.9:9", Evidence::Rtcp(Some(at(there).ip())), 21),
            Match::Mismatch
        );
    }

    #[test]
    fn an_asymmetric_leg_gets_its_packets_where_it_was_signalled() {
        let mut source = signalled(LegMedia { asymmetric: true, ..NAT });
        assert_eq!(offer(&mut source, "192.0.2.1:5000", WINDOW - 1), Match::Learn);
        assert_eq!(offer(&mut source, "192.0.2.1:5000", WINDOW), Match::Learn);
        assert_eq!(source.settled(), Some(at("192.0.2.1:5000")));
        assert_eq!((source.destination(), source.connectable()), (Some(at("192.0.2.1:4000")), None));
    }

    #[test]
    fn only_a_settled_source_that_stays_may_be_connected_to() {
        let mut source = signalled(NAT);
        assert_eq!(source.connectable(), None);
        offer(&mut source, "203.0.113.9:7", 1);
        assert_eq!(source.connectable(), None, "a candidate");
        offer(&mut source, "192.0.2.1:4000", 2);
        assert_eq!(source.connectable(), Some(at("192.0.2.1:4000")));
        source.signal(None, &NAT, 3, WINDOW);
        assert_eq!(source.connectable(), None, "on hold");
    }

    proptest! {
        /// Whatever comes and when: once settled, always the same; strict never takes a stranger; a stranger is
        /// never taken after the window.
        #[test]
        fn learning_is_safe(
            nat: bool,
            packets in proptest::collection::vec((0..4_u8, 0..4_u16, 0..6_000_u64), 0..60),
        ) {
            let mut source = signalled(if nat { NAT } else { STRICT });
            let mut now = 0;
            for (host, port, gap) in packets {
                now += gap / 8;
                let from = SocketAddr::from(([192, 0, 2, host], 3998 + port));
                let (before, verdict) = (source, source.judge(from, RTP, now));
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

    proptest! {
        /// Whatever comes, of whatever kind, under whatever policy: packets go to an asymmetric leg where it was
        /// signalled; RTCP teaches nothing but the signalled address and the host of RTP; only a source that stays is
        /// connected to; and after RTP spoke for a host, RTCP is of no other.
        #[test]
        fn every_policy_keeps_its_word(
            nat: bool, handover: bool, asymmetric: bool,
            packets in proptest::collection::vec((0..4_u8, 0..4_u16, 0..6_000_u64, any::<bool>()), 0..60),
        ) {
            let media = LegMedia { handover, asymmetric, ..if nat { NAT } else { STRICT } };
            let (mut rtp, mut rtcp) = (signalled(media), Source::UNKNOWN);
            let (here, here_rtcp) = (at("192.0.2.1:4000"), at("192.0.2.1:4001"));
            rtcp.signal(Some(here_rtcp), &media, 0, WINDOW);
            let mut now = 0;
            for (host, port, gap, is_rtcp) in packets {
                now += gap / 8;
                let from = SocketAddr::from(([192, 0, 2, host], 3999 + port));
                let host = rtp.host();
                if is_rtcp {
                    let learned = comes(&mut rtcp, &from.to_string(), Evidence::Rtcp(host), now) == Match::Learn;
                    prop_assert!(!learned || from == here_rtcp || Some(from.ip()) == host);
                } else {
                    let handed_over = rtp.settled().is_some();
                    if offer(&mut rtp, &from.to_string(), now) == Match::Learn && !handed_over {
                        rtcp.follow(from.ip());
                        prop_assert!(rtcp.address().is_none_or(|a| a == here_rtcp || a.ip() == from.ip()));
                    }
                }
                for (source, signalled) in [(rtp, here), (rtcp, here_rtcp)] {
                    prop_assert!(!asymmetric || source.destination() == Some(signalled));
                    prop_assert!(nat || handover || source.address().is_none_or(|a| a == signalled));
                    let fixed = source.settled().filter(|_| !handover && !asymmetric);
                    prop_assert_eq!(source.connectable(), fixed);
                    prop_assert!(fixed.is_none() || fixed == source.destination());
                }
            }
        }
    }

    proptest! {
        /// Under handover: whoever does not know the SSRC never takes the place of the true source, and nobody does
        /// while it still sends.
        #[test]
        fn handover_is_safe(
            nat: bool,
            packets in proptest::collection::vec((any::<bool>(), 4..7_u32, 0..HANDOVER_NS * 2), 0..60),
        ) {
            let mut source = signalled(LegMedia { handover: true, ..if nat { NAT } else { STRICT } });
            let (here, there) = ("192.0.2.1:4000", "203.0.113.9:7");
            offer(&mut source, here, 0);
            let (mut now, mut spoke) = (0, 0);
            for (stranger, ssrc, gap) in packets {
                now += gap / 4;
                if stranger {
                    let taken = comes(&mut source, there, Evidence::Rtp(ssrc), now) == Match::Learn;
                    prop_assert!(!taken || (ssrc == SSRC && now - spoke >= HANDOVER_NS));
                    if taken {
                        break;
                    }
                } else {
                    prop_assert_eq!(offer(&mut source, here, now), Match::Yes);
                    spoke = now;
                }
            }
        }
    }
}
