//! tokio-uring: a task per socket that receives, has the engine decide, and sends.
//!
//! Every task ends by itself, with a packet: dropping the runtime while the kernel may still write into a task's buffer
//! frees that buffer all the same. So there is none for RTCP, which nobody sends here.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Result;
use relay::sys::clock::Now;
use relay::table::Slot;
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::net::UdpSocket;

use super::meter::{Cost, Meter};
use super::rows::Rows;

/// Bytes of a task's buffer.
const BUFFER: usize = 2_048;
/// Entries of the ring: at least as many as packets are likely to wait.
const ENTRIES: u32 = 4_096;

struct Shared {
    rows: RefCell<Rows>,
    meter: RefCell<Meter>,
    /// By slot.
    sockets: Vec<(Slot, UdpSocket)>,
}

/// Forwards until the meter says that the run is over.
pub fn run(mut rows: Rows, meter: Meter) -> Result<Option<Cost>> {
    let legs = rows.of_legs();
    let sockets = rows.by_slot()?;
    let mut builder = tokio_uring::builder();
    builder.entries(ENTRIES);
    builder.start(async {
        let sockets = sockets.into_iter().map(|(slot, socket)| (slot, UdpSocket::from_std(socket))).collect();
        let shared = Rc::new(Shared { rows: RefCell::new(rows), meter: RefCell::new(meter), sockets });
        shared.meter.borrow_mut().goes_on(&shared.rows.borrow().engine);
        let tasks = legs.iter().map(|slot| tokio_uring::spawn(serve(Rc::clone(&shared), *slot)));
        for task in tasks.collect::<Vec<_>>() {
            task.await?;
        }
        let cost = shared.meter.borrow().cost();
        Ok(cost)
    })
}

async fn serve(shared: Rc<Shared>, slot: Slot) {
    let (_, socket) = &shared.sockets[slot.index as usize];
    let mut buffer = vec![0; BUFFER];
    loop {
        let (received, filled) = socket.recv_from(buffer).await;
        buffer = filled;
        let Ok((length, source)) = received else { continue };
        let out = shared.rows.borrow_mut().engine.receive(slot, source, &mut buffer, length, Now::read());
        if let Some((out, to)) = out.and_then(|out| Some((out, out.to?))) {
            let (_, via) = &shared.sockets[out.via as usize];
            let (_, sent) = via.send_to(buffer.slice(..out.length), to).await;
            buffer = sent.into_inner();
        }
        if !shared.meter.borrow_mut().goes_on(&shared.rows.borrow().engine) {
            return;
        }
    }
}
