//! The spool: one file per call with every packet as it arrived and every event, in the tap's order.
//!
//! A spool is a standard pcapng file (draft-ietf-opsawg-pcapng) that Wireshark and tshark open:
//!
//! - one Section Header, then two interfaces, 0 `caller` and 1 `callee` (who sent), link type IPv4, nanoseconds;
//! - each RTP packet as an Enhanced Packet Block behind an IPv4 and UDP header of documentation addresses
//!   (192.0.2.1 caller, 192.0.2.2 callee; port 5004 + 2 × index of the stream). `epb_packetid` is the tap's
//!   position, `epb_dropcount` what the tap lost before it;
//! - each [`Event`] as a systemd Journal Export Block with fields `BAUTA_…`.
//!
//! Packets are as they arrived but for digits that a party dials (RFC 4733): of a telephone event the code reads 255
//! and the volume 0; what may carry events in another form (`red`, RFC 2198) is blanked as a whole. No digit is ever on
//! the disk; end bit and duration are, so that the span can be found.
//!
//! Records stand in the order of the tap, and so in the order of time. A `stalled` event stands where its time ends:
//! behind what waited in the tap while the disk refused, and behind the gaps that came of it. A spool that cannot be
//! written any more ends where it is, without a close event; its call goes on in another one, whose open event names
//! it (`BAUTA_CONTINUES`).
//!
//! Little endian on every host. Capture writes it, the archiver and [`crate::verify`] read it. After a
//! crash the file is good up to its last whole block ([`Reader::sound`]); the rest is cut.

mod block;
mod chain;
mod event;
mod reader;

pub use block::{Packet, header, write_event, write_packet};
pub use chain::Chain;
pub use event::{Event, EventKind, Origin};
pub use reader::{Item, ReadError, Reader};

/// File name extension of a spool.
pub const EXTENSION: &str = "pcapng";

/// One side of a call, as a spool numbers its interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The side that made the first offer: left in the archive.
    Caller = 0,
    /// The side that was offered to: right in the archive.
    Callee = 1,
}

impl Side {
    /// Both, caller first.
    pub const BOTH: [Self; 2] = [Self::Caller, Self::Callee];

    /// Its name in events and manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Callee => "callee",
        }
    }

    /// Reads what [`Self::name`] wrote.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|s| s.name() == name)
    }

    /// The value of `pair` for this side; `pair` is caller's, callee's.
    pub fn of<T>(self, pair: &[T; 2]) -> &T {
        let [first, second] = pair;
        match self {
            Self::Caller => first,
            Self::Callee => second,
        }
    }

    /// The value of `pair` for this side, to change.
    pub fn of_mut<T>(self, pair: &mut [T; 2]) -> &mut T {
        let [first, second] = pair;
        match self {
            Self::Caller => first,
            Self::Callee => second,
        }
    }
}
