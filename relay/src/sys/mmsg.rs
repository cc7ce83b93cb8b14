//! `recvmmsg` and `sendmmsg` over a batch of buffers that is allocated once.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::address::{self, RawAddress};

/// Datagrams per system call.
pub const BATCH: usize = BATCH_U32 as usize;
const BATCH_U32: u32 = 64;
/// Bytes per buffer.
pub const BUFFER: usize = 2048;
/// Bytes of a buffer that receiving leaves free, for what rewriting may append.
pub const SPARE: usize = 64;

/// Buffers with room for [`BATCH`] datagrams, and the headers that the two system calls want.
pub struct Batch {
    buffers: Box<[[u8; BUFFER]]>,
    addresses: Box<[[u8; address::MAX]]>,
    lengths: [usize; BATCH],
    truncated: [bool; BATCH],
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

/// A datagram of the batch that is to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// Its place in the batch.
    pub index: usize,
    /// Bytes to send.
    pub length: usize,
    /// Where to; none where the socket is connected.
    pub to: Option<SocketAddr>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            buffers: vec![[0; BUFFER]; BATCH].into_boxed_slice(),
            addresses: vec![[0; address::MAX]; BATCH].into_boxed_slice(),
            lengths: [0; BATCH],
            truncated: [false; BATCH],
        }
    }
}

impl Batch {
    /// Receives what is there, without waiting: how many datagrams.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: BUFFER - SPARE }; BATCH];
        // SAFETY: all zeroes is a valid, empty mmsghdr.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let parts = self.buffers.iter_mut().zip(self.addresses.iter_mut());
        for (((buffer, address), vector), header) in parts.zip(&mut vectors).zip(&mut headers) {
            vector.iov_base = buffer.as_mut_ptr().cast();
            header.msg_hdr.msg_name = address.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = address::LENGTHS.1;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        // SAFETY: every header points to an iovec, a buffer and an address of its own that outlive the call.
        let count = unsafe {
            let flags = libc::MSG_DONTWAIT;
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), BATCH_U32, flags, std::ptr::null_mut())
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for ((header, length), truncated) in
            headers.iter().zip(&mut self.lengths).zip(&mut self.truncated).take(count)
        {
            *length = header.msg_len as usize;
            *truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        }
        Ok(count)
    }

    /// Datagram `index` of the last receive: source, its whole buffer (longer than the datagram), and length; none
    /// when it did not fit into its buffer.
    pub fn datagram(&mut self, index: usize) -> Option<(SocketAddr, &mut [u8], usize)> {
        let source = address::parse(self.addresses.get(index)?)?;
        let (length, truncated) = (*self.lengths.get(index)?, *self.truncated.get(index)?);
        if truncated { None } else { Some((source, self.buffers.get_mut(index)?.as_mut_slice(), length)) }
    }

    /// Sends datagrams of this batch (at most [`BATCH`]) through one socket, without waiting: how many the kernel
    /// took before the first that it refused.
    pub fn send(&self, socket: BorrowedFd<'_>, list: &[Outgoing]) -> io::Result<usize> {
        let mut raw = [RawAddress::EMPTY; BATCH];
        let mut vectors = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: all zeroes is a valid, empty mmsghdr.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        for (((out, raw), vector), header) in list.iter().zip(&mut raw).zip(&mut vectors).zip(&mut headers) {
            let Some(bytes) = self.buffers.get(out.index).and_then(|b| b.get(..out.length)) else { break };
            *raw = out.to.map_or(RawAddress::EMPTY, RawAddress::from);
            vector.iov_base = bytes.as_ptr().cast_mut().cast();
            vector.iov_len = bytes.len();
            if raw.length() > 0 {
                header.msg_hdr.msg_name = raw.as_ptr().cast_mut().cast();
                header.msg_hdr.msg_namelen = raw.length();
            }
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: the first `count` headers point to an iovec, bytes and an address that outlive the call; the kernel
        // only reads them.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}
