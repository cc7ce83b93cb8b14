//! Places in a recording as people write and read them.

use std::str::FromStr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A place in a recording: `HH:MM:SS.mmm`, seconds (`90.5`), `1h12m3s`, or a time of day in UTC (RFC 3339).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Milliseconds from the start of the audio.
    Offset(u64),
    /// A time.
    At(OffsetDateTime),
}

/// Not a [`Moment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a place in the recording like 00:12:03.250, 723.25 or 12m3s, or a time like 2026-11-22T16:00:05Z"
)]
pub struct NoMoment;

impl Moment {
    /// Milliseconds from `started_at`; negative before it. None: the recording has no start to count from.
    pub fn ms(self, started_at: Option<OffsetDateTime>) -> Option<i128> {
        match self {
            Self::Offset(ms) => Some(ms.into()),
            Self::At(time) => Some((time - started_at?).whole_nanoseconds().div_euclid(1_000_000)),
        }
    }
}

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
            return Ok(Self::At(time));
        }
        let ms = if text.contains(':') { colons(text) } else { units(text) };
        ms.map(Self::Offset).ok_or(NoMoment)
    }
}

/// `HH:MM:SS.mmm` or `MM:SS.mmm`; minutes and seconds below 60.
fn colons(text: &str) -> Option<u64> {
    let (front, seconds) = text.rsplit_once(':')?;
    let (hours, minutes) = front.split_once(':').unwrap_or(("0", front));
    let (hours, minutes, ms) = (whole(hours)?, whole(minutes)?, thousandths(seconds)?);
    (minutes < 60 && ms < 60_000).then_some(())?;
    hours.checked_mul(3_600_000)?.checked_add(minutes * 60_000 + ms)
}

/// `1h2m3.5s`, any of them missing but not all; or seconds alone.
fn units(text: &str) -> Option<u64> {
    if let Some(ms) = thousandths(text) {
        return Some(ms);
    }
    let mut rest = text;
    let mut total = 0_u64;
    for (unit, ms) in [('h', 3_600_000), ('m', 60_000)] {
        if let Some((count, after)) = rest.split_once(unit) {
            total = whole(count)?.checked_mul(ms)?.checked_add(total)?;
            rest = after;
        }
    }
    if let Some(seconds) = rest.strip_suffix('s') {
        total = total.checked_add(thousandths(seconds)?)?;
        rest = "";
    }
    (rest.is_empty() && !text.is_empty()).then_some(total)
}

/// A whole number, digits alone.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Seconds with up to three decimals, as milliseconds.
fn thousandths(text: &str) -> Option<u64> {
    let (seconds, decimals) = text.split_once('.').unwrap_or((text, "0"));
    (1..=3).contains(&decimals.len()).then_some(())?;
    whole(seconds)?.checked_mul(1000)?.checked_add(whole(&format!("{decimals:0<3}"))?)
}

/// `ms` as `HH:MM:SS.mmm`.
pub fn clock(ms: u64) -> String {
    let (seconds, ms) = (ms / 1000, ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_a_place() {
        for (text, ms) in [
            ("0", 0),
            ("90", 90_000),
            ("90.5", 90_500),
            ("0.007", 7),
            ("00:12:03.250", 723_250),
            ("12:03", 723_000),
            ("100:00:00", 360_000_000),
            ("12m3s", 723_000),
            ("2h", 7_200_000),
            ("1h0.25s", 3_600_250),
        ] {
            assert_eq!(text.parse(), Ok(Moment::Offset(ms)), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            "1.2345",
            "-1",
            "+1",
            "1:60",
            "60:00:00:00",
            "00:60:00",
            "3s12m",
            "12m3",
            "m",
            "s",
            "1e3",
            "999999999999999999999",
            "18446744073709551615",
            "2026-11-22",
            "2026-11-22T16:00:05",
        ] {
            assert_eq!(text.parse::<Moment>(), Err(NoMoment), "{text}");
        }
    }

    #[test]
    fn a_time_of_day_counts_from_the_start() {
        let time = |text: &str| OffsetDateTime::parse(text, &Rfc3339).unwrap();
        let start = Some(time("2026-11-22T16:00:00.5Z"));
        for (text, ms) in [
            ("2026-11-22T16:00:05Z", 4_500),
            ("2026-11-22T17:00:01+01:00", 500),
            ("2026-11-22T15:59:59Z", -1_500),
        ] {
            assert_eq!(text.parse::<Moment>().unwrap().ms(start), Some(ms), "{text}");
        }
        assert_eq!(Moment::At(time("2026-11-22T16:00:05Z")).ms(None), None);
        assert_eq!(Moment::Offset(5).ms(None), Some(5));
    }

    #[test]
    fn a_clock_is_read_back() {
        for ms in [0, 999, 61_001, 359_999_999, 360_000_000] {
            assert_eq!(clock(ms).parse(), Ok(Moment::Offset(ms)));
        }
    }
}
