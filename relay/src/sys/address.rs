//! Socket addresses as the kernel writes them, in plain bytes: no padding, no casts.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Bytes of the longest address, `sockaddr_in6`.
pub const MAX: usize = LENGTHS.1 as usize;
/// Bytes of `sockaddr_in` and of `sockaddr_in6`, as the kernel counts them.
pub const LENGTHS: (u32, u32) = (16, 28);
#[allow(clippy::cast_possible_truncation, reason = "AF_INET and AF_INET6 are small")]
const FAMILIES: (u16, u16) = (libc::AF_INET as u16, libc::AF_INET6 as u16);

/// An address in the kernel's form. Aligned as the kernel's own types are.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub struct RawAddress {
    bytes: [u8; MAX],
    length: u32,
}

impl RawAddress {
    /// No address.
    pub const EMPTY: Self = Self { bytes: [0; MAX], length: 0 };

    /// An address of no family: what a socket is connected to so that it is connected no longer.
    pub const UNSPECIFIED: Self = Self { bytes: [0; MAX], length: LENGTHS.0 };

    /// The address's first byte.
    pub const fn as_ptr(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    /// How many bytes count.
    pub const fn length(&self) -> u32 {
        self.length
    }
}

impl From<SocketAddr> for RawAddress {
    #[inline]
    fn from(address: SocketAddr) -> Self {
        let mut raw = Self::EMPTY;
        let [p0, p1] = address.port().to_be_bytes();
        match address {
            SocketAddr::V4(v4) => {
                let [f0, f1] = FAMILIES.0.to_ne_bytes();
                let [a, b, c, d] = v4.ip().octets();
                raw.bytes[..8].copy_from_slice(&[f0, f1, p0, p1, a, b, c, d]);
                raw.length = LENGTHS.0;
            }
            SocketAddr::V6(v6) => {
                let [f0, f1] = FAMILIES.1.to_ne_bytes();
                raw.bytes[..4].copy_from_slice(&[f0, f1, p0, p1]);
                raw.bytes[4..8].copy_from_slice(&v6.flowinfo().to_be_bytes());
                raw.bytes[8..24].copy_from_slice(&v6.ip().octets());
                raw.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.length = LENGTHS.1;
            }
        }
        raw
    }
}

/// Reads an address that the kernel wrote. None for a family other than IPv4 and IPv6.
#[inline]
pub fn parse(bytes: &[u8]) -> Option<SocketAddr> {
    let [f0, f1, p0, p1, rest @ ..] = bytes else { return None };
    let (family, port) = (u16::from_ne_bytes([*f0, *f1]), u16::from_be_bytes([*p0, *p1]));
    if family == FAMILIES.0 {
        let ip = Ipv4Addr::from(*rest.first_chunk::<4>()?);
        return Some(SocketAddrV4::new(ip, port).into());
    }
    if family == FAMILIES.1 {
        let (flow, rest) = rest.split_first_chunk::<4>()?;
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        let scope = rest.first_chunk::<4>()?;
        let (flow, scope) = (u32::from_be_bytes(*flow), u32::from_ne_bytes(*scope));
        return Some(SocketAddrV6::new(Ipv6Addr::from(*ip), port, flow, scope).into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went() {
        for text in ["192.0.2.7:4000", "[2001:db8::1%7]:65535", "[::1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            let raw = RawAddress::from(address);
            assert_eq!(parse(&raw.bytes[..raw.length as usize]), Some(address));
        }
        assert_eq!(parse(&[1, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse(&[2]), None);
    }
}
