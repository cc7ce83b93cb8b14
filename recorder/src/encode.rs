//! From sound to Ogg Opus (RFC 7845): two uncoupled mono streams, so that neither voice touches the other's channel.
//!
//! [`Voices`] makes one multistream packet of 20 ms of both sides, [`Ogg`] puts packets into a file; `packet` takes
//! Opus packets apart and joins them, `quiet` tells sound from silence. Used by the archiver, on its threads; sans-IO but
//! for the writer that [`Ogg`] is given. Memory is bounded by a page.
//!
//! Opus has two coders of its own. Only CELT is used here, and every packet so that it can be decoded without the ones
//! before it (`benches/RESULTS.md`, encoding, says what each costs). So a file may be put together from packets of several
//! encoders, silence may be written without one, and a party's own packets may stand between ours.

mod ogg;
mod packet;
mod quiet;
mod voices;

use std::io;

pub use self::ogg::Ogg;
pub use packet::ticks;
pub use voices::{Sound, Tally, Voices};

use serde::{Deserialize, Serialize};

use crate::rate::Rate;
use crate::settings::Settings;

/// Frames that fresh [`Voices`] are fed before the first packet that is kept, where a stretch goes on from another
/// one: as long as it takes to forget how a stretch began (the hangover before silence, and the encoder's filters).
pub const PRE_ROLL: usize = 25;

/// How audio is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// Bits per second of a side of 8 kHz; others have [`Self::bitrate`].
    pub bitrate: u32,
    /// CPU against quality, 0 to 10.
    pub complexity: u8,
    /// Sound below this level (RMS, 0 is a full-scale square wave) is written as silence; none: only the encoder
    /// itself says what is silence.
    pub silence_dbfs: Option<i8>,
}

impl Quality {
    /// Bits per second of a side of this rate: twice as many above 8 kHz. Speech of 16 kHz needs that for the score
    /// that 8 kHz has with one part; what 24 and 48 kHz add to a voice needs next to none.
    pub const fn bitrate(&self, rate: Rate) -> u32 {
        match rate {
            Rate::Narrow => self.bitrate,
            Rate::Wide | Rate::SuperWide | Rate::Full => self.bitrate.saturating_mul(2),
        }
    }
}

impl From<&Settings> for Quality {
    fn from(settings: &Settings) -> Self {
        Self {
            bitrate: settings.bitrate,
            complexity: settings.complexity,
            silence_dbfs: Some(settings.silence_dbfs).filter(|level| *level != 0),
        }
    }
}

/// Why audio cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// libopus refused.
    #[error("libopus: {0}")]
    Opus(#[from] opus::Error),
    /// libopus made a packet that cannot be joined with another, or delays its sound by an unexpected time.
    #[error("libopus made a packet of an unexpected form")]
    Form,
    /// A frame is not 20 ms long.
    #[error("a frame of {samples} samples at {hz} Hz is not 20 ms long")]
    Frame {
        /// Samples that came.
        samples: usize,
        /// Samples per second.
        hz: u32,
    },
    /// A file's length is not the one of the packets that it was given.
    #[error("{packets} packets do not make an audio of {ticks} samples at 48 kHz")]
    Length {
        /// Packets that came.
        packets: u64,
        /// The length that was asked for.
        ticks: u64,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The library that encodes, with its version.
pub fn library() -> &'static str {
    opus::version()
}

#[cfg(test)]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the numbers are the test's own"
)]
mod tests;
