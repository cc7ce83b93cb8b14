//! Wall-clock time in whole seconds, as trips and the store use it.
//!
//! Pure code takes a [`Moment`] as a parameter; only the rim (HTTP, NG) asks [`Moment::now`].

use std::fmt;
use std::num::NonZeroU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970-01-01T00:00:00Z. Prints and serialises as RFC 3339 in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(
    /// The seconds with their sign turned over, so that they keep their order and an `Option<Moment>` takes 8 bytes.
    NonZeroU64,
);

/// The sign of an integer.
const SIGN: u64 = 1 << 63;

impl Moment {
    /// The moment that lies `seconds` after the epoch.
    pub const fn from_unix(seconds: i64) -> Self {
        match NonZeroU64::new(seconds.cast_unsigned() ^ SIGN) {
            Some(turned) => Self(turned),
            // The earliest of all integers is taken for the one after it.
            None => Self(NonZeroU64::MIN),
        }
    }

    /// What the system's clock says.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
    }

    /// Seconds since the epoch.
    pub const fn unix(self) -> i64 {
        (self.0.get() ^ SIGN).cast_signed()
    }

    /// This moment moved by `seconds`; saturates.
    #[must_use]
    pub const fn plus(self, seconds: i64) -> Self {
        Self::from_unix(self.unix().saturating_add(seconds))
    }
}

impl Default for Moment {
    /// The epoch.
    fn default() -> Self {
        Self::from_unix(0)
    }
}

/// Watches the wall clock beside one that only goes on: what is lost for good, like a purged trip, is not left to a
/// clock that has just jumped ahead.
#[derive(Debug)]
pub struct Watch {
    /// What both clocks said when they last agreed.
    agreed: (Moment, Instant),
    /// A jump, or the beginning, was at this time, and the clock has gone on evenly since.
    jumped: Option<Instant>,
}

/// Seconds by which the wall clock may run ahead between two looks.
const STEP: i64 = 60;
/// How long a clock that has jumped ahead must go on evenly before it is believed.
const PROBATION: Duration = Duration::from_secs(600);

impl Watch {
    /// Begins on probation: what the clock said before is not known.
    pub const fn new(now: Moment, at: Instant) -> Self {
        Self { agreed: (now, at), jumped: Some(at) }
    }

    /// Whether the wall clock, which says `now`, is to be believed `at` this time. One that went back is.
    pub fn believes(&mut self, now: Moment, at: Instant) -> bool {
        let passed = at.saturating_duration_since(self.agreed.1).as_secs();
        let ahead = now.unix().saturating_sub(self.agreed.0.unix()).saturating_sub_unsigned(passed);
        if ahead > STEP {
            self.jumped = Some(at);
        }
        self.agreed = (now, at);
        self.jumped = self.jumped.filter(|since| at.saturating_duration_since(*since) < PROBATION);
        self.jumped.is_none()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text =
            OffsetDateTime::from_unix_timestamp(self.unix()).ok().and_then(|t| t.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            // Beyond the year 9999: still a number that says what it is.
            None => write!(f, "@{}", self.unix()),
        }
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_ahead_is_believed_only_when_it_stays_there() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let moment = |seconds: i64| Moment::from_unix(1_000_000 + seconds);
        let mut watch = Watch::new(moment(0), at(0));
        assert!(!watch.believes(moment(599), at(599)));
        assert!(watch.believes(moment(600), at(600)));
        assert!(watch.believes(moment(665), at(610)), "a small step");
        assert!(!watch.believes(moment(200_000), at(620)));
        assert!(!watch.believes(moment(200_010), at(630)));
        assert!(!watch.believes(moment(640), at(640)), "back again, on probation all the same");
        assert!(watch.believes(moment(1_220), at(1_220)));
        assert!(!watch.believes(moment(90_000), at(1_230)));
        assert!(!watch.believes(moment(90_599), at(1_829)));
        assert!(watch.believes(moment(90_600), at(1_830)), "it stayed there");
        assert!(
            watch.believes(moment(-50_000), at(1_840)),
            "nothing is purged too early by one that goes back"
        );
    }

    #[test]
    fn prints_as_rfc_3339_and_never_fails() {
        assert_eq!(Moment::from_unix(1_795_348_800).to_string(), "2026-11-22T12:00:00Z");
        assert_eq!(Moment::from_unix(i64::MAX).plus(1).to_string(), format!("@{}", i64::MAX));
    }

    #[test]
    fn every_moment_keeps_its_seconds_and_its_place_in_time() {
        let seconds = [i64::MIN + 1, -1, 0, 1, 1_795_348_800, i64::MAX];
        assert!(seconds.map(Moment::from_unix).is_sorted());
        assert_eq!(seconds.map(|s| Moment::from_unix(s).unix()), seconds);
        assert_eq!(Moment::from_unix(i64::MIN).plus(-1), Moment::from_unix(i64::MIN + 1));
        assert_eq!((Moment::default().unix(), size_of::<Option<Moment>>()), (0, 8));
    }
}
