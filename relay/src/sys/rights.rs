//! Descriptors over a Unix stream socket (`SCM_RIGHTS`): they travel with the first byte of what is sent.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Most descriptors of one message, by the kernel's rule.
pub const MAX: usize = 253;

/// Sends `bytes` (not empty, small enough to go at once) and `fds` (at most [`MAX`]).
pub fn send(link: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("more than {MAX} descriptors")));
    }
    // A thread that has made an io_uring is interrupted by its work.
    let sent = retry_on_intr(|| sendmsg(link, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL))?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Fills `bytes` with what was sent by one [`send`], and gives the descriptors that came with it.
pub fn receive(link: &UnixStream, bytes: &mut [u8]) -> io::Result<Vec<OwnedFd>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let wanted = bytes.len();
    let message = retry_on_intr(|| {
        recvmsg(link, &mut [IoSliceMut::new(bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
    })?;
    if message.bytes != wanted {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other end closed the connection"));
    }
    if message.flags.contains(rustix::net::ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost on the way: too many are open"));
    }
    let rights = ancillary.drain().filter_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    Ok(rights.flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_message_and_works() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        send(&ours, b"one", &[]).unwrap();
        send(&ours, b"two", &[far.as_fd()]).unwrap();
        drop(far);
        let mut bytes = [0; 3];
        assert!(receive(&theirs, &mut bytes).unwrap().is_empty());
        let mut fds = receive(&theirs, &mut bytes).unwrap();
        assert_eq!((bytes, fds.len()), (*b"two", 1));
        UnixStream::from(fds.remove(0)).write_all(b"hello").unwrap();
        let mut heard = String::new();
        near.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
    }

    #[test]
    fn an_end_in_the_middle_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        send(&ours, b"x", &[]).unwrap();
        drop(ours);
        assert!(receive(&theirs, &mut [0; 3]).is_err());
    }
}
