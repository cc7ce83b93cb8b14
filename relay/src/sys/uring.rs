//! A worker's io_uring: single issuer, deferred task work, registered files, one provided-buffer ring.
//!
//! Used by one thread, the one that made it. What the kernel may read or write while an operation is in flight
//! (buffers, the message header, destination addresses) is owned by [`Ring`] and unmapped only after the ring is
//! closed. Sends run inside [`Ring::submit`] (`MSG_DONTWAIT`), so a buffer goes back right after it.

mod buffers;
mod files;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use io_uring::types::{Fixed, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};

use self::buffers::Buffers;
use self::files::Kept;
use super::address::{self, RawAddress};
use crate::table::Slot;

const BUFFER_GROUP: u16 = 0;
/// Bytes of `io_uring_recvmsg_out`, which a multishot receive writes first.
const HEADER: usize = 16;
/// Bytes of a datagram that [`Ring::send_copy`] can send.
pub const COPY: usize = 256;
/// Bytes of a buffer that the kernel may not fill, for what rewriting may append.
const SPARE: u32 = 64;

/// How large a ring is.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Registered files: the most sockets.
    pub files: u32,
    /// Submission queue entries, a power of two: the most sends per batch.
    pub submissions: u32,
    /// Completion queue entries, a power of two: at least the operations in flight.
    pub completions: u32,
    /// Receive buffers, a power of two up to 32,768.
    pub buffers: u16,
    /// Whether [`Ring::poll`] will be called.
    pub polled: bool,
}

/// What an operation is, in its `user_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Operation {
    /// Multishot receive of a slot's socket.
    Receive = 1,
    /// A send; the slot is the row that the packet came from.
    Send = 2,
    /// Cancellation of a slot's receive.
    Cancel = 3,
    /// The wake-up descriptor became readable.
    Wake = 4,
    /// A socket was to be connected.
    Connect = 5,
    /// A descriptor of a slot's socket, for another process.
    Install = 6,
}

/// A completion.
#[derive(Debug)]
pub struct Completion {
    /// What completed.
    pub operation: Operation,
    /// For which slot.
    pub slot: Slot,
    /// The operation's result; the error is an `errno`.
    pub result: Result<u32, i32>,
    /// The multishot goes on.
    pub more: bool,
    /// The buffer that it filled: to be given to [`Ring::hold`].
    pub buffer: Option<Held>,
}

/// A receive buffer that the kernel has given us. Not `Clone`: it goes back exactly once.
#[derive(Debug)]
#[must_use = "a buffer that is not held is lost to the ring"]
pub struct Held(u16);

/// The ring. With every datagram come up to `CONTROL` bytes of control messages (a multiple of 8). Dropped in order: the ring
/// is closed before its memory goes.
pub struct Ring<const CONTROL: usize = 0> {
    uring: IoUring,
    buffers: Buffers,
    header: Box<libc::msghdr>,
    addresses: Box<[RawAddress]>,
    /// What [`Self::send_copy`] sends; made when it is first called.
    copies: Vec<[u8; COPY]>,
    staged: usize,
    held: Vec<u16>,
    kept: Kept,
    overflowed: u64,
    /// The kernel can wait for more than one completion no longer than told.
    gathers: bool,
}

impl<const CONTROL: usize> std::fmt::Debug for Ring<CONTROL> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("buffers", &self.buffers).finish_non_exhaustive()
    }
}

impl<const CONTROL: usize> Ring<CONTROL> {
    /// What a multishot receive writes before the datagram: its header, the source address, control messages.
    const PREFIX: usize = HEADER + address::MAX + CONTROL;

