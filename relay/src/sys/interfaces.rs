//! Which network interfaces have which addresses.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Names of the interfaces that have any of `addresses`, each once; and whether it is loopback.
pub fn having(addresses: &[IpAddr]) -> io::Result<Vec<(String, bool)>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: writes a list's head into `list`, which is freed below.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut names = Vec::new();
    let mut next = list;
    // SAFETY: entries of the list, which lives until it is freed; the last one's `ifa_next` is null.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.ifa_next;
        // SAFETY: null, or an address of the family that it names.
        let address = unsafe { entry.ifa_addr.as_ref() }.and_then(|address| unsafe { ip(address) });
        if address.is_some_and(|address| addresses.contains(&address)) {
            // SAFETY: a C string that lives as long as the list.
            let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
            let found = (name, entry.ifa_flags & libc::IFF_LOOPBACK.cast_unsigned() != 0);
            if !names.contains(&found) {
                names.push(found);
            }
        }
    }
    // SAFETY: the list from above, once.
    unsafe { libc::freeifaddrs(list) };
    Ok(names)
}

#[allow(clippy::cast_ptr_alignment, reason = "the kernel's are aligned for any family")]
/// # Safety
///
/// `address` must be the beginning of an address as large as its family's are.
unsafe fn ip(address: &libc::sockaddr) -> Option<IpAddr> {
    let address = std::ptr::from_ref(address);
    // SAFETY: as large as that, and aligned.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let s = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr;
                Some(Ipv4Addr::from(u32::from_be(s)).into())
            }
            libc::AF_INET6 => {
                let s = (*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr;
                Some(Ipv6Addr::from(s).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address_and_nobody_has_one_of_documentation() {
        let local = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        assert_eq!(having(&local).unwrap(), [("lo".to_owned(), true)]);
        assert!(having(&[Ipv4Addr::new(192, 0, 2, 1).into()]).unwrap().is_empty());
    }
}
