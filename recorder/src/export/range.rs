//! Which part of a recording is meant, and what lies in it. Pure.

use time::{Duration, OffsetDateTime};

use super::manifest::Range;
use crate::manifest::{Gap, Silenced, Span};
use crate::moment::{Moment, clock};
use crate::rate::TICKS;

/// Ticks of a millisecond.
const MS: u64 = TICKS as u64 / 1000;

/// Why there is nothing between two places.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A time of day in a recording that does not say when it started.
    #[error(
        "the recording does not say when it started: give a place in it, like 00:12:03, instead of a time"
    )]
    NoStart,
    /// Nothing at all.
    #[error("there is no audio in the recording")]
    NoAudio,
    /// It starts where the recording is over.
    #[error("the range starts at {}, and the recording ends at {}", clock(*.from_ms), clock(*.length_ms))]
    Beyond {
        /// Where it starts.
        from_ms: u64,
        /// Where the recording ends.
        length_ms: u64,
    },
    /// It ends where it starts, or before.
    #[error("the range is empty: it starts at {} and ends {}", clock(*.from_ms), .to_ms.map_or("before the recording starts".into(), |ms| format!("at {}", clock(ms))))]
    Empty {
        /// Where it starts.
        from_ms: u64,
        /// Where it ends; none: before the recording.
        to_ms: Option<u64>,
    },
}

/// A part of a recording, in ticks from its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it starts: whole milliseconds.
    pub from: u64,
    /// Where it ends: whole milliseconds, or the end of the recording to the tick.
    pub to: u64,
    /// What was asked for and is not there, in English.
    pub clipped: Vec<String>,
}

impl Part {
    /// The part between `from` and `to` of a recording of `length` ticks; none: from its start, to its end. What
    /// is outside of the recording is clipped.
    pub fn new(
        from: Option<Moment>,
        to: Option<Moment>,
        length: u64,
        started_at: Option<OffsetDateTime>,
    ) -> Result<Self, RangeError> {
        let place = |moment: Moment| moment.ms(started_at).ok_or(RangeError::NoStart);
        let (from, to) = (from.map(place).transpose()?, to.map(place).transpose()?);
        if length == 0 {
            return Err(RangeError::NoAudio);
        }
        let mut clipped = Vec::new();
        if from.is_some_and(|ms| ms < 0) {
            clipped
                .push("the range starts before the recording: it is from the recording's start".to_owned());
        }
        let ticks = |ms: i128| u64::try_from(ms.max(0)).unwrap_or(u64::MAX).saturating_mul(MS);
        let from_ticks = from.map_or(0, ticks);
        if from_ticks >= length {
            return Err(RangeError::Beyond { from_ms: from_ticks / MS, length_ms: length / MS });
        }
        let to_ticks = to.map_or(length, ticks).min(length);
        if to.is_some_and(|ms| ms < 0) || to_ticks <= from_ticks {
            let to_ms = to.is_some_and(|ms| ms >= 0).then_some(to_ticks / MS);
            return Err(RangeError::Empty { from_ms: from_ticks / MS, to_ms });
        }
        // A place given to the millisecond that is less than one behind the end is the end.
        if to.is_some_and(|ms| ticks(ms) >= length + MS) {
            let end = clock(length / MS);
            clipped.push(format!("the range ends after the recording: it is to the recording's end, {end}"));
        }
        Ok(Self { from: from_ticks, to: to_ticks, clipped })
    }

    /// As it is written.
    pub fn range(&self, started_at: Option<OffsetDateTime>) -> Range {
        let (from_ms, to_ms) = (self.from / MS, self.to / MS);
        let at = |ms: u64| started_at?.checked_add(Duration::milliseconds(i64::try_from(ms).ok()?));
        Range { from_ms, to_ms, from_at: at(from_ms), to_at: at(to_ms) }
    }

    /// The stretches that lie in the part or reach into it, cut to it and counted from its start.
    pub fn cut<T: Stretch>(&self, stretches: &[T]) -> Vec<T> {
        let (from, to) = (self.from / MS, self.to.div_ceil(MS));
        let within = |&(start, end): &(u64, u64)| start < to && (end > from || start >= from);
        let cut = |stretch: &T| {
            let (start, end) = Some(stretch.span()).filter(within)?;
            Some(stretch.moved(start.max(from) - from, end.min(to).max(from) - from))
        };
        stretches.iter().filter_map(cut).collect()
    }
}

