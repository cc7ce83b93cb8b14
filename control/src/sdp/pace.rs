//! How many packets a second a party's description accounts for, so that the relay can tell a flood from media.
//!
//! Pure. Phones do not keep to what they said, so that this errs upwards, and the setting
//! `control.packet_rate_multiple` puts room above it.

use super::{Carriage, Media};

/// Packets a second of audio that is not asked to be finer: 20 ms each (RFC 3551 section 4.2). Of a party that asks for
/// longer ones, as many are let through: many send 20 ms whatever they are asked for.
const AUDIO: u32 = 50;
/// The shortest audio packets that count, in milliseconds; a party does not widen its own limit without end.
const SHORTEST: u16 = 5;
/// Text is sent each 300 ms (RFC 4103 section 5), and fast by gateways.
const TEXT: u32 = 50;
/// Fax: each 10 ms at the most, whatever redundancy is inside (ITU-T T.38 section 9).
const FAX: u32 = 100;
/// Video that says nothing of its bandwidth: 8 Mbit/s.
const VIDEO: u32 = 2_000;
/// The least and the most of video that does: 60 small frames, and what a description may claim.
const VIDEO_RANGE: (u32, u32) = (100, 10_000);
/// Bits of a video packet, smaller than most.
const VIDEO_PACKET_BITS: u64 = 500 * 8;

impl Media {
    /// Packets a second, RTP and RTCP each; 0 for a line that is not relayed.
    pub fn packets_per_second(&self) -> u32 {
        match (self.carriage(), self.kind.as_str()) {
            (None, _) => 0,
            (Some(Carriage::Fax), _) => FAX,
            (_, "text") => TEXT,
            (_, "video") => self.bandwidth.map_or(VIDEO, |bits| {
                let packets = u32::try_from(bits / VIDEO_PACKET_BITS).unwrap_or(u32::MAX);
                packets.clamp(VIDEO_RANGE.0, VIDEO_RANGE.1)
            }),
            _ => {
                let shortest = [self.ptime, self.maxptime].into_iter().flatten().min().unwrap_or(20);
                AUDIO.max(1000 / u32::from(shortest.max(SHORTEST)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::sdp::Sdp;

    fn pace(media: &str) -> u32 {
        let text = format!("v=0\r\nc=IN IP4 192.0.2.7\r\nm={}\r\n", media.replace(';', "\r\n"));
        Sdp::parse(&text).unwrap().media[0].packets_per_second()
    }

    #[test]
    fn audio_goes_by_its_packet_time() {
        assert_eq!(pace("audio 4000 RTP/AVP 8"), 50);
        assert_eq!(pace("audio 4000 RTP/AVP 8;a=ptime:10"), 100);
        assert_eq!(pace("audio 4000 RTP/AVP 8;a=maxptime:10"), 100);
        assert_eq!(pace("audio 4000 RTP/AVP 8;a=ptime:60"), 50, "many send 20 ms all the same");
        assert_eq!(pace("audio 4000 RTP/AVP 8;a=ptime:0"), 200);
        assert_eq!(pace("audio 4000 RTP/AVP 8;a=ptime:1"), 200, "it does not open its own limit");
    }

    #[test]
    fn other_media_go_by_what_they_are() {
        assert_eq!(pace("text 4000 RTP/AVP 98"), 50);
        assert_eq!(pace("image 4000 udptl t38"), 100);
        assert_eq!(pace("application 4000 TCP x"), 0);
        assert_eq!(pace("video 4000 RTP/AVP 96"), 2_000);
        assert_eq!(pace("video 4000 RTP/AVP 96;b=AS:2000"), 500);
        assert_eq!(pace("video 4000 RTP/AVP 96;b=TIAS:2000000"), 500);
        assert_eq!(pace("video 4000 RTP/AVP 96;b=AS:16"), 100);
        assert_eq!(pace("video 4000 RTP/AVP 96;b=AS:999999"), 10_000);
    }
}
