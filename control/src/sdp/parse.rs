//! Reading SDP: lines in, [`Sdp`] out. Tolerant of line ends and of order, strict with what is acted on.

use std::net::IpAddr;

use recorder::label::Codec;

use super::{Carriage, Direction, Media, Sdp, SdpError, extension, keep};

/// Most m-lines in one description.
pub(super) const MAX_MEDIA: usize = 32;

/// Most lines of a description.
const MAX_LINES: usize = 2048;
/// Most attributes of the session, and of each m-line.
const MAX_ATTRIBUTES: usize = 256;
/// Most formats of an m-line: RTP has no more payload types.
const MAX_FORMATS: usize = 128;

/// Formats of refused lines that stand as they are; others become `*`, which RFC 3264 section 6 lets be anything.
const FORMATS: [&str; 2] = ["t38", "webrtc-datachannel"];
/// The registered kinds of media (RFC 8866 section 8.2.2).
const KINDS: [&str; 6] = ["audio", "video", "text", "application", "message", "image"];

impl Sdp {
    /// Reads a session description.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let mut sdp = Self { kept: Vec::new(), media: Vec::new() };
        let mut session = Session::default();
        let mut own = Own::default();
        let (mut first, mut attributes) = (true, 0);
        let lines = text.lines().map(|l| l.trim_end_matches('\r')).enumerate().filter(|(_, l)| !l.is_empty());
        for (index, line) in lines {
            if index >= MAX_LINES {
                return Err(SdpError::TooLong);
            }
            let malformed = SdpError::Malformed(index + 1);
            let (kind, value) = match line.split_at_checked(2) {
                Some((head, value)) if head.ends_with('=') => (head, value),
                _ => return Err(malformed),
            };
            if std::mem::take(&mut first) && kind != "v=" {
                return Err(malformed);
            }
            attributes = if kind == "m=" { 0 } else { attributes + usize::from(kind == "a=") };
            if attributes > MAX_ATTRIBUTES {
                return Err(SdpError::TooLong);
            }
            match (kind, sdp.media.last_mut()) {
                ("m=", _) => {
                    sdp.settle(&own, &session);
                    own = Own::default();
                    if sdp.media.len() == MAX_MEDIA {
                        return Err(SdpError::TooMany);
                    }
                    sdp.media.push(m_line(value).ok_or(malformed)?);
                }
                ("c=", None) => session.address = Some(connection(value).ok_or(malformed)?),
                ("c=", Some(media)) => media.address = Some(connection(value).ok_or(malformed)?),
                ("b=", None) => sdp.kept.extend(keep::bandwidth(value)),
                ("b=", Some(media)) => {
                    media.bandwidth = bits(value).or(media.bandwidth);
                    media.kept.extend(keep::bandwidth(value));
                }
                ("a=", None) => {
                    session.direction = Direction::read(value).unwrap_or(session.direction);
                    session.dtls.extend(keep::dtls_attribute(value));
                    sdp.kept.extend(keep::session_attribute(value));
                }
                ("a=", Some(media)) => own.attribute(media, value).ok_or(malformed)?,
                _ => {}
            }
        }
        sdp.settle(&own, &session);
        if sdp.media.is_empty() {
            return Err(SdpError::NoMedia);
        }
        let lacking = sdp.media.iter().position(|m| m.relayable() && m.address.is_none());
        lacking.map_or(Ok(sdp), |index| Err(SdpError::NoAddress(index + 1)))
    }

    /// Fills in, once an m-line's attributes are all read, what it takes from the session and from RFC 3551.
    fn settle(&mut self, own: &Own, session: &Session) {
        let Some(media) = self.media.last_mut() else { return };
        media.address = media.address.or(session.address);
        media.direction = own.direction.unwrap_or(session.direction);
        if media.carriage() == Some(Carriage::Dtls) {
            for line in session.dtls.iter().map(|line| format!("a={line}")) {
                let name = line.split_once(':').map_or("", |(name, _)| name);
                if !media.kept.iter().any(|own| own.starts_with(name)) {
                    media.kept.push(line);
                }
            }
        }
        let named = |pt: u8| own.codecs.iter().find(|c| c.payload_type == pt).cloned();
        media.codecs =
            media.payload_types.iter().filter_map(|pt| named(*pt).or_else(|| fixed(*pt))).collect();
    }
}

/// What stands above the m-lines and holds for all that do not say it themselves.
#[derive(Default)]
struct Session {
    address: Option<IpAddr>,
    direction: Direction,
    /// Fingerprint and set-up of DTLS.
    dtls: Vec<String>,
}

