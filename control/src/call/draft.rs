//! The SDP that a leg will be shown, before the relay has said which ports it gives.
//!
//! Pure.

use std::net::IpAddr;

use relay::program::message::{Leg, LocalPorts};

use crate::sdp::Sdp;
use crate::sdp::write::{Local, Mux, Origin, Section};

/// An SDP with its ports still open.
pub struct Draft {
    /// The leg that will receive it.
    pub towards: Leg,
    sdp: Sdp,
    shown: Vec<Shown>,
    /// The address to show instead of the relay's.
    instead: Option<IpAddr>,
}

/// How one m-line is shown.
pub struct Shown {
    /// The relay's stream; none shows the line refused.
    pub stream: Option<usize>,
    /// The protocol to show.
    pub protocol: String,
    /// What is said of rtcp-mux.
    pub mux: Mux,
}

impl Draft {
    /// `shown[n]` tells how `sdp.media[n]` is shown.
    pub const fn new(towards: Leg, sdp: Sdp, shown: Vec<Shown>, instead: Option<IpAddr>) -> Self {
        Self { towards, sdp, shown, instead }
    }

    /// A number that changes when the content changes.
    pub fn digest(&self) -> u64 {
        let local = Local { address: self.instead.unwrap_or([0; 4].into()), rtp: 1, rtcp: 2 };
        self.sdp.digest(&self.sections(|_| Some(local)))
    }

    /// The text, now that the ports are known; none when the relay gave none for a stream that is shown.
    pub fn write(&self, origin: Origin, ports: &[[LocalPorts; 2]]) -> Option<String> {
        let of = |stream: usize| {
            let [caller, callee] = ports.get(stream)?;
            Some(if self.towards == Leg::Caller { caller } else { callee })
        };
        if self.shown.iter().any(|s| s.stream.is_some_and(|n| of(n).is_none())) {
            return None;
        }
        let address = |ports: &LocalPorts| self.instead.unwrap_or(ports.address);
        let home = address(of(self.shown.iter().find_map(|s| s.stream).unwrap_or(0))?);
        let local = |stream| of(stream).map(|p| Local { address: address(p), rtp: p.rtp, rtcp: p.rtcp });
        Some(self.sdp.write(origin, home, &self.sections(local)))
    }

    fn sections(&self, local: impl Fn(usize) -> Option<Local>) -> Vec<Section<'_>> {
        self.sdp
            .media
            .iter()
            .zip(&self.shown)
            .map(|(media, shown)| Section {
                media,
                protocol: &shown.protocol,
                local: shown.stream.and_then(&local),
                mux: shown.mux,
            })
            .collect()
    }
}
