//! Privacy rewriting: what leaves towards one party carries none of the other's SSRC, sequence or time-stamp, and
//! nothing beside the payload that was not negotiated.
//!
//! [`Mask`] belongs to one direction of one stream: RTP from a leg is rewritten in place. [`rtcp`] rewrites what speaks
//! about that RTP to match. The engine calls both, on the row's worker. Pure.

mod header;
pub mod rtcp;
mod source;

use std::mem::offset_of;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::packet::{Packet, RTP_HEADER};
use crate::program::message::{Clock, Extensions};
pub use source::Guise;
use source::{Came, Return, Source};

/// Most sources of one direction that are known at a time; one more takes the place of the longest silent.
const SOURCES: usize = 4;

/// The disguise of one direction of one stream.
///
/// The receiver sees one SSRC. When the source's SSRC changes, sequence and time-stamp go on where they were; packets
/// of the old one that arrive late keep their numbers. Only where the old one never stops (retransmission, simulcast)
/// does each source get a shown SSRC of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mask {
    sources: [Option<Source>; SOURCES],
    /// The SSRC that is shown; where sources speak side by side, the one of the first.
    shown: u32,
    /// Sources speak side by side.
    several: bool,
    /// Under which SSRC a party that sends no RTP speaks RTCP.
    reporter: Option<u32>,
    random: u64,
    cname: [u8; 16],
}

impl Mask {
    /// A mask that draws from `seed`, which must be random and used once.
    pub fn new(seed: u64) -> Self {
        let mut mask = Self {
            sources: [None; SOURCES],
            shown: 0,
            several: false,
            reporter: None,
            random: seed,
            cname: [0; 16],
        };
        mask.shown = mask.draw();
        // 96 random bits in Base64 (RFC 7022, section 4.2): six from each of sixteen draws.
        for n in 0..mask.cname.len() {
            let character = mask.draw() & 0x3f;
            if let Some(place) = mask.cname.get_mut(n) {
                *place = base64(character);
            }
        }
        mask
    }

    /// Bytes of what every packet needs: the first source.
    pub const HOT: Range<usize> = {
        let first = offset_of!(Self, sources);
        first..first + size_of::<Option<Source>>()
    };

    /// The guise of a source SSRC that has sent RTP.
    pub fn of_source(&self, source: u32) -> Option<Guise> {
        self.find(source).map(|s| s.guise)
    }

    /// The guise of the source that speaks, where it is one alone.
    #[cfg(feature = "xdp")]
    pub fn only(&self) -> Option<Guise> {
        let speaks = self.sources.iter().flatten().find(|s| s.is_current());
        speaks.filter(|_| !self.several).map(|s| s.guise)
    }

    /// The guise behind an SSRC that is shown: of the source that it stands for now.
    pub fn of_shown(&self, shown: u32) -> Option<Guise> {
        self.current(shown).map(|s| s.guise)
    }

    /// The guise behind an SSRC that is shown, when the packet with the shown number `sequence` was: a report that was
    /// sent before the source's SSRC changed speaks of the old one.
    pub fn of_shown_at(&self, shown: u32, sequence: u16) -> Option<Guise> {
        let current = self.current(shown)?;
        let [.., high, low] = current.last_shown().to_be_bytes();
        let back = u16::from_be_bytes([high, low]).wrapping_sub(sequence).cast_signed();
        let position = current.last_shown().wrapping_add_signed(i32::from(back).wrapping_neg());
        let of_shown = self.sources.iter().flatten().filter(|s| s.guise.shown == shown);
        let then = of_shown.filter_map(|s| Some((s.began_before(position)?, s))).min_by_key(|(n, _)| *n);
        Some(then.map_or(current, |(_, source)| source).guise)
    }

    /// The SSRC that a BYE of `source` is shown for; none for a source that is unknown, or goes on under another SSRC.
    fn leaves(&self, source: u32) -> Option<u32> {
        match self.find(source) {
            Some(source) => source.is_current().then_some(source.guise.shown),
            None => (self.reporter == Some(source) && self.sources == [None; SOURCES]).then_some(self.shown),
        }
    }

    /// The canonical name shown in SDES (RFC 7022).
    pub const fn cname(&self) -> &[u8; 16] {
        &self.cname
    }

    /// Takes the canonical name of another stream of the same leg: a receiver plays streams of one name in step.
    pub const fn share_cname(&mut self, other: &Self) {
        self.cname = other.cname;
    }

