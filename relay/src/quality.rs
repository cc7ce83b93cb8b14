//! What is measured of the RTP and RTCP that comes from one leg of one stream. Pure.

use crate::program::message::{Quality, Report};

/// Reception of one leg's stream.
#[derive(Debug, Clone, Default)]
pub struct Reception {
    measured: Option<Quality>,
    report: Option<Report>,
}

impl Reception {
    /// What was measured so far.
    pub const fn quality(&self) -> Option<Quality> {
        self.measured
    }

    /// What the leg reported last.
    pub const fn report(&self) -> Option<Report> {
        self.report
    }
}
