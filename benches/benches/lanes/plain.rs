//! `recvfrom` and `sendto`: what a relay does that reads the manual pages. Two system calls a packet, and `epoll_wait`.

use std::io;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;

use anyhow::Result;
use relay::engine::Engine;
use relay::sys::clock::Now;
use relay::table::Slot;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use super::rows::Rows;
use super::ways::{Way, patience};

const EVENTS: usize = 256;

pub struct Plain {
    epoll: OwnedFd,
    sockets: Vec<(Slot, UdpSocket)>,
    events: Vec<epoll::Event>,
    buffer: Box<[u8; 2048]>,
}

impl Plain {
    pub fn new(rows: &mut Rows) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let sockets = rows.by_slot()?;
        for (slot, socket) in &sockets {
            epoll::add(&epoll, socket, epoll::EventData::new_u64(slot.index.into()), epoll::EventFlags::IN)?;
        }
        Ok(Self { epoll, sockets, events: Vec::with_capacity(EVENTS), buffer: Box::new([0; 2048]) })
    }
}

impl Way for Plain {
    fn turn(&mut self, engine: &mut Engine) -> io::Result<()> {
        while let Some((slot, peer)) = engine.connection() {
            if let Some(peer) = peer {
                self.sockets[slot.index as usize].1.connect(peer)?;
            }
        }
        self.events.clear();
        epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience()))?;
        let now = Now::read();
        for event in &self.events {
            let (slot, socket) = &self.sockets[usize::try_from(event.data.u64()).unwrap_or(usize::MAX)];
            // Whoever has more is in the next turn's events again.
            let Ok((length, source)) = socket.recv_from(&mut self.buffer[..]) else { continue };
            let Some(out) = engine.receive(*slot, source, &mut self.buffer[..], length, now) else {
                continue;
            };
            let (_, via) = &self.sockets[out.via as usize];
            let _ = match out.to {
                Some(to) => via.send_to(&self.buffer[..out.length], to),
                None => via.send(&self.buffer[..out.length]),
            };
        }
        engine.batch_done();
        Ok(())
    }
}
