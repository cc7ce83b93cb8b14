//! Capture: from the tap's rings into spools.
//!
//! One thread of its own. It drains the rings in batches, writes each batch to the spools of the calls concerned,
//! and only then lets the rings advance: what is not in a spool is still in a ring, and a killed
//! recorder's successor finds it there. A call's spool tells by its positions which records it holds, so nothing
//! is written twice. While the disk refuses, capture stands and retries; the rings fill, the relay drops the
//! newest packets and tells the gap itself.

mod calls;
mod disk;
mod events;
mod recovery;
mod run;
mod sync;
mod tap;

/// What capture tells the archiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// The call ended: this spool is complete.
    Closed(std::path::PathBuf),
    /// This spool goes on, and holds another stretch of audio that can be encoded.
    Grown(std::path::PathBuf),
}

pub use calls::{Append, Calls, RELAY_LOST, SpoolId};
pub use disk::{Disk, SpoolFiles};
pub use recovery::{Recovered, recover};
pub use run::{Context, Pace, run};
pub use sync::Syncer;
pub use tap::{Broken, Link, Ring, Tap, TapSocket};

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "the numbers are the test's own")]
pub(crate) mod tests;
