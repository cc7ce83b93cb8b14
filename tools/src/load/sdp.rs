//! The SDP of a call's two parties, and what the relay's SDP says of its own ports.
//!
//! Pure. Reading is control's own parser: it takes what other relays write, too.

use control::sdp::Sdp;

use super::options::Format;
use super::traffic::Ends;

/// Payload type of telephone events (RFC 4733), offered as every phone does and never sent.
pub const EVENTS: u8 = 101;

/// What a party says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Party {
    /// Where it receives.
    pub ends: Ends,
    /// What it speaks.
    pub format: Format,
    /// Milliseconds of a packet.
    pub ptime: u16,
    /// `o=`'s session id.
    pub session: u64,
}

impl Party {
    /// Its description (RFC 8866), as phones write it.
    pub fn describe(&self) -> String {
        let Self { ends, format, ptime, session } = self;
        let ip = ends.rtp.ip();
        let (kind, session) = (if ip.is_ipv4() { "IP4" } else { "IP6" }, session >> 2);
        let (payload_type, encoding) = (format.payload_type(), format.encoding());
        let (rtp, rtcp) = (ends.rtp.port(), ends.rtcp.port());
        format!(
            "v=0\r\no=- {session} 1 IN {kind} {ip}\r\ns=-\r\nc=IN {kind} {ip}\r\nt=0 0\r\n\
             m=audio {rtp} RTP/AVP {payload_type} {EVENTS}\r\na=rtpmap:{payload_type} {encoding}\r\n\
             a=rtpmap:{EVENTS} telephone-event/8000\r\na=fmtp:{EVENTS} 0-16\r\na=ptime:{ptime}\r\n\
             a=rtcp:{rtcp}\r\na=sendrecv\r\n"
        )
    }
}

/// Where the audio of a description is to be sent; none when it is refused or cannot be read.
pub fn ends(text: &str) -> Option<Ends> {
    let sdp = Sdp::parse(text).ok()?;
    let audio = sdp.media.iter().find(|media| media.kind == "audio")?;
    let (rtp, rtcp) = audio.receives_at(None)?;
    Some(Ends { rtp, rtcp: if audio.mux { rtp } else { rtcp } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rtp: &str, rtcp: &str) -> Ends {
        Ends { rtp: rtp.parse().unwrap(), rtcp: rtcp.parse().unwrap() }
    }

    #[test]
    fn a_party_is_read_as_it_described_itself() {
        for (rtp, rtcp) in
            [("192.0.2.7:40000", "192.0.2.7:40001"), ("[2001:db8::7]:40002", "[2001:db8::7]:40003")]
        {
            let ends = at(rtp, rtcp);
            let party = Party { ends, format: Format::Opus, ptime: 20, session: u64::MAX };
            assert_eq!(super::ends(&party.describe()), Some(ends), "{}", party.describe());
        }
    }

    #[test]
    fn the_answers_of_both_relays_are_read() {
        let ours = "v=0\r\no=- 2 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
                    m=audio 30000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtcp:30001\r\na=sendrecv\r\n";
        assert_eq!(ends(ours), Some(at("192.0.2.1:30000", "192.0.2.1:30001")));
        // As rtpengine 10.5 writes it: the address at the m-line, `a=rtcp` last.
        let other = "v=0\r\no=- 1545997027 1 IN IP4 198.51.100.7\r\ns=tester\r\nt=0 0\r\n\
                     m=audio 30018 RTP/AVP 8 101\r\nc=IN IP4 203.0.113.1\r\na=rtpmap:8 PCMA/8000\r\n\
                     a=sendrecv\r\na=rtcp:30019\r\na=ptime:20\r\n";
        assert_eq!(ends(other), Some(at("203.0.113.1:30018", "203.0.113.1:30019")));
        assert_eq!(
            ends(&other.replace("a=rtcp:30019", "a=rtcp-mux")),
            Some(at("203.0.113.1:30018", "203.0.113.1:30018"))
        );
        assert_eq!(ends(&ours.replace("30000", "0")), None, "refused");
        assert_eq!(ends("no SDP"), None);
    }
}
