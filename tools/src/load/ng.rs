//! A client of the NG protocol: one question at a time over a socket of its own, asked again as proxies do.
//!
//! Blocks its thread; each client of a load has its own.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use control::ng::bencode;
use control::ng::value::Value;

/// How long one try waits for its answer, as Kamailio's module does.
const TRY: Duration = Duration::from_secs(1);
/// Tries, all with one cookie: a relay that answered does nothing twice.
const TRIES: u32 = 5;
/// The longest datagram.
const LONGEST: usize = 65_536;
/// Longest text of a refusal that is kept: reports count by it.
const LONGEST_REASON: usize = 120;

/// Why a question came to nothing. Its text is what reports count it by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No answer to any try.
    #[error("no answer")]
    Silent,
    /// The relay said no; this is its reason.
    #[error("{0}")]
    Refused(String),
    /// Not an answer of this protocol.
    #[error("an answer that is no NG")]
    Unreadable,
    /// An SDP without a place for the audio.
    #[error("an SDP without an address for audio")]
    NoAddress,
    /// The route decision would not let the call be.
    #[error("no route: {0}")]
    NoRoute(String),
    /// Asked to record, and it would not.
    #[error("not recorded: {0}")]
    NotRecorded(String),
}

/// A socket towards an NG relay.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
    prefix: String,
    sequence: u64,
    buffer: Vec<u8>,
    /// Questions that were sent again.
    pub repeated: u64,
}

impl Client {
    /// A client of the relay at `address`; sends nothing yet.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let any: IpAddr =
            if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(TRY))?;
        let random = getrandom::u64().map_err(io::Error::other)?;
        Ok(Self {
            socket,
            prefix: format!("{random:016x}_"),
            sequence: 0,
            buffer: vec![0; LONGEST],
            repeated: 0,
        })
    }

    /// Asks; `result: ok` and `result: pong` are answers, all else is a fault.
    pub fn ask(&mut self, question: &Value) -> Result<Value, Fault> {
        self.sequence += 1;
        let cookie = format!("{}{} ", self.prefix, self.sequence);
        let datagram = [cookie.as_bytes(), &bencode::encode(question)].concat();
        for n in 0..TRIES {
            self.repeated += u64::from(n > 0);
            // Nobody there (any more) comes back as an error of the next call; it is asked again.
            let _ = self.socket.send(&datagram);
            if let Some(length) = self.hear(cookie.as_bytes(), Instant::now() + TRY) {
                let body = self.buffer.get(cookie.len()..length).unwrap_or_default();
                return judge(bencode::decode(body).map_err(|_| Fault::Unreadable)?);
            }
        }
        Err(Fault::Silent)
    }

    /// Waits for the answer to `cookie`; late ones to questions before are passed over.
    fn hear(&mut self, cookie: &[u8], end: Instant) -> Option<usize> {
        loop {
            match self.socket.recv(&mut self.buffer) {
                Ok(length) if self.buffer.get(..length)?.starts_with(cookie) => return Some(length),
                // Port unreachable: it may just be starting.
                Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                    std::thread::sleep((TRY / 5).min(end.saturating_duration_since(Instant::now())));
                    return None;
                }
                Err(e) if e.kind() != ErrorKind::Interrupted => return None,
                Ok(_) | Err(_) if Instant::now() >= end => return None,
                Ok(_) | Err(_) => {}
            }
        }
    }
}

/// What an answer says.
fn judge(answer: Value) -> Result<Value, Fault> {
    let text = |key: &str| answer.get(key).and_then(Value::text);
    let reason = |key: &str| text(key).unwrap_or("no reason given").chars().take(LONGEST_REASON).collect();
    match text("result") {
        Some("ok" | "pong") => Ok(answer),
        Some("error") => Err(Fault::Refused(reason("error-reason"))),
        Some("load limit") => Err(Fault::Refused(reason("message"))),
        _ => Err(Fault::Unreadable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relay that answers the first `answered` datagrams with what `reply` makes of each; its questions.
    fn relay(replies: Vec<&'static [&'static str]>) -> (SocketAddr, std::thread::JoinHandle<Vec<String>>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut heard, mut buffer) = (Vec::new(), [0; 2048]);
            for bodies in replies {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                let cookie = text.split(' ').next().unwrap().to_owned();
                for body in bodies {
                    socket.send_to(body.replace("COOKIE", &cookie).as_bytes(), from).unwrap();
                }
                heard.push(text);
            }
            heard
        });
        (address, thread)
    }

    #[test]
    fn a_lost_question_is_asked_again_with_the_same_cookie() {
        let (address, relay) = relay(vec![&[], &["COOKIE d6:result4:ponge"]]);
        let mut client = Client::open(address).unwrap();
        let answer = client.ask(&Value::dict([("command", "ping".into())])).unwrap();
        assert_eq!(answer.get("result").and_then(Value::text), Some("pong"));
        let heard = relay.join().unwrap();
        assert_eq!((heard.len(), client.repeated), (2, 1));
        assert_eq!(heard[0], heard[1]);
        assert!(heard[0].ends_with(" d7:command4:pinge"), "{}", heard[0]);
    }

    #[test]
    fn late_answers_are_passed_over_and_refusals_are_told() {
        let (address, relay) = relay(vec![
            &["late d6:result2:oke", "COOKIE d6:result5:error12:error-reason16:Ran out of portse"],
            &["COOKIE d6:result10:load limit7:message2:noe"],
            &["COOKIE x"],
        ]);
        let mut client = Client::open(address).unwrap();
        let mut ask = || client.ask(&Value::dict([("command", "offer".into())])).map(drop).unwrap_err();
        assert_eq!(ask(), Fault::Refused("Ran out of ports".into()));
        assert_eq!(ask(), Fault::Refused("no".into()));
        assert_eq!(ask(), Fault::Unreadable);
        relay.join().unwrap();
    }
}
