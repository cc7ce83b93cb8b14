//! Time inside a recording: the sample rates of Opus, and the tick that all of them divide.
//!
//! Opus counts in samples of 48 kHz whatever is encoded (RFC 7845, section 4); so does everything here that places
//! sound in time.

/// Ticks per second.
pub const TICKS: u32 = 48_000;
/// Ticks of a frame: 20 ms.
pub const FRAME: u32 = TICKS / 50;

/// A sample rate that Opus encodes (RFC 6716, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Rate {
    /// 8 kHz: G.711, G.729, AMR.
    #[default]
    Narrow,
    /// 16 kHz: G.722, AMR-WB.
    Wide,
    /// 24 kHz.
    SuperWide,
    /// 48 kHz: Opus.
    Full,
}

impl Rate {
    /// All of them, lowest first.
    pub const ALL: [Self; 4] = [Self::Narrow, Self::Wide, Self::SuperWide, Self::Full];

    /// Samples per second.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Narrow => 8_000,
            Self::Wide => 16_000,
            Self::SuperWide => 24_000,
            Self::Full => 48_000,
        }
    }

    /// The lowest rate that holds everything a codec of `hz` samples per second carries.
    pub fn holding(hz: u32) -> Self {
        Self::ALL.into_iter().find(|r| r.hz() >= hz).unwrap_or(Self::Full)
    }

    /// Ticks of one sample.
    pub const fn ticks(self) -> u32 {
        TICKS / self.hz()
    }

    /// Samples of a 20 ms frame.
    pub const fn frame(self) -> usize {
        (FRAME / self.ticks()) as usize
    }
}
