//! One m-line of a call: what each leg said of it, and the relay's stream that comes of it.
//!
//! Pure; serialised into the call's blob.

use std::net::SocketAddr;

use recorder::label::Codec;
use relay::program::message::{Learning, Leg, LegMedia, PayloadTypes, Remote, Stream};
use serde::{Deserialize, Serialize};

use crate::ng::flags::Options;
use crate::sdp::{Direction, Media, is_telephone_event};

/// What one leg said of an m-line.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Side {
    /// It takes part: plain audio with a port.
    pub on: bool,
    /// Where it receives RTP and, without rtcp-mux, RTCP; none while it receives nothing.
    remote: Option<(SocketAddr, SocketAddr)>,
    /// rtcp-mux is agreed with this leg.
    pub mux: bool,
    /// Which way media flows.
    direction: Direction,
    /// The payload types that it listed.
    payload_types: Vec<u8>,
    /// The encodings behind them, as far as known.
    codecs: Vec<Codec>,
    /// From where its packets may come.
    learning: Learning,
}

/// What an offer said of rtcp-mux, kept for its answer (RFC 5761 section 5.1.1).
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "independent wishes, each named by the protocol")]
pub struct MuxOffer {
    /// The offerer offered it.
    pub offered: bool,
    /// The answerer is offered it.
    pub shown: bool,
    /// The offerer gets it even when the answerer does not.
    pub accept: bool,
    /// The offerer does not get it.
    pub reject: bool,
}

/// An m-line. Lines are never taken away during a call (RFC 3264 section 8).
#[derive(Clone, Serialize, Deserialize)]
pub struct Line {
    /// `audio`, …
    pub kind: String,
    /// The protocol in the last offer, which its answer must repeat.
    pub protocol: String,
    /// What stands as format where the line is refused.
    pub format: String,
    /// Which stream of the relay carries it; none for a line that was never relayed.
    pub stream: Option<usize>,
    /// What counts: caller's, callee's.
    pub legs: [Side; 2],
}

impl Side {
    /// What `media` says, seen under these options.
    pub fn of(media: &Media, options: &Options) -> Self {
        Self {
            on: media.relayable(),
            remote: media.receives_at(options.address),
            mux: false,
            direction: media.direction,
            payload_types: media.payload_types.clone(),
            codecs: media.codecs.clone(),
            learning: options.learning.unwrap_or_default(),
        }
    }

    fn codec(&self, payload_type: u8) -> Option<&Codec> {
        self.codecs.iter().find(|c| c.payload_type == payload_type)
    }

    /// Where to send to this leg.
    pub fn remote(&self) -> Option<Remote> {
        let (rtp, rtcp) = self.remote.filter(|_| self.on)?;
        Some(Remote { rtp, rtcp: if self.mux { rtp } else { rtcp } })
    }

    fn hears(&self, other: &Self) -> bool {
        self.on && other.on && other.direction.sends() && self.direction.receives() && self.remote.is_some()
    }
}

impl Line {
    /// A line that nobody spoke of yet.
    pub fn new(media: &Media) -> Self {
        let mut line = Self {
            kind: String::new(),
            protocol: String::new(),
            format: String::new(),
            stream: None,
            legs: [Side::default(), Side::default()],
        };
        line.describe(media);
        line
    }

    /// Takes over what an offer says in this place; a slot may change what it carries.
    pub fn describe(&mut self, media: &Media) {
        self.kind.clone_from(&media.kind);
        self.protocol.clone_from(&media.protocol);
        self.format.clone_from(&media.format);
    }

    /// One leg's side.
    pub const fn side(&self, leg: Leg) -> &Side {
        let [caller, callee] = &self.legs;
        match leg {
            Leg::Caller => caller,
            Leg::Callee => callee,
        }
    }

    /// One leg's side, to be changed.
    pub const fn side_mut(&mut self, leg: Leg) -> &mut Side {
        let [caller, callee] = &mut self.legs;
        match leg {
            Leg::Caller => caller,
            Leg::Callee => callee,
        }
    }

    /// Whether both legs agreed that media flows both ways.
    pub fn flows(&self) -> bool {
        let [caller, callee] = &self.legs;
        self.stream.is_some() && (caller.hears(callee) && callee.hears(caller))
    }

