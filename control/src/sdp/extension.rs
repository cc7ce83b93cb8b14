//! RTP header extensions that may pass (RFC 8285): what each says of the media and nothing of the party.
//!
//! Pure. `csrc-audio-level` stays out, as contributing sources do; so do time codes and identifiers of streams.

use serde::{Deserialize, Serialize};

/// An extension that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extension {
    /// Loudness of the packet (RFC 6464).
    AudioLevel,
    /// When the packet left, after its time-stamp (RFC 5450).
    Offset,
    /// When the packet left, for estimates of bandwidth.
    SendTime,
    /// How the camera is held (3GPP TS 26.114).
    Orientation,
}

impl Extension {
    const ALL: [Self; 4] = [Self::AudioLevel, Self::Offset, Self::SendTime, Self::Orientation];

    const fn uri(self) -> &'static str {
        match self {
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::Offset => "urn:ietf:params:rtp-hdrext:toffset",
            Self::SendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::Orientation => "urn:3gpp:video-orientation",
        }
    }
}

/// Reads the value of `a=extmap`: its id (1 to 14: those of two-byte headers are not relayed), which extension, and how
/// it is written.
pub(super) fn extmap(value: &str) -> Option<(u8, Extension, String)> {
    let mut words = value.split_whitespace();
    let first = words.next()?;
    let (id, direction) = first.split_once('/').map_or((first, None), |(id, way)| (id, Some(way)));
    let id = id.parse().ok().filter(|id: &u8| (1..15).contains(id))?;
    let way = match direction {
        None => String::new(),
        Some(way) => format!("/{}", super::Direction::name(super::Direction::read(way)?)),
    };
    let uri = words.next()?;
    let extension = Extension::ALL.into_iter().find(|known| known.uri() == uri)?;
    let parameter = match (words.next(), extension) {
        (Some(voice @ ("vad=on" | "vad=off")), Extension::AudioLevel) => format!(" {voice}"),
        (None, _) => String::new(),
        (Some(_), _) => return None,
    };
    words.next().is_none().then(|| (id, extension, format!("extmap:{id}{way} {uri}{parameter}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_extensions_pass_as_they_are() {
        for (line, id) in [
            ("1 urn:ietf:params:rtp-hdrext:ssrc-audio-level", 1),
            ("14/sendonly urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on", 14),
            ("2 urn:ietf:params:rtp-hdrext:toffset", 2),
            ("3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time", 3),
            ("4 urn:3gpp:video-orientation", 4),
        ] {
            let (read, _, written) = extmap(line).unwrap();
            assert_eq!((read, written), (id, format!("extmap:{line}")));
        }
    }

    #[test]
    fn others_and_numbers_do_not() {
        for line in [
            "1 urn:ietf:params:rtp-hdrext:csrc-audio-level",
            "1 urn:ietf:params:rtp-hdrext:smpte-tc",
            "1 urn:ietf:params:rtp-hdrext:sdes:mid",
            "15 urn:3gpp:video-orientation",
            "0 urn:3gpp:video-orientation",
            "4096 urn:3gpp:video-orientation",
            "447700900001 urn:3gpp:video-orientation",
            "1/447700900001 urn:3gpp:video-orientation",
            "1 urn:447700900001",
            "1 urn:3gpp:video-orientation 447700900001",
            "1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=447700900001",
            "1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on 447700900001",
        ] {
            assert_eq!(extmap(line), None, "{line}");
        }
    }
}
