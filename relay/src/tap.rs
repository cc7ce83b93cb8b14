//! The tap: how copies of packets reach the recorder.
//!
//! One ring per relay worker, in a sealed memfd. The relay's worker is the only writer ([`Writer`]), the recorder
//! the only reader ([`Reader`]); rings are handed over by [`attach`] over a Unix socket with `SCM_RIGHTS`. The
//! writer never waits: what does not fit is dropped and told later by a gap record. The reader's place is in
//! the shared memory, so a killed reader's successor goes on where it had committed. Neither side trusts the
//! other's index: it is validated on every read, and payloads are copied out before they are looked at.
//!
//! What a ring held that its reader broke is told to the next reader once more: events as they were, packets as gaps.
//! (The reader may have had some of it: how far it was is asked once a second.) A recorded call's times go by a clock of
//! its own, the system's when the call opened, carried on by the monotonic clock: no step tears a recording.
//!
//! Order of a call's records: `Open`, then any of `Label`, `Packet`, `Pause`, `Resume`, `Gap`, then `Close`.

mod handover;
mod index;
mod memory;
mod record;
mod ring;

pub use handover::{Attachment, Host, Seat, TapError, attach};
pub use record::{Kind, Record};
pub use ring::{Full, Handles, Poisoned, Position, Reader, Writer, create};
