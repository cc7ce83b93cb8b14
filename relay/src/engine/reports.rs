//! What an RTCP packet that passes teaches about both legs' reception.

use super::Engine;
use crate::quality::Said;
use crate::row::Pair;
use crate::sys::clock::Now;

impl Engine {
    /// The leg of `own` said `said`; `sent` is what leaves towards the leg of `peer`. Whichever port it came to, it is
    /// the RTP row that remembers.
    pub(super) fn reported(&mut self, own: Pair, peer: Pair, said: &Said, sent: &[u8], now: Now) {
        if let Some(row) = self.table.at_mut(own.rtp) {
            row.reception.said(said, now.mono_ns);
        }
        if let Some(row) = self.table.at_mut(peer.rtp) {
            row.reception.sent(sent, now.mono_ns);
        }
    }
}
