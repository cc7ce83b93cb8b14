//! The names of a call and its sides, as relay, control and recorder share them.

use serde::{Deserialize, Serialize};

/// A call's name inside the relay: 64 random bits chosen by control, told to the recorder, meaningless elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallKey(pub u64);

impl std::fmt::Display for CallKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Leg {
    /// The side that made the first offer.
    Caller = 0,
    /// The side that was offered to.
    Callee = 1,
}

impl Leg {
    /// Both, caller first.
    pub const BOTH: [Self; 2] = [Self::Caller, Self::Callee];

    /// The other side.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }
}
