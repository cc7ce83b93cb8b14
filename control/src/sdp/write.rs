//! Writing SDP: what one party is shown of the other's media.
//!
//! In the order m=, c=, b=, attributes as they came, `a=rtcp`, `a=rtcp-mux` (the last two where there is RTCP).

use std::fmt::Write;
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::{Carriage, Media, Profile, Sdp};

/// The relay's ports that take the place of a party's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// As the outside sees it.
    pub address: IpAddr,
    /// RTP.
    pub rtp: u16,
    /// RTCP.
    pub rtcp: u16,
}

/// Identifies the description to the party that receives it (`o=`): one session per call and leg, and a version
/// that grows when the content changes (RFC 3264 section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Session id.
    pub session: u64,
    /// Session version.
    pub version: u64,
}

/// One m-line to be written.
pub struct Section<'a> {
    /// What the other party said of it.
    pub media: &'a Media,
    /// The protocol to show.
    pub protocol: &'a str,
    /// Ours ports; none refuses the line.
    pub local: Option<Local>,
    /// Whether rtcp-mux is shown.
    pub mux: Mux,
}

/// What a written m-line says of rtcp-mux (RFC 5761 section 5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mux {
    /// Nothing.
    No,
    /// It may be used: RTCP has a port of its own all the same.
    Offered,
    /// It is used: RTCP comes to the RTP port.
    Agreed,
}

