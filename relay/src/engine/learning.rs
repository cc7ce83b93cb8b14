//! What a packet teaches its row and the leg's other one, and which sockets are connected for it.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Engine;
use crate::drop_reason::DropReason;
use crate::packet::Packet;
use crate::rewrite::rtcp;
use crate::table::Slot;

/// Room for what one turn of a lane may bring: an RTP row settles once until it is signalled anew; an RTCP row may settle,
/// lose that with whom it learned it from, and settle again.
pub(super) fn queue(slots: u32) -> VecDeque<(Slot, Option<SocketAddr>)> {
    VecDeque::with_capacity(slots as usize * 2)
}

impl Engine {
    /// Takes `source` for a row's source, for `datagram` that came from there. Learned even when there is nowhere to forward
    /// to yet: the other direction needs it.
    #[cold]
    pub(super) fn learn(
        &mut self,
        slot: Slot,
        packet: Packet,
        source: SocketAddr,
        datagram: &[u8],
        now_ns: u64,
    ) -> Result<(), DropReason> {
        let row = self.table.at_mut(slot.index).ok_or(DropReason::Stale)?;
        if packet == Packet::Rtcp && !row.verbatim {
            rtcp::check(datagram)?;
        }
        if row.source.address().is_some_and(|before| before != source) {
            row.cap.refill(now_ns);
        }
        let handed_over = row.source.settled().is_some();
        row.source.learn(source, now_ns);
        if let Some(source) = row.source.connectable() {
            self.connections.push_back((slot, Some(source)));
        }
        // After a handover the old source was the leg itself: its RTCP moves with the next that comes.
        if matches!(packet, Packet::Rtp { .. }) && !handed_over {
            let rtcp = row.own.rtcp;
            self.rtcp_follows(rtcp, source);
        }
        Ok(())
    }

    fn rtcp_follows(&mut self, rtcp: u32, rtp: SocketAddr) {
        let Some((slot, row)) = self.table.slot(rtcp).zip(self.table.at_mut(rtcp)) else { return };
        let before = row.source.connectable();
        row.source.follow(rtp.ip());
        if before.is_some() && row.source.connectable().is_none() {
            row.connected = false;
            self.connections.push_back((slot, None));
        }
    }

    /// The next socket that the lane is to connect, so that the kernel keeps strangers out, or (with none) is to disconnect.
    pub fn connection(&mut self) -> Option<(Slot, Option<SocketAddr>)> {
        while let Some((slot, peer)) = self.connections.pop_front() {
            if self.table.get(slot).is_some()
                && let Some(row) = self.table.at_mut(slot.index)
            {
                // A later change may have overtaken this one.
                row.connected = peer.is_some() && peer == row.source.connectable();
                return Some((slot, peer.filter(|_| row.connected)));
            }
        }
        None
    }

    /// A socket could not be connected: its row works as before.
    pub fn not_connected(&mut self, slot: Slot) {
        if self.table.get(slot).is_some()
            && let Some(row) = self.table.at_mut(slot.index)
        {
            row.connected = false;
        }
    }
}