    /// The encodings of what `leg` may send and the recorder shall get.
    ///
    /// A party sends with the payload types that the other party's SDP lists (RFC 3264 section 5.1), so that SDP
    /// says what a number means; what only its own SDP lists is let through all the same, as parties do send it.
    /// DTMF is among it: the recorder writes no digit, counts events, and silences the tone beside them. What has no name
    /// cannot be decoded, and might be anything: it is not in here.
    pub fn sends(&self, leg: Leg) -> impl Iterator<Item = &Codec> {
        let (own, other) = (self.side(leg), self.side(leg.other()));
        let listed = other.payload_types.iter().map(|pt| other.codec(*pt).or_else(|| own.codec(*pt)));
        let unlisted = own.payload_types.iter().filter(|pt| !other.payload_types.contains(pt));
        listed.chain(unlisted.map(|pt| own.codec(*pt))).flatten()
    }

    /// The first encoding of speech that `leg` may send.
    pub fn speaks(&self, leg: Leg) -> Option<&Codec> {
        self.sends(leg).find(|codec| !is_telephone_event(codec))
    }

    /// The relay's stream.
    pub fn to_stream(&self) -> Stream {
        let [caller, callee] = &self.legs;
        let accepts = caller.payload_types.iter().chain(&callee.payload_types).copied().collect();
        let media = |leg: Leg| {
            let side = self.side(leg);
            LegMedia {
                remote: side.remote(),
                accepts,
                tapped: self.sends(leg).map(|c| c.payload_type).collect::<PayloadTypes>(),
                clocks: super::sound::clocks(self.sends(leg)),
                rtcp_mux: side.mux,
                learning: side.learning,
                events: self.sends(leg).filter(|c| is_telephone_event(c)).map(|c| c.payload_type).collect(),
                ..LegMedia::default()
            }
        };
        Stream { legs: Leg::BOTH.map(media), ..Stream::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Sdp;

    fn line(caller: &str, callee: &str) -> Line {
        let media = |text: &str| {
            let text = format!("v=0\r\nc=IN IP4 192.0.2.7\r\nm=audio 4000 RTP/AVP {text}\r\n");
            Sdp::parse(&text.replace(';', "\r\na=")).unwrap().media.remove(0)
        };
        let mut line = Line::new(&media(caller));
        line.stream = Some(0);
        line.legs = [caller, callee].map(|t| Side::of(&media(t), &Options::default()));
        line
    }

    #[test]
    fn both_lists_of_payload_types_are_let_through_and_tapped() {
        let line = line("8 0 101;rtpmap:101 telephone-event/8000", "8 97;rtpmap:97 telephone-event/8000");
        let [caller, callee] = line.to_stream().legs;
        assert_eq!(caller.accepts, [0, 8, 97, 101].into_iter().collect());
        assert_eq!(caller.accepts, callee.accepts);
        assert_eq!(caller.tapped, caller.accepts);
        assert_eq!(callee.tapped, caller.accepts);
        assert_eq!(line.speaks(Leg::Caller).map(|c| c.payload_type), Some(8));
    }

    #[test]
    fn a_number_means_what_the_receivers_sdp_says() {
        // The callee wants Opus as 101, which the caller lists as DTMF.
        let line = line("8 101;rtpmap:101 telephone-event/8000", "101;rtpmap:101 opus/48000/2");
        let what = |leg: Leg| line.sends(leg).find(|c| c.payload_type == 101).map(|c| c.name.clone());
        assert_eq!(
            (what(Leg::Caller).as_deref(), what(Leg::Callee).as_deref()),
            (Some("opus"), Some("telephone-event"))
        );
    }

    #[test]
    fn a_payload_type_without_a_name_is_not_tapped() {
        let [caller, _] = line("8 101", "8 101").to_stream().legs;
        assert!(caller.accepts.contains(101) && !caller.tapped.contains(101));
    }

    #[test]
    fn media_flows_where_both_send_and_receive() {
        assert!(line("8", "8").flows() && !line("8;sendonly", "8;recvonly").flows());
        assert!(!line("8;inactive", "8").flows() && !line("8;sendonly", "8;inactive").flows());
    }
}