/// What is gathered from the attributes of the m-line that is being read.
#[derive(Default)]
struct Own {
    direction: Option<Direction>,
    codecs: Vec<Codec>,
}

impl Own {
    fn attribute(&mut self, media: &mut Media, attribute: &str) -> Option<()> {
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        match name {
            "rtpmap" => self.codecs.extend(keep::rtpmap(value)),
            "rtcp" => {
                let mut words = value.split_whitespace();
                let port = words.next()?.parse().ok()?;
                let address = words.nth(2).and_then(|a| a.parse().ok());
                media.rtcp = Some((port, address.map(|a: IpAddr| a.to_canonical())));
            }
            "rtcp-mux" => media.mux = true,
            "ptime" => media.ptime = value.trim().parse().ok().or(media.ptime),
            "maxptime" => media.maxptime = value.trim().parse().ok().or(media.maxptime),
            "extmap" => {
                let listed = |id: u8| media.extensions.iter().any(|(other, _)| *other == id);
                if let Some((id, extension, _)) = extension::extmap(value).filter(|(id, ..)| !listed(*id)) {
                    media.extensions.push((id, extension));
                }
            }
            _ => self.direction = Direction::read(attribute).or(self.direction),
        }
        media.kept.extend(keep::media_attribute(attribute, media));
        Some(())
    }
}

/// `audio 49170/2 RTP/AVP 0 8 101`
fn m_line(value: &str) -> Option<Media> {
    let mut words = value.split_whitespace();
    let (kind, port, protocol) = (words.next()?, words.next()?, words.next()?);
    let (port, count) = port.split_once('/').unwrap_or((port, "1"));
    let letters = |b: u8| b.is_ascii_alphabetic() || b == b'/';
    if !KINDS.contains(&kind) || protocol.len() > 32 || !protocol.bytes().all(letters) {
        return None;
    }
    let formats: Vec<&str> = words.take(MAX_FORMATS + 1).collect();
    let rtp = protocol.contains("RTP/");
    let payload_type = |f: &&str| f.parse().ok().filter(|pt: &u8| *pt < 128);
    let payload_types = formats.iter().map(payload_type).collect::<Option<Vec<u8>>>().filter(|_| rtp);
    let payload_types = payload_types.unwrap_or_default();
    let known = FORMATS.iter().find(|f| formats.first().is_some_and(|first| first.eq_ignore_ascii_case(f)));
    let format = payload_types.first().map_or_else(|| known.map_or("*", |f| f).to_owned(), u8::to_string);
    let one_port = count == "1";
    let port = port.parse().ok()?;
    formats.first()?;
    if formats.len() > MAX_FORMATS {
        return None;
    }
    Some(Media { port, one_port, payload_types, ..Media::refusing(kind, protocol, &format) })
}

/// What `b=` says of the media, in bits per second (RFC 8866 section 5.8, RFC 3890).
fn bits(value: &str) -> Option<u64> {
    match value.split_once(':')? {
        ("AS", amount) => Some(amount.parse::<u64>().ok()?.saturating_mul(1000)),
        ("TIAS", amount) => amount.parse().ok(),
        _ => None,
    }
}

/// `IN IP4 192.0.2.1/127`. An IPv4 address in the clothes of IPv6 counts as what it is.
fn connection(value: &str) -> Option<IpAddr> {
    let mut words = value.split_whitespace();
    if words.next() != Some("IN") {
        return None;
    }
    let (family, address) = (words.next()?, words.next()?);
    let address: IpAddr = address.split('/').next()?.parse().ok()?;
    (family == if address.is_ipv4() { "IP4" } else { "IP6" }).then_some(address.to_canonical())
}

