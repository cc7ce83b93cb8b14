//! The hash chain over a recording's packets.

use sha2::{Digest, Sha256};

use super::Packet;

/// Names what is hashed, so that the chain of another kind of record can never be taken for one.
const START: &[u8] = b"bauta packets 1";

/// The hash chain over a recording's packets: the manifest's `packets.sha256`.
///
/// `h[0] = SHA-256("bauta packets 1")`, and for each packet in the tap's order
/// `h[i] = SHA-256(h[i-1] ‖ side ‖ stream ‖ at_ns ‖ length ‖ rtp)` with side (0 caller, 1 callee) and stream of
/// one byte, `at_ns` of eight and length of four bytes, big endian; `rtp` is the packet as it arrived.
#[derive(Debug, Clone)]
pub struct Chain {
    head: [u8; 32],
    packets: u64,
}

impl Default for Chain {
    fn default() -> Self {
        Self { head: Sha256::digest(START).into(), packets: 0 }
    }
}

impl Chain {
    /// Adds the next packet.
    pub fn add(&mut self, packet: &Packet, rtp: &[u8]) {
        let mut hash = Sha256::new();
        hash.update(self.head);
        hash.update([packet.side as u8, packet.stream]);
        hash.update(packet.at_ns.to_be_bytes());
        hash.update(u32::try_from(rtp.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(rtp);
        self.head = hash.finalize().into();
        self.packets += 1;
    }

    /// The chain's head so far, in hexadecimal.
    pub fn head(&self) -> String {
        crate::hexadecimal(&self.head)
    }

    /// Packets added so far.
    pub const fn packets(&self) -> u64 {
        self.packets
    }
}