impl Sdp {
    /// The description for the other party. `home` is an address of ours, for `o=`.
    pub fn write(&self, origin: Origin, home: IpAddr, sections: &[Section<'_>]) -> String {
        let Origin { session, version } = origin;
        let mut out = format!("v=0\r\no=- {session} {version} {}\r\ns=-\r\n", network(home));
        // The order of RFC 8866 section 5: bandwidth, time, attributes.
        self.kept.iter().filter(|l| l.starts_with("b=")).for_each(|l| line(&mut out, l));
        line(&mut out, "t=0 0");
        self.kept.iter().filter(|l| l.starts_with("a=")).for_each(|l| line(&mut out, l));
        for section in sections {
            section.write(&mut out);
        }
        out
    }

    /// A number that changes when what is written changes, ports aside (those never change during a call).
    pub fn digest(&self, sections: &[Section<'_>]) -> u64 {
        let origin = Origin { session: 0, version: 0 };
        let text = self.write(origin, IpAddr::from([0; 4]), sections);
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        hash.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

impl Section<'_> {
    fn write(&self, out: &mut String) {
        let media = self.media;
        let formats = if media.payload_types.is_empty() {
            media.format.clone()
        } else {
            media.payload_types.iter().map(u8::to_string).collect::<Vec<_>>().join(" ")
        };
        let port = self.local.map_or(0, |l| l.rtp);
        line(out, &format!("m={} {port} {} {formats}", media.kind, self.protocol));
        let Some(local) = self.local else { return };
        // Hold as RFC 2543 had it: the party wants nothing sent, and the other must be told so.
        let held = media.address.is_some_and(|a| a.is_unspecified());
        let address = match local.address {
            IpAddr::V4(_) if held => IpAddr::from([0; 4]),
            IpAddr::V6(_) if held => IpAddr::from([0; 16]),
            address => address,
        };
        line(out, &format!("c={}", network(address)));
        media.kept.iter().filter(|l| l.starts_with("b=")).for_each(|l| line(out, l));
        // Feedback needs a profile that has it; who is shown another one must not be shown it.
        let without = Profile::read(self.protocol).is_some_and(|profile| !profile.feedback());
        let feedback = self.protocol != media.protocol && without;
        let passes = |l: &&String| l.starts_with("a=") && !(feedback && l.starts_with("a=rtcp-"));
        media.kept.iter().filter(passes).for_each(|l| line(out, l));
        if media.carriage() == Some(Carriage::Fax) {
            return;
        }
        let rtcp = if self.mux == Mux::Agreed { local.rtp } else { local.rtcp };
        line(out, &format!("a=rtcp:{rtcp}"));
        if self.mux != Mux::No {
            line(out, "a=rtcp-mux");
        }
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push_str("\r\n");
}

fn network(address: IpAddr) -> String {
    let mut text = String::from(if address.is_ipv4() { "IN IP4 " } else { "IN IP6 " });
    // Writing to a String cannot fail.
    let _ = write!(text, "{address}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin { session: 77, version: 3 };
    const LOCAL: Local =
        Local { address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), rtp: 30_000, rtcp: 30_001 };

    fn written(text: &str, mux: Mux) -> String {
        let sdp = Sdp::parse(text).unwrap();
        let section = |media| {
            let local = Media::relayable(media).then_some(LOCAL);
            Section { media, protocol: &media.protocol, local, mux }
        };
        let sections: Vec<_> = sdp.media.iter().map(section).collect();
        sdp.write(ORIGIN, LOCAL.address, &sections)
    }

    #[test]
    fn shows_the_media_and_nothing_of_the_party() {
        let text = "v=0\r\no=+447700900001 4477009 1 IN IP4 10.0.0.7\r\ns=call of +447700900001\r\n\
            i=447700900001\r\nu=http://x/447700900001\r\ne=447700900001@x\r\np=+44 7700 900001\r\n\
            c=IN IP4 10.0.0.7\r\nb=AS:80\r\nt=4477009 447700900001\r\nr=447700900001\r\nk=clear:447700900001\r\n\
            a=tool:447700900001\r\na=sendonly\r\n\
            m=audio 4000 RTP/AVP 8 101\r\ni=447700900001\r\nc=IN IP4 10.0.0.7\r\nb=AS:64\r\na=rtpmap:8 PCMA/8000\r\n\
            a=X-who:447700900001\r\na=fmtp:101 0-15\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n\
            a=candidate:1 1 UDP 1 10.0.0.7 4000 typ host\r\na=rtcp:4001 IN IP4 10.0.0.7\r\n\
            m=image 4002 udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:447700900001\r\na=rtcp-mux\r\n";
        assert_eq!(
            written(text, Mux::No),
            "v=0\r\no=- 77 3 IN IP4 192.0.2.1\r\ns=-\r\nb=AS:80\r\nt=0 0\r\na=sendonly\r\n\
             m=audio 30000 RTP/AVP 8 101\r\nc=IN IP4 192.0.2.1\r\nb=AS:64\r\na=rtpmap:8 PCMA/8000\r\n\
             a=fmtp:101 0-15\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=rtcp:30001\r\n\
             m=image 30000 udptl t38\r\nc=IN IP4 192.0.2.1\r\na=T38FaxVersion:0\r\n"
        );
    }

    #[test]
    fn rtcp_mux_follows() {
        let text = "v=0\r\nc=IN IP4 10.0.0.7\r\nm=audio 4000 RTP/AVP 8\r\na=rtcp-mux\r\n";
        assert!(written(text, Mux::No).ends_with("a=rtcp:30001\r\n"));
        assert!(written(text, Mux::Offered).ends_with("a=rtcp:30001\r\na=rtcp-mux\r\n"));
        assert!(written(text, Mux::Agreed).ends_with("a=rtcp:30000\r\na=rtcp-mux\r\n"));
    }

    #[test]
    fn hold_in_the_old_way_is_passed_on() {
        let text = "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 8\r\n";
        assert!(written(text, Mux::No).contains("m=audio 30000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n"));
    }

    #[test]
    fn the_digest_tells_changes_apart() {
        let digest = |text: &str| {
            let sdp = Sdp::parse(text).unwrap();
            let media = &sdp.media[0];
            sdp.digest(&[Section { media, protocol: &media.protocol, local: Some(LOCAL), mux: Mux::No }])
        };
        let text = "v=0\r\no=a 1 1 IN IP4 10.0.0.7\r\nc=IN IP4 10.0.0.7\r\nm=audio 4000 RTP/AVP 8 0\r\n";
        assert_eq!(digest(text), digest(&text.replace("o=a 1 1", "o=b 2 2").replace("4000", "5000")));
        assert_ne!(digest(text), digest(&text.replace("8 0", "8")));
        assert_ne!(digest(text), digest(&format!("{text}a=sendonly\r\n")));
    }
}