    /// Makes a ring on the calling thread, which alone may use it.
    pub fn new(sizes: Sizes) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all().setup_no_sqarray();
        builder.setup_cqsize(sizes.completions);
        if sizes.polled {
            builder.setup_taskrun_flag();
        }
        let mut uring: IoUring = builder.build(sizes.submissions)?;
        uring.submitter().register_files_sparse(sizes.files)?;
        let buffers = Buffers::new(sizes.buffers)?;
        // SAFETY: the entries are mapped, page-aligned, and live until after the ring is closed (order of fields).
        unsafe {
            let entries = buffers.entries().as_ptr() as u64;
            uring.submitter().register_buf_ring_with_flags(entries, sizes.buffers, BUFFER_GROUP, 0)?;
        }
        // SAFETY: all zeroes is a valid, empty msghdr.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = address::LENGTHS.1;
        header.msg_controllen = CONTROL;
        let depth = uring.submission().capacity();
        Ok(Self {
            kept: Kept::for_ring(&uring, sizes.files),
            gathers: uring.params().is_feature_min_timeout(),
            uring,
            buffers,
            header,
            addresses: vec![RawAddress::EMPTY; depth].into_boxed_slice(),
            copies: Vec::new(),
            staged: 0,
            held: Vec::with_capacity(usize::from(sizes.buffers)),
            overflowed: 0,
        })
    }

    /// Puts a socket into the table of registered files; the caller's descriptor may be closed after it.
    pub fn register(&mut self, index: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
        self.kept.put(index, Some(socket))?;
        self.uring.submitter().register_files_update(index, &[socket.as_raw_fd()]).map(drop)
    }

    /// Takes a socket out of the table; the kernel closes it when no operation uses it any more.
    pub fn unregister(&mut self, index: u32) -> io::Result<()> {
        self.kept.put(index, None)?;
        self.uring.submitter().register_files_update(index, &[-1]).map(drop)
    }

    /// Arms the multishot receive of a slot's socket.
    pub fn receive(&mut self, slot: Slot) -> io::Result<()> {
        let entry =
            opcode::RecvMsgMulti::new(Fixed(slot.index), &raw const *self.header, BUFFER_GROUP).build();
        self.push(&entry.user_data(tag(Operation::Receive, slot)))
    }

    /// Ends the multishot receive of a slot's socket: its last completion follows.
    pub fn cancel(&mut self, slot: Slot) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(tag(Operation::Receive, slot)).build();
        self.push(&entry.user_data(tag(Operation::Cancel, slot)).flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// Reports, until told otherwise, when `fd` becomes readable.
    pub fn watch(&mut self, fd: RawFd) -> io::Result<()> {
        let entry = opcode::PollAdd::new(io_uring::types::Fd(fd), libc::POLLIN as u32).multi(true).build();
        self.push(&entry.user_data(tag(Operation::Wake, Slot { index: 0, generation: 0 })))
    }

    /// Connects a slot's socket, or (with none) disconnects it; sends that are queued later find it so. Completes only if
    /// it fails.
    pub fn connect(&mut self, slot: Slot, peer: Option<SocketAddr>) -> io::Result<()> {
        let peer = peer.map_or(RawAddress::UNSPECIFIED, RawAddress::from);
        let Some(address) = self.stage(peer)? else { return Ok(()) };
        let entry = opcode::Connect::new(Fixed(slot.index), address.cast(), peer.length()).build();
        self.push(&entry.user_data(tag(Operation::Connect, slot)).flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// A place for an address that stays as it is until the next submission: before it is taken, room is made for its
    /// operation, since submitting starts the places anew.
    #[inline]
    fn stage(&mut self, address: RawAddress) -> io::Result<Option<*const u8>> {
        if self.staged == self.addresses.len() || self.uring.submission().is_full() {
            self.submit()?;
        }
        let Some(place) = self.addresses.get_mut(self.staged) else { return Ok(None) };
        *place = address;
        self.staged += 1;
        Ok(Some(place.as_ptr()))
    }

    /// Sends `length` bytes of the datagram in `buffer` through the socket at `via`, to `to` or to whoever it is connected
    /// to. Completes only if it fails, under `slot`.
    #[inline]
    pub fn send(
        &mut self,
        slot: Slot,
        via: u32,
        to: Option<SocketAddr>,
        buffer: &Held,
        length: usize,
    ) -> io::Result<()> {
        let raw = to.map(RawAddress::from);
        let address = match raw {
            Some(raw) => self.stage(raw)?,
            None => None,
        };
        let Some(bytes) = self.buffers.bytes(buffer.0).get(Self::PREFIX..Self::PREFIX + length) else {
            return Ok(());
        };
        let send = opcode::Send::new(Fixed(via), bytes.as_ptr(), u32::try_from(length).unwrap_or(0))
            .flags(libc::MSG_DONTWAIT);
        let entry = match (raw, address) {
            (Some(raw), Some(address)) => {
                let length = u16::try_from(raw.length()).unwrap_or(0);
                send.dest_addr(address.cast()).dest_addr_len(length.into()).build()
            }
            _ => send.build(),
        };
        self.push(&entry.user_data(tag(Operation::Send, slot)).flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// The datagram that a receive left in `buffer`, of which the completion said `filled`: source, the buffer from
    /// the datagram's first byte on (longer than the datagram), and its length. None when it did not fit.
    #[inline]
    pub fn datagram(&mut self, buffer: &Held, filled: u32) -> Option<(SocketAddr, &mut [u8], usize)> {
        let (head, body) = self.buffers.bytes_mut(buffer.0).split_at_mut_checked(Self::PREFIX)?;
        let (out, name) = head.split_first_chunk::<16>()?;
        // struct io_uring_recvmsg_out: namelen, controllen, payloadlen, flags, each 32 bits.
        let [n0, n1, n2, n3, _, _, _, _, p0, p1, p2, p3, f0, f1, f2, f3] = *out;
        let name_length = u32::from_ne_bytes([n0, n1, n2, n3]) as usize;
        let length = u32::from_ne_bytes([p0, p1, p2, p3]) as usize;
        let truncated = i32::from_ne_bytes([f0, f1, f2, f3]) & libc::MSG_TRUNC != 0;
        let source = address::parse(name.get(..name_length)?)?;
        (!truncated && Self::PREFIX + length <= filled as usize).then_some((source, body, length))
    }

    /// The control messages that came with the datagram in `buffer`.
    pub fn control(&self, buffer: &Held) -> &[u8] {
        let bytes = self.buffers.bytes(buffer.0);
        // The second field of the header: controllen.
        let length =
            bytes.get(4..).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_ne_bytes(*b) as usize);
        let start = HEADER + address::MAX;
        bytes.get(start..start + length.min(CONTROL)).unwrap_or_default()
    }

    /// Sends a copy of `bytes`, [`COPY`] at most, through the slot's own socket, to whoever it is connected to. Completes
    /// only if it fails.
    pub fn send_copy(&mut self, slot: Slot, bytes: &[u8]) -> io::Result<()> {
        if self.copies.is_empty() {
            self.copies = vec![[0; COPY]; self.addresses.len()];
        }
        if self.staged == self.copies.len() || self.uring.submission().is_full() {
            self.submit()?;
        }
        let place = self.copies.get_mut(self.staged).and_then(|copy| copy.get_mut(..bytes.len()));
        let copy = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        copy.copy_from_slice(bytes);
        self.staged += 1;
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let send = opcode::Send::new(Fixed(slot.index), copy.as_ptr(), length).flags(libc::MSG_DONTWAIT);
        self.push(&send.build().user_data(tag(Operation::Send, slot)).flags(squeue::Flags::SKIP_SUCCESS))
    }

    /// Takes a buffer back, to be given to the kernel again once what was submitted from it is done.
    #[inline]
    #[allow(clippy::needless_pass_by_value, reason = "a buffer goes back once: holding it takes it")]
    pub fn hold(&mut self, buffer: Held) {
        self.held.push(buffer.0);
    }

    /// Submits what is queued, runs the sends, and returns the held buffers.
    pub fn submit(&mut self) -> io::Result<()> {
        let mut tries = 0;
        while !self.uring.submission().is_empty() {
            match self.uring.submit() {
                Ok(_) => {}
                Err(e) if retry(&e) && tries < SUBMIT_TRIES => {
                    tries += 1;
                    std::thread::yield_now();
                }
                Err(e) => return Err(e),
            }
        }
        self.give_back();
        Ok(())
    }

    /// Submits what is queued and waits for a completion, at most `timeout`; then returns the held buffers. With
    /// `gather`, it waits for so many completions as long as that, and only from then on for a single one.
    pub fn wait(&mut self, timeout: Duration, gather: Option<(usize, Duration)>) -> io::Result<()> {
        let timespec = Timespec::from(timeout);
        let (want, least) = gather.filter(|_| self.gathers).unwrap_or((1, Duration::ZERO));
        let least = u32::try_from(least.as_micros()).unwrap_or(u32::MAX);
        let args = SubmitArgs::new().timespec(&timespec).min_wait_usec(least);
        self.overflowed += u64::from(self.uring.submission().cq_overflow());
        match self.uring.submitter().submit_with_args(want, &args) {
            Ok(_) => {}
            Err(e) if retry(&e) || e.raw_os_error() == Some(libc::ETIME) => {}
            Err(e) => return Err(e),
        }
        self.submit()
    }

    /// Lets the kernel complete what is ready, without waiting: whether there are completions. Only where
    /// [`Sizes::polled`] was set is it told that something is ready; otherwise nothing is.
    pub fn poll(&mut self) -> io::Result<bool> {
        if self.uring.submission().taskrun() {
            match self.uring.submitter().submit_and_wait(0) {
                Ok(_) => {}
                Err(e) if retry(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(self.has_completions())
    }

    /// The next completion that is there, if any.
    #[inline]
    pub fn take(&mut self) -> Option<Completion> {
        loop {
            let entry = self.uring.completion().next()?;
            let buffer = cqueue::buffer_select(entry.flags()).map(|id| {
                self.buffers.taken(id);
                Held(id)
            });
            let result = u32::try_from(entry.result()).map_err(|_| -entry.result());
            let more = cqueue::more(entry.flags());
            let Some((operation, slot)) = untag(entry.user_data()) else {
                // Nothing of ours has such a tag; its buffer still goes back.
                buffer.into_iter().for_each(|b| self.hold(b));
                continue;
            };
            return Some(Completion { operation, slot, result, more, buffer });
        }
    }

    /// Buffers that are neither with the kernel nor held: lost. Always 0 between batches.
    pub fn buffers_missing(&self) -> usize {
        self.buffers.outstanding().saturating_sub(self.held.len())
    }

    /// Buffers that the kernel does not have now.
    pub fn buffers_outstanding(&self) -> usize {
        self.buffers.outstanding()
    }

    /// Turns that began with completions which had not fitted into their queue: nothing is lost then, but
    /// multishots have ended and time was.
    pub const fn overflows(&self) -> u64 {
        self.overflowed
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        if self.uring.submission().is_full() {
            self.submit()?;
        }
        // SAFETY: what the entry points to (buffers, header, addresses) is owned by this ring and stays in place; a
        // send's buffer and address are used again only after `submit` has run it.
        unsafe { self.uring.submission().push(entry) }
            .map_err(|_| io::Error::other("the submission queue is full"))
    }

    fn give_back(&mut self) {
        self.staged = 0;
        for id in self.held.drain(..) {
            self.buffers.give(id, SPARE);
        }
        self.buffers.publish();
    }
}

/// How often a refused submission is tried again before the ring is given up as broken.
const SUBMIT_TRIES: u32 = 10_000;

/// The kernel asks to come again, or a signal came.
fn retry(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

fn tag(operation: Operation, slot: Slot) -> u64 {
    u64::from(operation as u8) << 56 | u64::from(slot.generation & 0x00ff_ffff) << 32 | u64::from(slot.index)
}

fn untag(user_data: u64) -> Option<(Operation, Slot)> {
    let [i0, i1, i2, i3, g0, g1, g2, operation] = user_data.to_le_bytes();
    let operation = match operation {
        1 => Operation::Receive,
        2 => Operation::Send,
        3 => Operation::Cancel,
        4 => Operation::Wake,
        5 => Operation::Connect,
        6 => Operation::Install,
        _ => return None,
    };
    let index = u32::from_le_bytes([i0, i1, i2, i3]);
    Some((operation, Slot { index, generation: u32::from_le_bytes([g0, g1, g2, 0]) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_which_tenant_of_which_slot() {
        let slot = Slot { index: u32::MAX - 1, generation: 0x00ab_cdef };
        let operations = [
            Operation::Receive,
            Operation::Send,
            Operation::Cancel,
            Operation::Wake,
            Operation::Connect,
            Operation::Install,
        ];
        for operation in operations {
            assert_eq!(untag(tag(operation, slot)), Some((operation, slot)));
        }
        assert_eq!(untag(0), None);
    }
}
