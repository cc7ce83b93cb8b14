//! Where media may be sent: not to control, and not back into the relay.
//!
//! Pure. A party chooses the address in its SDP and, in the other party's packets, part of what is sent there. NG
//! trusts whoever reaches it, so no party's packets may be led to it; nor to a port of another call.

use std::net::SocketAddr;

use relay::program::message::Interface;

use crate::ng::error::NgError;
use crate::ng::flags::Options;
use crate::sdp::Sdp;

/// What stands behind the fence.
#[derive(Debug, Clone)]
pub struct Fence {
    /// Where control listens.
    listeners: Vec<SocketAddr>,
}

impl Fence {
    /// A fence around control's own listeners.
    pub const fn new(listeners: Vec<SocketAddr>) -> Self {
        Self { listeners }
    }

    /// Checks every address that a description asks to send to. `relay` are the relay's interfaces; `given` says whether
    /// it gave a port to a live call.
    pub fn check(
        &self,
        sdp: &Sdp,
        options: &Options,
        relay: &[Interface],
        given: impl Fn(SocketAddr) -> bool,
    ) -> Result<(), NgError> {
        let asked = sdp.media.iter().filter(|media| media.relayable());
        for (rtp, rtcp) in asked.filter_map(|media| media.receives_at(options.address)) {
            for remote in [rtp, rtcp].map(|a| SocketAddr::new(a.ip().to_canonical(), a.port())) {
                let control = self.listeners.iter().any(|listener| reaches(remote, *listener, relay));
                if control || ports_at(remote, relay).any(&given) {
                    return Err(NgError::Remote);
                }
            }
        }
        Ok(())
    }
}

/// A port of the relay's as it may have been told: the relay tells of the address that the outside sees, and what it is
/// bound to behind that is reached as well.
fn ports_at(remote: SocketAddr, relay: &[Interface]) -> impl Iterator<Item = SocketAddr> {
    let addresses = relay.iter().flat_map(|interface| &interface.addresses);
    let advertised =
        addresses.filter(move |(bound, _)| *bound == remote.ip()).map(|(_, advertised)| *advertised);
    std::iter::once(remote).chain(advertised.map(move |at| SocketAddr::new(at, remote.port())))
}

/// Whether a packet to `remote` could come to `listener`.
fn reaches(remote: SocketAddr, listener: SocketAddr, relay: &[Interface]) -> bool {
    let (to, at) = (remote.ip(), listener.ip().to_canonical());
    let addresses = || relay.iter().flat_map(|interface| &interface.addresses);
    let here = to.is_loopback() || addresses().any(|(bound, advertised)| *bound == to || *advertised == to);
    let same = to == at || (at.is_loopback() && to.is_loopback()) || (at.is_unspecified() && here);
    remote.port() == listener.port() && same
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, port: u16, more: &str) -> Result<(), NgError> {
        let family = if address.contains(':') { "IP6" } else { "IP4" };
        let text = format!("v=0\r\nc=IN {family} {address}\r\nm=audio {port} RTP/AVP 8\r\n{more}");
        let listeners = ["127.0.0.1:2223", "0.0.0.0:8090", "192.0.2.9:2223"];
        let fence = Fence::new(listeners.map(|a| a.parse().unwrap()).to_vec());
        let given = |at: SocketAddr| at == "192.0.2.1:30000".parse().unwrap();
        let interface = |name: &str, bound: &str, advertised: &str| Interface {
            name: name.into(),
            addresses: vec![(bound.parse().unwrap(), advertised.parse().unwrap())],
        };
        let relay = [
            interface("inside", "10.0.0.1", "192.0.2.1"),
            interface("outside", "2001:db8::1", "2001:db8::1"),
        ];
        fence.check(&Sdp::parse(&text).unwrap(), &Options::default(), &relay, given)
    }

    #[test]
    fn media_is_not_led_to_control_nor_into_another_call() {
        for (address, port, more) in [
            ("127.0.0.1", 2223, ""),
            ("127.0.0.7", 2223, ""),
            ("192.0.2.9", 2223, ""),
            ("127.0.0.1", 2222, ""),
            ("127.0.0.1", 4000, "a=rtcp:2223\r\n"),
            ("192.0.2.77", 4000, "a=rtcp:2223 IN IP4 127.0.0.1\r\n"),
            ("192.0.2.1", 8090, ""),
            ("10.0.0.1", 8090, ""),
            ("2001:db8::1", 8090, ""),
            ("::1", 8090, ""),
            ("::ffff:127.0.0.1", 2223, ""),
            ("127.0.0.1", 8090, ""),
            ("192.0.2.1", 30_000, ""),
            ("10.0.0.1", 30_000, ""),
            ("::ffff:10.0.0.1", 30_000, ""),
        ] {
            assert_eq!(check(address, port, more), Err(NgError::Remote), "{address}:{port} {more}");
        }
        for (address, port) in [
            ("192.0.2.8", 2223),
            ("192.0.2.77", 8090),
            ("192.0.2.1", 30_002),
            ("10.0.0.1", 30_002),
            ("0.0.0.0", 2223),
            ("::2", 8090),
        ] {
            assert_eq!(check(address, port, ""), Ok(()), "{address}:{port}");
        }
    }
}
