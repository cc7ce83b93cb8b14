//! The engine of a relay that was built without the express lane.
#![allow(clippy::unused_self, clippy::needless_pass_by_value, reason = "as the engine with it has them")]

use super::Engine;
use crate::call::CallKey;
use crate::lane::Express;
use crate::sys::clock::Now;
use crate::table::Slot;

impl Engine {
    /// There is none to be had.
    pub const fn board(&mut self, express: Express) {
        match express {}
    }

    pub(super) const fn keep_again(&mut self, _call: CallKey, _now_ns: u64) {}

    /// No row ever is.
    pub const fn on_express(&self) -> bool {
        false
    }

    pub(super) const fn freshen(&mut self, _call: CallKey, _now_ns: u64) {}

    pub(super) const fn boards(&self) -> bool {
        false
    }

    /// There is nothing to do.
    pub const fn express(&mut self, _now: Now) {}

    pub(super) fn alight(&mut self, _slots: impl Iterator<Item = Slot>, _off: bool, _now_ns: u64) {}

    pub(super) const fn alight_all(&mut self) {}

    pub(super) const fn express_rows(&self) -> u64 {
        0
    }

    pub(super) fn express_counters(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
}
