//! Time-stamps that the kernel takes: when a datagram left for its device, and when one came from there (the kernel's
//! `Documentation/networking/timestamping.rst`). On the system's clock, in nanoseconds since 1970.
//!
//! For who measures a relay: neither his own scheduling nor his queues are in them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of control messages that a received datagram's stamp takes.
pub const CONTROL: usize = 64;

/// Flags of `SO_TIMESTAMPING`.
const SOFTWARE: u32 = 1 << 4;
const RX_SOFTWARE: u32 = 1 << 3;
const TX_SOFTWARE: u32 = 1 << 1;
/// What comes back for a sent datagram is its stamp alone, without its bytes.
const TSONLY: u32 = 1 << 11;

/// Buffers of control messages, aligned as their headers are.
#[repr(align(8))]
struct Control([u8; 256]);

/// From now on every datagram that `socket` receives is stamped, and those that [`send`] sends.
pub fn enable(socket: BorrowedFd<'_>) -> io::Result<()> {
    let flags = SOFTWARE | RX_SOFTWARE | TSONLY;
    // SAFETY: the option's value is a live 32-bit integer, of which the kernel reads four bytes.
    let done = unsafe {
        let value = (&raw const flags).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPING, value, 4)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The stamp among the control messages of a received datagram.
pub fn received(control: &[u8]) -> Option<u64> {
    let mut rest = control;
    // struct cmsghdr: length (with the header), level, type.
    while let Some((header, _)) = rest.split_first_chunk::<16>() {
        let [l0, l1, l2, l3, l4, l5, l6, l7, v0, v1, v2, v3, t0, t1, t2, t3] = *header;
        let length = usize::try_from(u64::from_ne_bytes([l0, l1, l2, l3, l4, l5, l6, l7])).ok()?;
        let level = i32::from_ne_bytes([v0, v1, v2, v3]);
        let kind = i32::from_ne_bytes([t0, t1, t2, t3]);
        let body = rest.get(16..length)?;
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPING {
            // The first of three `timespec`s is the software's.
            let (seconds, nanoseconds) = (word(body, 0)?, word(body, 8)?);
            return (seconds > 0).then(|| seconds * 1_000_000_000 + nanoseconds);
        }
        rest = rest.get(length.next_multiple_of(8)..)?;
    }
    None
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_ne_bytes(*b))
}

/// Sends `bytes` to whoever `socket` is connected to, without waiting, and says when they left; none where the device has
/// not sent them yet, or takes no stamps.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Option<u64>> {
    // One that came too late belongs to an earlier datagram.
    while returned(socket).is_some() {}
    let mut control = Control([0; 256]);
    // One message: SO_TIMESTAMPING with the flags of this datagram alone.
    let length: u64 = 16 + 4;
    control.0[..8].copy_from_slice(&length.to_ne_bytes());
    control.0[8..12].copy_from_slice(&libc::SOL_SOCKET.to_ne_bytes());
    control.0[12..16].copy_from_slice(&libc::SO_TIMESTAMPING.to_ne_bytes());
    control.0[16..20].copy_from_slice(&TX_SOFTWARE.to_ne_bytes());
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: all zeroes is a valid, empty msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = 24;
    // SAFETY: the header points to a vector, bytes and control messages that outlive the call, which only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(returned(socket).and_then(|control| received(&control.0)))
}

/// What came back for a sent datagram, if something did.
fn returned(socket: BorrowedFd<'_>) -> Option<Control> {
    let mut control = Control([0; 256]);
    // SAFETY: all zeroes is a valid, empty msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    // SAFETY: the header has no vector, and control memory of the length that it says, which outlives the call.
    let came = unsafe {
        let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
        libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags)
    };
    (came >= 0).then_some(control)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::clock::Now;

    #[test]
    fn what_is_sent_and_received_has_the_kernels_time() {
        let [from, to] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        from.connect(to.local_addr().unwrap()).unwrap();
        enable(from.as_fd()).unwrap();
        let before = Now::read().wall_ns;
        let left = send(from.as_fd(), b"hello").unwrap().unwrap();
        assert!((before..=Now::read().wall_ns).contains(&left), "{left}");
        let mut heard = [0; 8];
        assert_eq!(to.recv(&mut heard).unwrap(), 5);
        assert_eq!(&heard[..5], b"hello");
    }

    #[test]
    fn control_messages_that_are_cut_off_have_no_stamp() {
        let mut control = Vec::new();
        control.extend((16 + 48_u64).to_ne_bytes());
        control.extend(libc::SOL_SOCKET.to_ne_bytes());
        control.extend(libc::SCM_TIMESTAMPING.to_ne_bytes());
        control.extend([3_u64, 5, 0, 0, 0, 0].iter().flat_map(|w| w.to_ne_bytes()));
        assert_eq!(received(&control), Some(3_000_000_005));
        assert_eq!(received(&control[..40]), None);
        assert_eq!(received(&[]), None);
        control[0] = 1;
        assert_eq!(received(&control), None);
    }
}
