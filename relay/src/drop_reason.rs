//! Why a packet is not forwarded: the discriminant indexes the counters, the name is the metric's label.

use serde::{Deserialize, Serialize};

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How many reasons there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in metrics and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than the header it claims to have.
    Truncated = "truncated",
    /// Neither RTP nor RTCP: the version is not 2 (RFC 3550, section 5.1).
    NotRtp = "not_rtp",
    /// Contributing sources, header extension or padding pass the end of the packet (RFC 3550, section 5.1).
    Malformed = "malformed",
    /// A payload type that this leg did not negotiate.
    PayloadType = "payload_type",
    /// From an address that this row does not expect.
    SourceMismatch = "source_mismatch",
    /// From an address other than the signalled one, outside the learning window.
    NotLearned = "not_learned",
    /// The other leg has no address yet, or its stream is on hold.
    NoDestination = "no_destination",
    /// RTCP on the RTP port of a leg without rtcp-mux (RFC 5761).
    UnexpectedRtcp = "unexpected_rtcp",
    /// RTP on the RTCP port; where the stream is none of RTP, anything there, and RTP of the time when it was.
    UnexpectedRtp = "unexpected_rtp",
    /// A compound RTCP packet that breaks the rules of RFC 3550, section 6.1 and appendix A.2.
    MalformedRtcp = "malformed_rtcp",
    /// RTCP of which nothing may pass to the other leg.
    EmptyRtcp = "empty_rtcp",
    /// More packets than its cap allows.
    RateLimit = "rate_limit",
    /// A packet of ours that came back through both legs: a loop.
    Looped = "looped",
    /// A telephone event of a leg whose events are blocked.
    EventBlocked = "event_blocked",
    /// Larger than the receive buffer.
    Oversize = "oversize",
    /// The socket's send buffer is full.
    SendBlocked = "send_blocked",
    /// The kernel refused to send.
    SendFailed = "send_failed",
    /// It arrived for a row that is gone.
    Stale = "stale",
}

/// One counter per reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCounters([u64; DropReason::COUNT]);

impl Default for DropCounters {
    fn default() -> Self {
        Self([0; DropReason::COUNT])
    }
}

impl DropCounters {
    /// Counts one packet.
    #[inline]
    pub fn count(&mut self, reason: DropReason) {
        if let Some(counter) = self.0.get_mut(reason as usize) {
            *counter += 1;
        }
    }

    /// Counts several packets.
    #[cfg(feature = "xdp")]
    pub fn add(&mut self, reason: DropReason, packets: u64) {
        if let Some(counter) = self.0.get_mut(reason as usize) {
            *counter += packets;
        }
    }

    /// Each reason's name and count.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        DropReason::ALL.iter().map(|r| r.name()).zip(self.0)
    }

    /// How many packets were dropped for `reason`.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }
}
