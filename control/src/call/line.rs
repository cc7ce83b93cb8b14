//! One m-line of a call: what each leg said of it, and the relay's stream that comes of it.
//!
//! Pure; serialised into the call's blob.

use std::net::SocketAddr;

use recorder::label::Codec;
use relay::program::message::{
    Extensions, Learning, Leg, LegMedia, PayloadTypes, Place, Remote, Stream, StreamKind,
};
use serde::{Deserialize, Serialize};

use super::means::Means;
use super::sound;
use crate::ng::flags::Options;
use crate::sdp::{Carriage, Direction, Extension, Media, is_telephone_event};

/// What one leg said of an m-line.
#[derive(Clone, Default, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts, each named by the protocol")]
pub struct Side {
    /// It takes part: something that can be relayed, with a port.
    pub on: bool,
    /// How it is carried.
    #[serde(default)]
    pub carriage: Carriage,
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
    /// The header extensions that it listed, by id.
    #[serde(default)]
    extensions: Vec<(u8, Extension)>,
    /// From where its packets may come.
    learning: Learning,
    /// A new source may take over.
    #[serde(default)]
    handover: bool,
    /// It sends from elsewhere than it receives at.
    #[serde(default)]
    asymmetric: bool,
    /// Most packets a second that its description accounts for, with the room that the settings give; 0 for no limit.
    #[serde(default)]
    packets_per_second: u32,
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
    /// Where the stream's ports lie, towards caller and callee: fixed when it is opened.
    #[serde(default)]
    pub places: [Place; 2],
    /// What counts: caller's, callee's.
    pub legs: [Side; 2],
}

