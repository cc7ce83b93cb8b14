//! RTCP that passes: rewritten, and what it teaches about both legs' reception.

use super::{Engine, count};
use crate::drop_reason::DropReason;
use crate::quality::Said;
use crate::rewrite::rtcp;
use crate::row::Pair;
use crate::sys::clock::Now;
use crate::table::Slot;

impl Engine {
    /// Rewrites the RTCP in `buffer[..length]` that came to `slot`, and takes note of what it says. Gives its new length.
    pub(super) fn reports(
        &mut self,
        slot: Slot,
        buffer: &mut [u8],
        length: usize,
        now: Now,
    ) -> Result<usize, DropReason> {
        let row = self.table.at(slot.index).ok_or(DropReason::Stale)?;
        let (own, peer) = (row.own, row.peer);
        let heard = self.table.at(peer.rtp).map(|r| r.mask).ok_or(DropReason::NoDestination)?;
        let came = buffer.get(..length).unwrap_or_default();
        let said = Said::read(came, |ssrc| heard.of_shown(ssrc).is_some());
        let sender = self.table.at_mut(own.rtp).ok_or(DropReason::Stale)?;
        let rewritten = rtcp::rewrite(buffer, length, &mut sender.mask, &heard)?;
        self.reported(own, peer, &said, buffer.get(..rewritten).unwrap_or_default(), now);
        let row = self.table.at_mut(slot.index).ok_or(DropReason::Stale)?;
        count(&mut row.rtcp, length);
        Ok(rewritten)
    }

    /// The leg of `own` said `said`; `sent` is what leaves towards the leg of `peer`. Whichever port it came to, it is
    /// the RTP row that remembers.
    fn reported(&mut self, own: Pair, peer: Pair, said: &Said, sent: &[u8], now: Now) {
        if let Some(row) = self.table.at_mut(own.rtp) {
            row.reception.said(said, now.mono_ns);
        }
        if let Some(row) = self.table.at_mut(peer.rtp) {
            row.reception.sent(sent, now.mono_ns);
        }
    }
}