/// RFC 3551's static payload types, as far as telephony uses them.
fn fixed(payload_type: u8) -> Option<Codec> {
    let (name, clock_rate) = match payload_type {
        0 => ("PCMU", 8000),
        3 => ("GSM", 8000),
        4 => ("G723", 8000),
        8 => ("PCMA", 8000),
        9 => ("G722", 8000),
        13 => ("CN", 8000),
        15 => ("G728", 8000),
        18 => ("G729", 8000),
        26 => ("JPEG", 90_000),
        31 => ("H261", 90_000),
        34 => ("H263", 90_000),
        _ => return None,
    };
    Some(Codec { payload_type, name: name.to_owned(), clock_rate, channels: 1 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PHONE: &str = "v=0\r\no=alice 1 1 IN IP4 10.0.0.7\r\ns=-\r\nc=IN IP4 10.0.0.7\r\nt=0 0\r\na=tool:x\r\n\
        m=audio 4000 RTP/AVP 8 0 111 101\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=rtcp:4005 IN IP4 10.0.0.8\r\na=sendonly\r\n\
        m=video 4002 RTP/AVP 96\r\nm=image 4004 udptl t38\r\nc=IN IP4 10.0.0.9\r\n";

    #[test]
    fn reads_what_is_acted_on() {
        let sdp = Sdp::parse(PHONE).unwrap();
        let [audio, video, image] = &sdp.media[..] else { panic!("three m-lines") };
        assert_eq!(
            [audio, video, image].map(|m| m.carriage().filter(|_| m.relayable())),
            [Carriage::Speech, Carriage::Rtp, Carriage::Fax].map(Some)
        );
        let (rtp, rtcp) = audio.receives_at(None).unwrap();
        assert_eq!((rtp.to_string(), rtcp.to_string()), ("10.0.0.7:4000".into(), "10.0.0.8:4005".into()));
        let (rtp, rtcp) = audio.receives_at(Some("192.0.2.1".parse().unwrap())).unwrap();
        assert_eq!((rtp.to_string(), rtcp.to_string()), ("192.0.2.1:4000".into(), "192.0.2.1:4005".into()));
        let names: Vec<_> =
            audio.codecs.iter().map(|c| (c.payload_type, c.name.as_str(), c.channels)).collect();
        assert_eq!(names, [(8, "PCMA", 1), (0, "PCMU", 1), (111, "opus", 2), (101, "telephone-event", 1)]);
        assert_eq!(audio.direction, Direction::SendOnly);
        assert_eq!(image.address, Some("10.0.0.9".parse().unwrap()));
        assert_eq!((video.format.as_str(), image.format.as_str()), ("96", "t38"));
    }

    #[test]
    fn line_ends_may_be_bare_and_the_direction_the_sessions() {
        let text = PHONE.replace("\r\n", "\n").replace("a=sendonly\n", "").replace("a=tool:x", "a=inactive");
        assert_eq!(Sdp::parse(&text).unwrap().media[0].direction, Direction::Inactive);
    }

    #[test]
    fn unusable_descriptions_are_told_apart() {
        let case = |from: &str, to: &str| Sdp::parse(&PHONE.replace(from, to)).err();
        assert_eq!(Sdp::parse(""), Err(SdpError::NoMedia));
        assert_eq!(Sdp::parse("v=0\r\ns=-\r\n"), Err(SdpError::NoMedia));
        assert_eq!(Sdp::parse("hello"), Err(SdpError::Malformed(1)));
        assert_eq!(case("v=0\r\n", ""), Some(SdpError::Malformed(1)));
        assert_eq!(case("v=0\r\n", "\r\n"), Some(SdpError::Malformed(2)), "a blank line is no version");
        assert_eq!(case("v=0\r\n", "\r\nv=0\r\n"), None);
        assert_eq!(case("c=IN IP4 10.0.0.7\r\n", ""), Some(SdpError::NoAddress(1)));
        assert_eq!(case("c=IN IP4 10.0.0.7", "c=IN IP4 host.example.org"), Some(SdpError::Malformed(4)));
        assert_eq!(case("c=IN IP4 10.0.0.7", "c=IN IP6 10.0.0.7"), Some(SdpError::Malformed(4)));
        assert_eq!(case("audio 4000", "audio 70000"), Some(SdpError::Malformed(7)));
        assert_eq!(case("m=audio 4000", "m=+447700900001 4000"), Some(SdpError::Malformed(7)));
        assert_eq!(case("RTP/AVP 8 0 111 101", "RTP/AVP"), Some(SdpError::Malformed(7)));
        assert_eq!(case("a=rtcp:4005", "a=rtcp:x"), Some(SdpError::Malformed(10)));
        let many = format!("{PHONE}{}", "m=audio 0 RTP/AVP 0\r\n".repeat(MAX_MEDIA));
        assert_eq!(Sdp::parse(&many), Err(SdpError::TooMany));
    }

    #[test]
    fn a_description_is_bounded() {
        let with = |from: &str, more: &str, count: usize| {
            Sdp::parse(&PHONE.replace(from, &format!("{from}{}", more.repeat(count)))).err()
        };
        assert_eq!(with("a=sendonly\r\n", "a=x\r\n", MAX_ATTRIBUTES - 4), None);
        assert_eq!(with("a=sendonly\r\n", "a=x\r\n", MAX_ATTRIBUTES - 3), Some(SdpError::TooLong));
        assert_eq!(with("a=tool:x\r\n", "a=x\r\n", MAX_ATTRIBUTES), Some(SdpError::TooLong));
        assert_eq!(with("s=-\r\n", "r=0\r\n", MAX_LINES), Some(SdpError::TooLong));
        assert_eq!(with("s=-\r\n", "\r\n", MAX_LINES), Some(SdpError::TooLong));
        assert_eq!(with("8 0 111 101", " 8", MAX_FORMATS - 4), None);
        assert_eq!(with("8 0 111 101", " 8", MAX_FORMATS - 3), Some(SdpError::Malformed(7)));
    }

    #[test]
    fn hold_in_the_old_way_has_no_destination() {
        let sdp = Sdp::parse(&PHONE.replace("c=IN IP4 10.0.0.7", "c=IN IP4 0.0.0.0")).unwrap();
        assert!(sdp.media[0].relayable() && sdp.media[0].receives_at(None).is_none());
        let sdp = Sdp::parse(&PHONE.replace("audio 4000", "audio 0")).unwrap();
        assert!(!sdp.media[0].relayable() && sdp.media[0].receives_at(None).is_none());
    }

    #[test]
    fn what_is_not_known_is_not_relayed() {
        for other in [
            "audio 4000/2 RTP/AVP 8",
            "audio 4000 RTP/AVP 8 300",
            "audio 4000 rtp/avp 8",
            "audio 4000 UDP/TLS/UDPTL 8",
            "application 4000 RTP/AVP 8",
            "image 4000 RTP/AVP 8",
            "image 4000 TCP t38",
            "image 4000 udptl other",
            "audio 4000 udptl t38",
        ] {
            let sdp = Sdp::parse(&PHONE.replace("audio 4000 RTP/AVP 8 0 111 101", other)).unwrap();
            assert!(!sdp.media[0].relayable(), "{other}");
        }
    }

    #[test]
    fn what_is_encrypted_needs_what_opens_it() {
        let carriage = |line: &str| {
            let text = PHONE.replace("audio 4000 RTP/AVP 8 0 111 101", line);
            let media = Sdp::parse(&text).unwrap().media.remove(0);
            media.carriage().filter(|_| media.relayable())
        };
        let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        let print = format!("a=fingerprint:sha-1 {}", ["0A"; 20].join(":"));
        assert_eq!(carriage(&format!("audio 4000 RTP/SAVP 8\r\n{key}")), Some(Carriage::Sdes));
        assert_eq!(carriage(&format!("video 4000 RTP/SAVPF 96\r\n{key}")), Some(Carriage::Sdes));
        assert_eq!(carriage(&format!("audio 4000 UDP/TLS/RTP/SAVP 8\r\n{print}")), Some(Carriage::Dtls));
        assert_eq!(carriage("audio 4000 RTP/SAVP 8"), None);
        assert_eq!(carriage(&format!("audio 4000 RTP/SAVP 8\r\n{print}")), None);
        assert_eq!(carriage("audio 4000 UDP/TLS/RTP/SAVP 8"), None);
        assert_eq!(carriage(&format!("audio 4000 UDP/TLS/RTP/SAVP 8\r\n{key}")), None);
        // The session's fingerprint is that of lines without one (RFC 8122 section 5).
        let text = PHONE.replace("a=tool:x", &print).replace("RTP/AVP 8 0", "UDP/TLS/RTP/SAVP 8 0");
        assert!(Sdp::parse(&text).unwrap().media[0].relayable());
    }

    #[test]
    fn an_ipv4_address_is_one_in_any_clothes() {
        let text = PHONE.replace("c=IN IP4 10.0.0.7", "c=IN IP6 ::ffff:10.0.0.7");
        let media = Sdp::parse(&text).unwrap().media.remove(0);
        assert_eq!(media.address, Some("10.0.0.7".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn alien_text_never_panics(text: String) {
            let _ = Sdp::parse(&text);
        }

        #[test]
        fn a_damaged_description_never_panics(at: prop::sample::Index, with: String, cut: bool) {
            let at = at.index(PHONE.len());
            let tail = if cut { "" } else { &PHONE[at..] };
            if let Ok(sdp) = Sdp::parse(&format!("{}{with}{tail}", &PHONE[..at])) {
                sdp.media.iter().for_each(|m| assert!(m.receives_at(None).is_none_or(|(rtp, _)| rtp.port() != 0)));
            }
        }
    }
}
