//! The sockets of a leg: bound, connected to the relay's ports, and known to the ring.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use relay::sys::uring::{Ring, Sizes};
use relay::sys::{limits, socket, stamps};
use relay::table::Slot;

use super::super::packet::Sender;
use super::super::{Call, Ends, Plan};
use super::{Leg, REPORT_NS, Reception, TIMED, Worker};
use relay::sys::clock::Now;

/// Bytes that a socket may hold: a tenth of a second of a thousand packets each.
const RECEIVE_BUFFER: usize = 256 << 10;
/// Sockets of a call.
const SOCKETS: u32 = 4;

/// Makes the ring for as many calls as there are ports and open files for: how many.
pub(super) fn ring<const CONTROL: usize>(plan: &Plan) -> io::Result<(Ring<CONTROL>, u32)> {
    let files = limits::raise_open_files()?.saturating_sub(limits::own_files(1));
    let calls = plan.most_calls().min(u32::try_from(files).unwrap_or(u32::MAX) / SOCKETS).max(1);
    let sizes = Sizes {
        files: calls * SOCKETS,
        submissions: 1024,
        completions: (calls * SOCKETS * 2 + 16_384).next_power_of_two().min(65_536),
        buffers: 8192,
        polled: false,
    };
    Ok((Ring::new(sizes)?, calls))
}

impl Worker {
    /// Opens a call's sockets, and puts its legs on the wheel.
    pub(super) fn begin(&mut self, call: Call) -> io::Result<()> {
        let full = || io::Error::other("no more open files for calls (ulimit -Hn), or ports");
        if self.calls.contains_key(&call.number) {
            return Err(io::Error::other("a call of this number has begun before"));
        }
        let place = self.free.pop().ok_or_else(full)?;
        let opened = self.open(place, call);
        if opened.is_ok() {
            self.calls.insert(call.number, place);
        } else {
            for index in [place * 2, place * 2 + 1] {
                self.take(index)?;
            }
            self.free.push(place);
        }
        opened
    }

    fn open(&mut self, place: u32, call: Call) -> io::Result<()> {
        for (leg, relay) in (0..).zip(call.relay) {
            let ours = self.plan.ends(call.number, leg);
            let ours = ours.ok_or_else(|| io::Error::other("no more ports of ours: give a wider range"))?;
            let index = place * 2 + u32::try_from(leg).unwrap_or(0);
            let [rtp, rtcp] = self.connected(index, ours, relay)?;
            let seed = getrandom::u64().map_err(io::Error::other)?;
            let [s0, s1, t0, t1, t2, t3, c0, c1] = seed.to_le_bytes();
            let sender = Sender {
                codec: self.plan.media.codec,
                call: call.number,
                leg: u8::try_from(leg).unwrap_or(0),
                // Unlike any other leg's of this run.
                ssrc: (index << 16) | u32::from(u16::from_le_bytes([c0, c1])),
                sequence: u16::from_le_bytes([s0, s1]),
                timestamp: u32::from_le_bytes([t0, t1, t2, t3]),
            };
            let leg = Leg {
                sender,
                place: Some(self.wheel.add(index)),
                rtp,
                rtcp,
                next: 0,
                bytes: 0,
                // Spread over the interval, the first ones within it.
                report_ns: Now::read().mono_ns + u64::from(u16::from_le_bytes([c0, c1])) * (REPORT_NS >> 16),
                timed: [(0, 0); TIMED],
                heard: Reception::default(),
            };
            if let Some(slot) = self.legs.get_mut(index as usize) {
                *slot = Some(leg);
            }
        }
        Ok(())
    }

    /// A leg's two sockets, on which the ring receives.
    fn connected(&mut self, index: u32, ours: Ends, relay: Ends) -> io::Result<[UdpSocket; 2]> {
        let generation = self.generations.get(index as usize).copied().unwrap_or(0);
        let rtp = self.socket(Slot { index: index * 2, generation }, ours.rtp, relay.rtp)?;
        let rtcp = self.socket(Slot { index: index * 2 + 1, generation }, ours.rtcp, relay.rtcp)?;
        Ok([rtp, rtcp])
    }

    fn socket(&mut self, slot: Slot, ours: SocketAddr, relay: SocketAddr) -> io::Result<UdpSocket> {
        let named = |e: io::Error| io::Error::new(e.kind(), format!("{ours}: {e}"));
        let socket = UdpSocket::from(socket::bind(ours, RECEIVE_BUFFER, 0).map_err(named)?);
        socket.connect(relay).map_err(named)?;
        stamps::enable(socket.as_fd())?;
        self.ring.register(slot.index, socket.as_fd())?;
        self.ring.receive(slot)?;
        Ok(socket)
    }

    /// Closes a leg's sockets. Its slots may be used again at once: completions of the past are of another generation.
    pub(super) fn take(&mut self, index: u32) -> io::Result<Option<Leg>> {
        let leg = self.legs.get_mut(index as usize).and_then(Option::take);
        if let Some(Leg { place: Some(place), .. }) = &leg {
            self.wheel.remove(index, *place);
        }
        if let Some(generation) = self.generations.get_mut(index as usize) {
            for slot in [index * 2, index * 2 + 1] {
                self.ring.cancel(Slot { index: slot, generation: *generation })?;
            }
            *generation += 1;
        }
        // Cancellations run when they are submitted; only then may the places be taken by other sockets.
        self.ring.submit()?;
        [index * 2, index * 2 + 1].into_iter().try_for_each(|slot| self.ring.unregister(slot))?;
        Ok(leg)
    }
}
