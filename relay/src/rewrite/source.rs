//! One source SSRC and how it is shown: its offsets, how far it has come, and how another goes on after it. Pure.

use serde::{Deserialize, Serialize};

/// How one source SSRC is shown to the other party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Guise {
    /// The SSRC as it came.
    pub source: u32,
    /// The SSRC as it leaves: random.
    pub shown: u32,
    /// Added to sequence numbers: the first one shown less the first that came. (Modulo 2^16 in RTP; whole where RTCP
    /// counts cycles.)
    pub sequence: i32,
    /// Added to RTP time-stamps, modulo 2^32.
    pub timestamp: u32,
}

impl Guise {
    /// A shown sequence number as it came.
    pub(super) fn came(self, shown: u16) -> u16 {
        shown.wrapping_sub(self.offset())
    }

    /// What is added to sequence numbers in RTP.
    #[inline]
    pub fn offset(self) -> u16 {
        let [.., high, low] = self.sequence.to_be_bytes();
        u16::from_be_bytes([high, low])
    }
}

/// What one packet's header says, as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came {
    pub(super) source: u32,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    /// Monotonic nanoseconds.
    pub(super) at_ns: u64,
}

/// A source of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    pub(super) guise: Guise,
    /// The first sequence number shown, with cycles.
    begins: u32,
    /// The newest packet's sequence number as it came, with cycles.
    highest: u32,
    /// The newest packet's time-stamp, as it came.
    timestamp: u32,
    /// Ticks from one packet to the next, as last seen; 0 for not seen yet.
    step: u32,
    /// When the newest packet came, monotonic nanoseconds.
    pub(super) at_ns: u64,
    /// Another source goes on under the same shown SSRC.
    replaced: Option<Replaced>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Replaced {
    at_ns: u64,
    /// Packets that came after it, and are newer than all before.
    stragglers: u8,
}

/// What a packet of a source that was replaced means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Return {
    /// It was under way when the source was replaced.
    Late,
    /// The source was silent, and speaks again.
    Again,
    /// The source never stopped: two sources speak side by side.
    Beside,
}

/// How far a late packet is ahead of the newest; one further behind is of a source that began anew (RFC 3550,
/// appendix A.1).
const LATE: std::ops::RangeInclusive<i16> = -100..=0;
/// So long after it was replaced, a source's packets may still be under way.
const LATENESS_NS: u64 = 100_000_000;
/// And so many of them.
const STRAGGLERS: u8 = 4;
/// A source silent for so long has stopped.
const SILENCE_NS: u64 = 1_000_000_000;
/// Ticks between packets where neither clock nor step is known: 20 ms of telephone speech.
const STEP: u32 = 160;

impl Source {
    /// A source whose first packet `came`, to be shown from these numbers on.
    pub(super) fn new(came: Came, shown: u32, sequence: u32, timestamp: u32) -> Self {
        let first = u32::from(came.sequence);
        let guise = Guise {
            source: came.source,
            shown,
            sequence: sequence.wrapping_sub(first).cast_signed(),
            timestamp: timestamp.wrapping_sub(came.timestamp),
        };
        Self {
            guise,
            begins: sequence,
            highest: first,
            timestamp: came.timestamp,
            step: 0,
            at_ns: came.at_ns,
            replaced: None,
        }
    }

    /// A source whose first packet `came` after this one's last, with a clock of `hz`: the sequence goes on with the
    /// next number, the time-stamp by the time that passed, by a packet's step at the least.
    pub(super) fn followed(&self, came: Came, hz: Option<u32>) -> Self {
        let step = match (self.step, hz) {
            (0, Some(hz)) => hz / 50,
            (0, None) => STEP,
            (step, _) => step,
        };
        let elapsed_us = came.at_ns.saturating_sub(self.at_ns) / 1_000;
        let ticks = elapsed_us.saturating_mul(hz.unwrap_or(0).into()) / 1_000_000;
        let [.., a, b, c, d] = ticks.max(step.into()).to_be_bytes();
        let timestamp =
            self.timestamp.wrapping_add(self.guise.timestamp).wrapping_add(u32::from_be_bytes([a, b, c, d]));
        Self::new(came, self.guise.shown, self.last_shown().wrapping_add(1), timestamp)
    }

    /// Takes note of a packet.
    #[inline]
    pub(super) fn track(&mut self, came: Came) {
        let ahead = self.ahead(came);
        if !LATE.contains(&ahead) {
            let step = came.timestamp.wrapping_sub(self.timestamp);
            if ahead == 1 && step.cast_signed() > 0 {
                self.step = step;
            }
            self.highest = self.highest.wrapping_add_signed(ahead.into());
            self.timestamp = came.timestamp;
            self.at_ns = came.at_ns;
        }
    }

    /// How far a packet is ahead of the newest before it.
    #[inline]
    fn ahead(&self, came: Came) -> i16 {
        let [.., high, low] = self.highest.to_be_bytes();
        came.sequence.wrapping_sub(u16::from_be_bytes([high, low])).cast_signed()
    }

    /// Whether it is the one that its shown SSRC stands for now.
    #[inline]
    pub(super) const fn is_current(&self) -> bool {
        self.replaced.is_none()
    }

    /// Another goes on after it.
    pub(super) fn replace(&mut self, at_ns: u64) {
        self.replaced = Some(Replaced { at_ns, stragglers: 0 });
    }

    /// Judges a packet that came after the source was replaced.
    pub(super) fn returns(&mut self, came: Came) -> Return {
        if came.at_ns.saturating_sub(self.at_ns) >= SILENCE_NS {
            return Return::Again;
        }
        if LATE.contains(&self.ahead(came)) {
            return Return::Late;
        }
        let Some(replaced) = &mut self.replaced else { return Return::Beside };
        let underway = came.at_ns.saturating_sub(replaced.at_ns) < LATENESS_NS;
        if underway && replaced.stragglers < STRAGGLERS {
            replaced.stragglers += 1;
            self.track(came);
            return Return::Late;
        }
        Return::Beside
    }

    /// It never stopped: the shown SSRC is its own again, after `other`, which had gone on with it.
    pub(super) fn restore(&mut self, other: &Self) {
        self.replaced = None;
        // Not one number twice.
        let used = other.last_shown().wrapping_sub(self.last_shown()).cast_signed();
        self.guise.sequence = self.guise.sequence.wrapping_add(used.max(0));
    }

    /// The newest sequence number as it was shown, with cycles.
    pub(super) const fn last_shown(&self) -> u32 {
        self.highest.wrapping_add_signed(self.guise.sequence)
    }

    /// How many numbers before `position`, a shown sequence number with cycles, it began; none if it began later.
    pub(super) fn began_before(&self, position: u32) -> Option<u32> {
        let before = position.wrapping_sub(self.begins);
        (before.cast_signed() >= 0).then_some(before)
    }
}