/// Something of a manifest that has a start and an end.
pub trait Stretch: Copy {
    /// Start and end, milliseconds.
    fn span(&self) -> (u64, u64);

    /// The same between other places.
    #[must_use]
    fn moved(self, from_ms: u64, to_ms: u64) -> Self;
}

impl Stretch for Span {
    fn span(&self) -> (u64, u64) {
        (self.from_ms, self.to_ms)
    }

    fn moved(self, from_ms: u64, to_ms: u64) -> Self {
        Self { from_ms, to_ms }
    }
}

impl Stretch for Gap {
    fn span(&self) -> (u64, u64) {
        (self.from_ms, self.to_ms)
    }

    fn moved(self, from_ms: u64, to_ms: u64) -> Self {
        Self { from_ms, to_ms, ..self }
    }
}

impl Stretch for Silenced {
    fn span(&self) -> (u64, u64) {
        (self.from_ms, self.to_ms)
    }

    fn moved(self, from_ms: u64, to_ms: u64) -> Self {
        Self { from_ms, to_ms, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const START: Option<OffsetDateTime> = Some(datetime!(2026-11-22 16:00:00 UTC));
    /// 10.0005 s.
    const LENGTH: u64 = 10_000 * MS + 24;

    fn part(from: &str, to: &str) -> Result<Part, RangeError> {
        let read = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        Part::new(read(from), read(to), LENGTH, START)
    }

    #[test]
    fn a_range_is_where_it_was_asked_for() {
        for (from, to, ticks, clipped) in [
            ("", "", (0, LENGTH), 0),
            ("1.5", "", (72_000, LENGTH), 0),
            ("", "00:00:02", (0, 96_000), 0),
            ("2026-11-22T16:00:01Z", "2026-11-22T17:00:01.001+01:00", (48_000, 48_048), 0),
            ("", "10", (0, 480_000), 0),
            ("", "10.001", (0, LENGTH), 0),
            ("", "10.002", (0, LENGTH), 1),
            ("2026-11-22T15:59:59Z", "1h", (0, LENGTH), 2),
        ] {
            let part = part(from, to).unwrap();
            assert_eq!(((part.from, part.to), part.clipped.len()), (ticks, clipped), "{from} to {to}");
        }
        let range = part("1.5", "2.25").unwrap().range(START);
        assert_eq!((range.from_ms, range.to_ms), (1_500, 2_250));
        assert_eq!(range.to_at, Some(datetime!(2026-11-22 16:00:02.25 UTC)));
        assert_eq!(part("1", "2").unwrap().range(None).from_at, None);
    }

    #[test]
    fn a_range_without_audio_says_why() {
        let said = |from, to| part(from, to).unwrap_err().to_string();
        assert_eq!(said("3", "2"), "the range is empty: it starts at 00:00:03.000 and ends at 00:00:02.000");
        assert_eq!(said("3", "3"), "the range is empty: it starts at 00:00:03.000 and ends at 00:00:03.000");
        assert_eq!(
            said("11", ""),
            "the range starts at 00:00:11.000, and the recording ends at 00:00:10.000"
        );
        assert_eq!(
            said("", "2026-11-22T15:00:00Z"),
            "the range is empty: it starts at 00:00:00.000 and ends before the recording starts"
        );
        let time = Some("2026-11-22T16:00:00Z".parse().unwrap());
        assert_eq!(Part::new(time, None, LENGTH, None), Err(RangeError::NoStart));
        assert_eq!(Part::new(None, None, 0, START), Err(RangeError::NoAudio));
    }

    #[test]
    fn stretches_are_cut_and_moved() {
        let spans =
            [(0, 1_000), (900, 1_100), (1_200, 1_300), (1_400, 9_000), (1_500, 1_500), (2_000, 3_000)];
        let spans = spans.map(|(from_ms, to_ms)| Span { from_ms, to_ms });
        let cut = part("1", "2").unwrap().cut(&spans);
        let cut: Vec<_> = cut.iter().map(Stretch::span).collect();
        assert_eq!(cut, [(0, 100), (200, 300), (400, 1_000), (500, 500)]);
        assert_eq!(part("", "").unwrap().cut(&spans), spans);
        // The end counts: the last half millisecond is in the audio.
        assert_eq!(part("", "").unwrap().cut(&[Span { from_ms: 10_000, to_ms: 10_001 }]).len(), 1);
    }
}
