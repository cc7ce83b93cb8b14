//! How the recorder does: whether it reads the tap, and what it last wrote of itself.
//!
//! It writes `STATE/run/recorder.metrics` once a second.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Api;
use crate::metrics::{Kind, Text};

/// A recorder that has written nothing for so long does not run, or hangs.
const STALE: Duration = Duration::from_secs(10);

/// For `/readyz`.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Recorder {
    /// Whether it reads the relay's tap.
    attached: bool,
    /// Whether the disk refuses to be written, as it last wrote; none: it has never run here.
    alarm: Option<bool>,
    /// Seconds since it last wrote; none: it has never run here.
    written_seconds_ago: Option<u64>,
    /// What stands in the way, for a person to read.
    trouble: Option<String>,
    /// What it last wrote.
    #[serde(skip)]
    text: String,
}

impl Recorder {
    /// How it does now.
    pub(super) async fn look(api: &Api) -> Self {
        let (path, attached) = (api.state.join("run/recorder.metrics"), api.live.relay().recorder_attached);
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        Self::judge(attached, read.ok().flatten())
    }

    fn judge(attached: bool, written: Option<(String, Duration)>) -> Self {
        let alarm = written.as_ref().and_then(|(text, _)| alarm(text));
        let trouble = match &written {
            _ if alarm == Some(true) => Some("its disk refuses to be written; why is in its log".to_owned()),
            _ if !attached => Some("it is not attached to the relay's tap".to_owned()),
            None => Some("it has written no metrics: has it ever run here?".to_owned()),
            Some((_, age)) if *age > STALE => {
                Some(format!("it has written no metrics for {} s: does it run?", age.as_secs()))
            }
            Some(_) => None,
        };
        let (text, age) = written.unzip();
        let written_seconds_ago = age.map(|age: Duration| age.as_secs());
        Self { attached, alarm, written_seconds_ago, trouble, text: text.unwrap_or_default() }
    }

    /// Whether what is not in a spool now will never be: it takes all that the tap has.
    pub(super) const fn keeps_up(&self) -> bool {
        self.trouble.is_none()
    }

    /// What it last wrote, and when.
    pub(super) fn metrics(&self, text: &mut Text) {
        text.append(&self.text);
        if let Some(seconds) = self.written_seconds_ago {
            const HELP: &str = "Seconds since the recorder wrote its metrics; it does once a second.";
            text.single("bauta_recorder_written_seconds_ago", Kind::Gauge, HELP, seconds);
        }
    }
}

/// The file's text and age; none when there is no file.
fn read(path: &Path) -> Option<(String, Duration)> {
    let text = std::fs::read_to_string(path).ok()?;
    let written = path.metadata().and_then(|about| about.modified()).ok()?;
    // One from the future is of a clock that was set back.
    Some((text, SystemTime::now().duration_since(written).unwrap_or_default()))
}

/// Whether any of its alarms is raised; none when it says nothing of them.
fn alarm(text: &str) -> Option<bool> {
    let raised = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("bauta_recorder_alarm")?;
        rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next() != Some("0"))
    });
    raised.reduce(|one, other| one || other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_told() {
        let written = |text: &str, seconds| Some((text.to_owned(), Duration::from_secs(seconds)));
        let (calm, raised) =
            ("bauta_recorder_alarms_total 3\nbauta_recorder_alarm 0\n", "bauta_recorder_alarm 1");
        for (attached, text, alarm, trouble) in [
            (true, written(calm, 10), Some(false), None),
            (true, written(calm, 11), Some(false), Some("no metrics for 11 s")),
            (true, written(raised, 0), Some(true), Some("refuses to be written")),
            (false, written(raised, 99), Some(true), Some("refuses to be written")),
            (false, written(calm, 0), Some(false), Some("not attached")),
            (
                true,
                written("bauta_recorder_alarm{disk=\"spool\"} 1\nbauta_recorder_alarm{} 0", 0),
                Some(true),
                Some(""),
            ),
            (true, written("", 0), None, None),
            (true, None, None, Some("has it ever run")),
        ] {
            let told = Recorder::judge(attached, text);
            assert_eq!((told.attached, told.alarm), (attached, alarm));
            let right = match (&told.trouble, trouble) {
                (Some(told), Some(part)) => told.contains(part),
                (told, part) => told.is_none() && part.is_none(),
            };
            assert!(right && told.keeps_up() == trouble.is_none(), "{told:?}");
        }
    }
}
