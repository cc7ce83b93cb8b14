//! From an archive's audio to samples: of both sides, of one stretch, exact to the sample (RFC 7845, section 4).

use std::io::{Read, Seek};

use opus::MSDecoder;

use super::ExportError;
use crate::audio::{AudioError, LONGEST, Packets};
use crate::rate::Rate;

/// Decodes one stretch of an audio file.
pub struct Decoder<R: Read + Seek> {
    packets: Packets<R>,
    opus: MSDecoder,
    rate: Rate,
    /// Samples at the decoder's rate that are still to be left out.
    skip: u64,
    /// Samples that are still to be given.
    left: u64,
    buffer: Vec<i16>,
}

impl<R: Read + Seek> Decoder<R> {
    /// Starts on the stretch between `from` and `to`, ticks of what is heard. Decodes at the rate of the sound
    /// before it was encoded, `recorded` or else as the file says itself; at 48 kHz where that could not be exact.
    ///
    /// Everything before `from` is decoded and left out: the samples are the same whatever the stretch.
    pub fn new(input: R, from: u64, to: u64, recorded: Option<Rate>) -> Result<Self, ExportError> {
        let packets = Packets::new(input)?;
        let rate = recorded.unwrap_or(packets.input_rate());
        let exact = (packets.pre_skip() + from).is_multiple_of(rate.ticks().into());
        let rate = if exact { rate } else { Rate::Full };
        let step = u64::from(rate.ticks());
        Ok(Self {
            opus: MSDecoder::new(rate.hz(), 2, 0, &[0, 1])?,
            rate,
            skip: (packets.pre_skip() + from) / step,
            left: (to - from).div_ceil(step),
            buffer: vec![0; usize::try_from(2 * LONGEST / step).unwrap_or(0)],
            packets,
        })
    }

    /// Samples per second of what is given.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Samples of each channel that are still to come.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// The next samples, caller's and callee's in turn; none at the end of the stretch.
    pub fn samples(&mut self) -> Result<Option<&[i16]>, ExportError> {
        while self.left > 0 {
            let end = AudioError::Form("its end is not where it was");
            let packet = self.packets.packet()?.ok_or(end)?;
            let count = self.opus.decode(&packet, &mut self.buffer, false)?;
            let skip = self.skip.min(count as u64);
            self.skip -= skip;
            let given = (count as u64 - skip).min(self.left);
            self.left -= given;
            if given > 0 {
                let place = |samples: u64| usize::try_from(2 * samples).unwrap_or(usize::MAX);
                return Ok(self.buffer.get(place(skip)..place(skip + given)));
            }
        }
        Ok(None)
    }
}
