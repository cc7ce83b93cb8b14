//! Where media may be sent: not to control, not back into the relay, and not to an address that the relay cannot
//! reach.
//!
//! Pure. A party chooses the address in its SDP and, in the other party's packets, part of what is sent there. NG
//! trusts whoever reaches it, so no party's packets may be led to it; nor to a port of another call.

use std::net::{IpAddr, SocketAddr};

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

    /// Checks every address that a description asks to send to. `relay` is the relay's own address, once a call has
    /// told it; `given` says whether it gave a port to a live call.
    pub fn check(
        &self,
        sdp: &Sdp,
        options: &Options,
        relay: Option<IpAddr>,
        given: impl Fn(SocketAddr) -> bool,
    ) -> Result<(), NgError> {
        let asked = sdp.media.iter().filter(|media| media.relayable());
        for (rtp, rtcp) in asked.filter_map(|media| media.receives_at(options.address)) {
            for remote in [rtp, rtcp].map(|a| SocketAddr::new(a.ip().to_canonical(), a.port())) {
                if relay.is_some_and(|relay| relay.is_ipv4() != remote.is_ipv4()) {
                    return Err(NgError::Family);
                }
                if self.listeners.iter().any(|listener| reaches(remote, *listener, relay)) || given(remote) {
                    return Err(NgError::Remote);
                }
            }
        }
        Ok(())
    }
}

/// Whether a packet to `remote` could come to `listener`.
fn reaches(remote: SocketAddr, listener: SocketAddr, relay: Option<IpAddr>) -> bool {
    let (to, at) = (remote.ip(), listener.ip().to_canonical());
    let here = to.is_loopback() || relay == Some(to);
    let same = to == at || (at.is_loopback() && to.is_loopback()) || (at.is_unspecified() && here);
    remote.port() == listener.port() && same
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, port: u16, more: &str, relay: Option<&str>) -> Result<(), NgError> {
        let family = if address.contains(':') { "IP6" } else { "IP4" };
        let text = format!("v=0\r\nc=IN {family} {address}\r\nm=audio {port} RTP/AVP 8\r\n{more}");
        let listeners = ["127.0.0.1:2223", "0.0.0.0:8090", "192.0.2.9:2223"];
        let fence = Fence::new(listeners.map(|a| a.parse().unwrap()).to_vec());
        let given = |at: SocketAddr| at == "192.0.2.1:30000".parse().unwrap();
        let relay = relay.map(|r| r.parse().unwrap());
        fence.check(&Sdp::parse(&text).unwrap(), &Options::default(), relay, given)
    }

    #[test]
    fn media_is_not_led_to_control_nor_into_another_call() {
        let relay = Some("192.0.2.1");
        for (address, port, more) in [
            ("127.0.0.1", 2223, ""),
            ("127.0.0.7", 2223, ""),
            ("192.0.2.9", 2223, ""),
            ("127.0.0.1", 2222, ""),
            ("127.0.0.1", 4000, "a=rtcp:2223\r\n"),
            ("192.0.2.77", 4000, "a=rtcp:2223 IN IP4 127.0.0.1\r\n"),
            ("192.0.2.1", 8090, ""),
            ("127.0.0.1", 8090, ""),
            ("192.0.2.1", 30_000, ""),
        ] {
            assert_eq!(check(address, port, more, relay), Err(NgError::Remote), "{address}:{port} {more}");
        }
        for (address, port) in
            [("192.0.2.8", 2223), ("192.0.2.77", 8090), ("192.0.2.1", 30_002), ("0.0.0.0", 2223)]
        {
            assert_eq!(check(address, port, "", relay), Ok(()), "{address}:{port}");
        }
    }

    #[test]
    fn an_address_of_the_other_family_is_refused() {
        assert_eq!(check("2001:db8::1", 4000, "", Some("192.0.2.1")), Err(NgError::Family));
        assert_eq!(check("192.0.2.77", 4000, "", Some("2001:db8::1")), Err(NgError::Family));
        let rtcp = "a=rtcp:4001 IN IP6 2001:db8::2\r\n";
        assert_eq!(check("192.0.2.77", 4000, rtcp, Some("192.0.2.1")), Err(NgError::Family));
        assert_eq!(check("::ffff:127.0.0.1", 2223, "", Some("192.0.2.1")), Err(NgError::Remote));
        assert_eq!(check("2001:db8::1", 4000, "", None), Ok(()), "nothing is known yet");
        assert_eq!(check("2001:db8::1", 0, "", Some("192.0.2.1")), Ok(()), "nothing is sent there");
    }
}
