//! Media sockets: bound to one address and port, blocking (a non-blocking socket would end io_uring's multishot
//! receive at once; the other lane asks for non-blocking behaviour call by call).

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

/// Binds a UDP socket to `address` with a receive buffer of `receive_buffer` bytes (the kernel may grant less).
pub fn bind(address: SocketAddr, receive_buffer: usize) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_recv_buffer_size(receive_buffer)?;
    Ok(socket.into())
}