impl Side {
    /// What `media` says, seen under these options.
    pub fn of(media: &Media, options: &Options, means: &Means<'_>) -> Self {
        Self {
            on: media.relayable(),
            carriage: media.carriage().unwrap_or_default(),
            remote: media.receives_at(options.address),
            mux: false,
            direction: media.direction,
            payload_types: media.payload_types.clone(),
            codecs: media.codecs.clone(),
            extensions: media.extensions.clone(),
            learning: options.learning.unwrap_or_default(),
            handover: options.handover && !options.strict_source,
            asymmetric: options.asymmetric,
            packets_per_second: media.packets_per_second().saturating_mul(means.packet_rate_multiple),
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

    /// Whether the relay's ports at `place` can send to it.
    pub fn is_reached_from(&self, place: Place) -> bool {
        let addresses = self.remote.filter(|_| self.on).map(|(rtp, rtcp)| [rtp, rtcp]);
        addresses.into_iter().flatten().all(|address| place.family.fits(address.ip()))
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
            places: [Place::default(); 2],
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

    /// Where the stream's ports towards one leg lie.
    pub const fn place(&self, leg: Leg) -> Place {
        let [caller, callee] = self.places;
        match leg {
            Leg::Caller => caller,
            Leg::Callee => callee,
        }
    }

    /// How it is carried now: legs that both take part agree on it.
    fn carriage(&self) -> Carriage {
        let [caller, callee] = &self.legs;
        if caller.on { caller.carriage } else { callee.carriage }
    }

    /// The kind of media that flows, as m-lines name it. What an offer asks for that was never answered is not it: after a
    /// fax that was refused the call goes on as speech.
    pub fn media(&self) -> &str {
        match self.carriage() {
            Carriage::Speech => "audio",
            Carriage::Fax => "image",
            Carriage::Rtp | Carriage::Sdes | Carriage::Dtls => &self.kind,
        }
    }

    /// Whether the recorder shall get it, of a call that is recorded.
    pub fn is_tapped(&self) -> bool {
        self.stream.is_some() && self.carriage() == Carriage::Speech
    }

    /// Whether both legs agreed that media flows both ways.
    pub fn flows(&self) -> bool {
        let [caller, callee] = &self.legs;
        self.stream.is_some() && (caller.hears(callee) && callee.hears(caller))
    }

    /// The encodings of what `leg` may send, as far as they have names.
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
        let carriage = self.carriage();
        Stream {
            // The relay would take a handshake of DTLS for noise.
            kind: match carriage {
                Carriage::Fax | Carriage::Dtls => StreamKind::Opaque,
                Carriage::Speech | Carriage::Rtp | Carriage::Sdes => StreamKind::Rtp,
            },
            verbatim: carriage.sealed(),
            legs: Leg::BOTH.map(|leg| self.to_media(leg, carriage)),
        }
    }

    fn to_media(&self, leg: Leg, carriage: Carriage) -> LegMedia {
        let (own, other) = (self.side(leg), self.side(leg.other()));
        let sends = |like: fn(&Codec) -> bool| {
            self.sends(leg).filter(|codec| like(codec)).map(|codec| codec.payload_type).collect()
        };
        let speech = carriage == Carriage::Speech;
        LegMedia {
            place: self.place(leg),
            remote: own.remote(),
            accepts: own.payload_types.iter().chain(&other.payload_types).copied().collect(),
            tapped: if speech { sends(|_| true) } else { PayloadTypes::NONE },
            // Of what is encrypted the relay reads no key, and can keep it from the other all the same.
            events: sends(is_telephone_event),
            extensions: self.extensions(),
            clocks: sound::clocks(self.sends(leg)),
            rtcp_mux: own.mux,
            learning: own.learning,
            handover: own.handover,
            asymmetric: own.asymmetric,
            // Each party says how it wants to be sent to, and many mean how they send: the larger counts.
            packets_per_second: own.packets_per_second.max(other.packets_per_second),
            ..LegMedia::default()
        }
    }

    /// The header extensions that both legs listed under the same id (RFC 8285 section 6).
    fn extensions(&self) -> Extensions {
        let [caller, callee] = &self.legs;
        let both = caller.extensions.iter().filter(|listed| callee.extensions.contains(listed));
        both.fold(Extensions::NONE, |set, (id, _)| set.with(*id))
    }
}

#[cfg(test)]
mod tests {
    use relay::program::message::Clock;

    use super::*;
    use crate::sdp::Sdp;

    fn line(caller: &str, callee: &str) -> Line {
        with(caller, callee, &Options::default())
    }

    /// Audio over RTP/AVP unless the text begins with an m-line of its own.
    fn with(caller: &str, callee: &str, options: &Options) -> Line {
        let media = |text: &str| {
            let text =
                if text.starts_with("m=") { text.to_owned() } else { format!("m=audio 4000 RTP/AVP {text}") };
            let text = format!("v=0\r\nc=IN IP4 192.0.2.7\r\n{text}\r\n");
            Sdp::parse(&text.replace(';', "\r\na=")).unwrap().media.remove(0)
        };
        let means = Means { packet_rate_multiple: 5, ..Means::default() };
        let mut line = Line::new(&media(caller));
        line.stream = Some(0);
        line.legs = [caller, callee].map(|t| Side::of(&media(t), options, &means));
        line
    }

    #[test]
    fn only_speech_is_tapped_and_what_is_not_rtp_passes_as_it_is() {
        let key = "crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        let print = format!("fingerprint:sha-1 {}", ["0A"; 20].join(":"));
        let event = "rtpmap:101 telephone-event/8000";
        for (text, kind, verbatim, tapped) in [
            ("8".to_owned(), StreamKind::Rtp, false, true),
            ("m=video 4000 RTP/AVPF 96;rtpmap:96 VP8/90000".into(), StreamKind::Rtp, false, false),
            ("m=text 4000 RTP/AVP 98;rtpmap:98 t140/1000".into(), StreamKind::Rtp, false, false),
            (format!("m=audio 4000 RTP/SAVP 8 101;{event};{key}"), StreamKind::Rtp, true, false),
            (format!("m=audio 4000 UDP/TLS/RTP/SAVP 8;{print}"), StreamKind::Opaque, true, false),
            ("m=image 4000 udptl t38".into(), StreamKind::Opaque, false, false),
        ] {
            let line = line(&text, &text);
            let stream = line.to_stream();
            assert!(line.legs.iter().all(|side| side.on), "{text}");
            assert_eq!((stream.kind, stream.verbatim, line.is_tapped()), (kind, verbatim, tapped), "{text}");
            for leg in stream.legs {
                assert_eq!(leg.tapped != PayloadTypes::NONE, tapped, "{text}");
                assert_eq!(leg.events.contains(101), text.contains("telephone-event"), "{text}");
            }
        }
    }

    #[test]
    fn events_and_clocks_go_by_what_the_receiver_listed() {
        let event = "rtpmap:101 telephone-event/8000";
        let line =
            line(&format!("8 111 101;rtpmap:111 opus/48000/2;{event}"), "8 101;rtpmap:101 opus/48000/2");
        let [caller, callee] = line.to_stream().legs;
        assert_eq!((caller.events, callee.events), (PayloadTypes::NONE, PayloadTypes::NONE.with(101)));
        let clock = |hz, list: &[u8]| Clock { payload_types: list.iter().copied().collect(), hz };
        assert_eq!(caller.clocks[..2], [clock(8000, &[8]), clock(48_000, &[101, 111])]);
        assert_eq!(callee.clocks[..3], [clock(8000, &[8, 101]), clock(48_000, &[111]), Clock::default()]);
    }

    #[test]
    fn an_extension_passes_when_both_list_it_under_one_id() {
        let level = |id| format!("8;extmap:{id} urn:ietf:params:rtp-hdrext:ssrc-audio-level");
        let extensions =
            |caller: &str, callee: &str| line(caller, callee).to_stream().legs.map(|l| l.extensions);
        assert_eq!(extensions(&level(3), &level(3)), [Extensions::NONE.with(3); 2]);
        assert_eq!(extensions(&level(3), &level(4)), [Extensions::NONE; 2]);
        assert_eq!(extensions(&level(3), "8"), [Extensions::NONE; 2]);
        assert_eq!(extensions(&level(3), "8;extmap:3 urn:3gpp:video-orientation"), [Extensions::NONE; 2]);
    }

    #[test]
    fn the_faster_of_both_descriptions_sets_the_limit() {
        let pace =
            |caller: &str, callee: &str| line(caller, callee).to_stream().legs.map(|l| l.packets_per_second);
        assert_eq!(pace("8;ptime:10", "8"), [500; 2]);
        assert_eq!(pace("8", "8;ptime:30"), [250; 2]);
        assert_eq!(pace("m=image 4000 udptl t38", "m=image 4000 udptl t38"), [500; 2]);
    }

    #[test]
    fn handover_and_asymmetry_are_the_proxys_to_ask_for() {
        let ask = |set: fn(&mut Options)| {
            let mut options = Options::default();
            set(&mut options);
            let [caller, _] = with("8", "8", &options).to_stream().legs;
            (caller.handover, caller.asymmetric)
        };
        assert_eq!(ask(|_| {}), (false, false));
        assert_eq!(ask(|o| o.handover = true), (true, false));
        assert_eq!(ask(|o| (o.handover, o.strict_source) = (true, true)), (false, false));
        assert_eq!(ask(|o| o.asymmetric = true), (false, true));
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
