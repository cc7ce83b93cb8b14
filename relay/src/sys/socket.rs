//! Media sockets: bound to one address and port, blocking (a non-blocking socket would end io_uring's multishot
//! receive at once; the other lane asks for non-blocking behaviour call by call).

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Binds a UDP socket to `address` with a receive buffer of `receive_buffer` bytes (the kernel may grant less). What it
/// sends is marked with `dscp` (0 to 63).
pub fn bind(address: SocketAddr, receive_buffer: usize, dscp: u8) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    // The upper six bits of the octet; the lower two are congestion's (RFC 2474 section 3).
    let class = u32::from(dscp) << 2;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(class)?;
    } else {
        socket.set_tos_v4(class)?;
    }
    socket.bind(&address.into())?;
    socket.set_recv_buffer_size(receive_buffer)?;
    Ok(socket.into())
}

/// The address and port that a socket is bound to.
pub fn local(socket: &OwnedFd) -> Option<SocketAddr> {
    SockRef::from(socket).local_addr().ok()?.as_socket()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_mark_what_they_send() {
        for (dscp, class) in [(46, 0xb8), (0, 0), (63, 0xfc)] {
            let bound = |address: &str| bind(address.parse().unwrap(), 65_536, dscp).unwrap();
            assert_eq!(SockRef::from(&bound("127.0.0.1:0")).tos_v4().unwrap(), class);
            assert_eq!(SockRef::from(&bound("[::1]:0")).tclass_v6().unwrap(), class);
        }
    }
}