    /// Rewrites a well-formed RTP packet that came at `now_ns` (monotonic nanoseconds), in place. Of its header
    /// extension only elements in `extensions` stay; `clocks` are those of the leg. Returns the new length, never more
    /// than before; none if the packet is malformed.
    #[inline]
    pub fn rtp(
        &mut self,
        packet: &mut [u8],
        extensions: Extensions,
        clocks: &[Clock],
        now_ns: u64,
    ) -> Option<usize> {
        // No contributing sources, no extension, no padding: nothing moves.
        let plain = *packet.first()? == 0x80;
        let length = if plain { packet.len() } else { header::strip(packet, extensions)? };
        let header = packet.first_chunk_mut::<RTP_HEADER>()?;
        let [_, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = header;
        let came = Came {
            source: u32::from_be_bytes([*c0, *c1, *c2, *c3]),
            sequence: u16::from_be_bytes([*s0, *s1]),
            timestamp: u32::from_be_bytes([*t0, *t1, *t2, *t3]),
            at_ns: now_ns,
        };
        let source = self.sources.iter_mut().flatten().find(|s| s.guise.source == came.source);
        let guise = match source {
            Some(source) if source.is_current() => {
                source.track(came);
                source.guise
            }
            _ => self.change(came, hz(clocks, *second & 0x7f)),
        };
        [*s0, *s1] = came.sequence.wrapping_add(guise.offset()).to_be_bytes();
        [*t0, *t1, *t2, *t3] = came.timestamp.wrapping_add(guise.timestamp).to_be_bytes();
        [*c0, *c1, *c2, *c3] = guise.shown.to_be_bytes();
        Some(length)
    }

    /// Whether an RTP packet from this leg has been through both legs already. `heard` masks the other direction: an
    /// SSRC that it shows is our own packet reflected, which an echo service may do; when what it shows is in turn
    /// something that we show the other leg, the packet goes round (compare RFC 3550, section 8.2).
    #[inline]
    pub fn looped(&self, packet: &[u8], heard: &Self) -> bool {
        let Some([.., c0, c1, c2, c3]) = packet.first_chunk::<RTP_HEADER>() else { return false };
        let ssrc = u32::from_be_bytes([*c0, *c1, *c2, *c3]);
        self.find(ssrc).is_none() && self.returned(ssrc, heard)
    }

    #[cold]
    fn returned(&self, ssrc: u32, heard: &Self) -> bool {
        let behind = heard.sources.iter().flatten().filter(|s| s.guise.shown == ssrc);
        behind.into_iter().any(|s| self.shows(s.guise.source))
    }

    /// Whether a datagram of a stream that is not looked at is RTP or RTCP of a source that this mask has shown under
    /// another SSRC.
    pub fn hides(&self, datagram: &[u8]) -> bool {
        match Packet::parse(datagram) {
            Ok(Packet::Rtp { ssrc, .. }) => self.find(ssrc).is_some(),
            Ok(Packet::Rtcp) => datagram.get(4..).and_then(|rest| rest.first_chunk()).is_some_and(|ssrc| {
                let ssrc = u32::from_be_bytes(*ssrc);
                self.find(ssrc).is_some() || self.reporter == Some(ssrc)
            }),
            Ok(Packet::Opaque) | Err(_) => false,
        }
    }

    /// A source that is new, or was replaced by another.
    #[cold]
    fn change(&mut self, came: Came, hz: Option<u32>) -> Guise {
        let known = self.sources.iter_mut().flatten().find(|s| s.guise.source == came.source);
        if let Some(old) = known {
            let (answer, guise) = (old.returns(came), old.guise);
            match answer {
                Return::Late => return guise,
                Return::Beside => return self.separate(came).unwrap_or(guise),
                Return::Again => {}
            }
        }
        let next = match self.sources.iter_mut().flatten().find(|s| s.is_current()) {
            Some(last) if !self.several => {
                last.replace(came.at_ns);
                last.followed(came, hz)
            }
            first => {
                let shown = if first.is_none() { self.shown } else { self.draw() };
                let [.., high, low] = self.draw().to_be_bytes();
                Source::new(came, shown, u16::from_be_bytes([high, low]).into(), self.draw())
            }
        };
        let place = self.sources.iter_mut().min_by_key(|place| {
            place.map_or((1, 0), |s| if s.guise.source == came.source { (0, 0) } else { (2, s.at_ns) })
        });
        if let Some(place) = place {
            *place = Some(next);
        }
        next.guise
    }

    /// A source that another had replaced never stopped. It has its shown SSRC back; the others that had it get one of
    /// their own as soon as they speak again.
    fn separate(&mut self, came: Came) -> Option<Guise> {
        self.several = true;
        let other = self.sources.iter().flatten().find(|s| s.is_current()).copied()?;
        let source = self.sources.iter_mut().flatten().find(|s| s.guise.source == came.source)?;
        source.restore(&other);
        source.track(came);
        let guise = source.guise;
        for place in &mut self.sources {
            place.take_if(|s| s.guise.shown == guise.shown && s.guise.source != guise.source);
        }
        Some(guise)
    }

    fn find(&self, source: u32) -> Option<&Source> {
        self.sources.iter().flatten().find(|s| s.guise.source == source)
    }

    fn current(&self, shown: u32) -> Option<&Source> {
        self.sources.iter().flatten().find(|s| s.guise.shown == shown && s.is_current())
    }

    /// Whether the other party knows this SSRC from us.
    fn shows(&self, ssrc: u32) -> bool {
        self.shown == ssrc || self.sources.iter().flatten().any(|s| s.guise.shown == ssrc)
    }

    /// `SplitMix64`, folded so that no output tells the state: the seed is from the system's generator.
    fn draw(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let [a, b, c, d, e, f, g, h] = (z ^ z >> 31).to_be_bytes();
        u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes([e, f, g, h])
    }
}

/// The clock of a payload type, if it is known.
pub(crate) fn hz(clocks: &[Clock], payload_type: u8) -> Option<u32> {
    clocks.iter().find(|c| c.hz > 0 && c.payload_types.contains(payload_type)).map(|c| c.hz)
}

/// The character of Base64 (RFC 4648, section 4) for the low six bits.
fn base64(bits: u32) -> u8 {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let index = usize::try_from(bits & 0x3f).unwrap_or(0);
    ALPHABET.get(index).copied().unwrap_or(b'A')
}

#[cfg(test)]
#[path = "rewrite/rewrite_tests.rs"]
mod tests;
