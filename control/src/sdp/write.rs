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
mod tests;
