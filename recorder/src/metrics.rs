//! Counters of the recorder, and the file in which control finds them.
//!
//! Written by capture and archiver, each on its own thread; rendered by the main thread once a second.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What the recorder did since it started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Calls being captured now.
    pub calls: AtomicU64,
    /// 1 while attached to a relay.
    pub attached: AtomicU64,
    /// Packets captured.
    pub packets: AtomicU64,
    /// Gap records: times that the tap's ring was full.
    pub gaps: AtomicU64,
    /// Packets that the tap lost because its ring was full.
    pub lost_packets: AtomicU64,
    /// Labels that could not be read.
    pub unreadable_labels: AtomicU64,
    /// Bytes in spools that are not archived yet.
    pub spool_bytes: AtomicU64,
    /// Archives made.
    pub archives: AtomicU64,
    /// Attempts to make an archive that failed.
    pub archive_failures: AtomicU64,
    /// Closed spools that wait for the archiver.
    pub waiting: AtomicU64,
    /// Times that the spool could not be written or synced, or a ring was broken.
    pub alarms: AtomicU64,
    /// 1 while the spool cannot be written.
    pub alarm: AtomicU64,
    /// 1 while what was written cannot be brought to the disk.
    pub sync_alarm: AtomicU64,
    /// Packets of DTMF events, whose digits were taken out.
    pub dtmf_packets: AtomicU64,
    /// Spools that could not be written any more, though others could.
    pub moved: AtomicU64,
    /// Spools that were closed because the relay's process ended.
    pub relay_lost: AtomicU64,
}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}

/// Takes from a gauge, never below 0.
pub fn take(gauge: &AtomicU64, n: u64) {
    let _ = gauge.fetch_update(Relaxed, Relaxed, |v| Some(v.saturating_sub(n)));
}

/// Sets a gauge.
pub fn set(gauge: &AtomicU64, n: u64) {
    gauge.store(n, Relaxed);
}

impl Metrics {
    /// All of them in Prometheus's text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, kind, help, value) in [
            ("calls", "gauge", "Calls being captured.", &self.calls),
            ("attached", "gauge", "1 while attached to a relay's tap.", &self.attached),
            ("packets_total", "counter", "Packets captured.", &self.packets),
            ("gaps_total", "counter", "Times that the tap's ring was full.", &self.gaps),
            (
                "lost_packets_total",
                "counter",
                "Packets that the tap lost because its ring was full.",
                &self.lost_packets,
            ),
            ("unreadable_labels_total", "counter", "Labels that could not be read.", &self.unreadable_labels),
            ("spool_bytes", "gauge", "Bytes in spools that are not archived yet.", &self.spool_bytes),
            ("archives_total", "counter", "Archives made.", &self.archives),
            (
                "archive_failures_total",
                "counter",
                "Attempts to make an archive that failed.",
                &self.archive_failures,
            ),
            ("waiting", "gauge", "Closed spools that wait for the archiver.", &self.waiting),
            (
                "alarms_total",
                "counter",
                "Times that the spool could not be written, or a ring was broken.",
                &self.alarms,
            ),
            ("alarm", "gauge", "1 while the spool cannot be written.", &self.alarm),
            (
                "sync_alarm",
                "gauge",
                "1 while what was written cannot be brought to the disk.",
                &self.sync_alarm,
            ),
            (
                "dtmf_packets_total",
                "counter",
                "Packets of DTMF events, whose digits were taken out.",
                &self.dtmf_packets,
            ),
            (
                "moved_total",
                "counter",
                "Spools that could not be written any more and were gone on with in another one.",
                &self.moved,
            ),
            (
                "relay_lost_total",
                "counter",
                "Spools closed because the relay's process ended.",
                &self.relay_lost,
            ),
        ] {
            let value = value.load(Relaxed);
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "# HELP bauta_recorder_{name} {help}\n# TYPE bauta_recorder_{name} {kind}\nbauta_recorder_{name} {value}"
            );
        }
        text
    }

    /// Writes them to `path` so that a reader sees the whole text or the one before.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let aside = path.with_extension("metrics.new");
        let mut file = std::fs::File::create(&aside)?;
        file.write_all(self.render().as_bytes())?;
        std::fs::rename(&aside, path)
    }
}
