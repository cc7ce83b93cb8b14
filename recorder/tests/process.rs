//! The whole process against a real tap: its own rings, a scripted relay, and everything that can go wrong around it.
//!
//! Points in time and in files are random: the seed is printed, and taken from `BAUTA_SEED` where it is set. What needs a
//! privilege that is missing is skipped, with the reason.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking, and the numbers are its own"
)]

#[path = "process/disk.rs"]
mod disk;
#[path = "process/gone.rs"]
mod gone;
#[path = "process/kill.rs"]
mod kill;
#[path = "process/mount.rs"]
mod mount;
#[path = "process/power.rs"]
mod power;
#[path = "process/relay_end.rs"]
mod relay_end;
#[path = "process/scene.rs"]
mod scene;
