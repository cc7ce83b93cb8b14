//! Requests and replies of NG: `COOKIE SP BODY`, the body bencode or JSON, the reply in the request's encoding.
//!
//! Pure. What a proxy writes in many ways is read in one place here; what is not known is tolerated and named in
//! [`Request::unused`]. Requests hold Call-IDs, tags and SDP: they have no `Debug` outside tests.

use std::net::IpAddr;

use super::error::{self, NgError};
use super::flags::{self, Options, plain};
use super::value::Value;
use super::{bencode, value};

/// Longest cookie that is answered, in bytes.
pub const MAX_COOKIE: usize = 256;

/// Encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `d…e`
    Bencode,
    /// `{…}`
    Json,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Are you there?
    Ping,
    /// Media of the side that offers.
    Offer,
    /// Media of the side that answers.
    Answer,
    /// End of a call.
    Delete,
    /// A call's counters.
    Query,
    /// Call-IDs.
    List,
    /// Resumes the tap of a recorded call. Whether a call is recorded at all, its route decision says.
    StartRecording,
    /// Pauses the tap of a recorded call: `pause recording`, and `stop recording`, with `pause=yes` or without. The
    /// recording stays one.
    PauseRecording,
    /// Keeps telephone events from the other party.
    BlockDtmf,
    /// Lets them pass again.
    UnblockDtmf,
}

impl Command {
    /// Every command.
    pub const ALL: [Self; 10] = [
        Self::Ping,
        Self::Offer,
        Self::Answer,
        Self::Delete,
        Self::Query,
        Self::List,
        Self::StartRecording,
        Self::PauseRecording,
        Self::BlockDtmf,
        Self::UnblockDtmf,
    ];

    /// Name in logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::Delete => "delete",
            Self::Query => "query",
            Self::List => "list",
            Self::StartRecording => "start_recording",
            Self::PauseRecording => "pause_recording",
            Self::BlockDtmf => "block_dtmf",
            Self::UnblockDtmf => "unblock_dtmf",
        }
    }

    fn read(name: &str) -> Option<Self> {
        Some(match plain(name).as_str() {
            "ping" => Self::Ping,
            "offer" => Self::Offer,
            "answer" => Self::Answer,
            "delete" => Self::Delete,
            "query" => Self::Query,
            "list" => Self::List,
            "start-recording" => Self::StartRecording,
            "stop-recording" | "pause-recording" => Self::PauseRecording,
            "block-dtmf" => Self::BlockDtmf,
            "unblock-dtmf" => Self::UnblockDtmf,
            _ => return None,
        })
    }
}

/// A request.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// SIP Call-ID.
    pub call_id: Option<String>,
    /// Tag of the From header.
    pub from_tag: Option<String>,
    /// Tag of the To header.
    pub to_tag: Option<String>,
    /// Names the branch of a forked call.
    pub via_branch: Option<String>,
    /// Session description.
    pub sdp: Option<String>,
    /// Everything else.
    pub options: Options,
    /// Most calls in the answer to a list.
    pub limit: usize,
    /// Keys that are not known.
    pub unused: Vec<String>,
}

/// Splits a datagram into cookie and body; none when there is no cookie, and so nothing to answer. A cookie is
/// printable ASCII, as every proxy's is. RTP and RTCP begin with a byte from 128 to 191: a party's packet is no
/// request, even where it is led here.
pub fn split(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = datagram.iter().position(|b| *b == b' ').filter(|at| (1..=MAX_COOKIE).contains(at))?;
    let (cookie, body) = (datagram.get(..space)?, datagram.get(space + 1..)?);
    cookie.iter().all(u8::is_ascii_graphic).then_some((cookie, body))
}

/// Reads a body. The encoding is the one to answer in, also when reading fails.
pub fn read(body: &[u8]) -> (Encoding, Result<Request, NgError>) {
    match body.first() {
        None => (Encoding::Bencode, Err(NgError::NoPayload)),
        Some(b'd') => {
            let value = bencode::decode(body).map_err(|_| NgError::Bencode);
            (Encoding::Bencode, value.and_then(|v| Request::read(&v)))
        }
        Some(b'{') => {
            let json = serde_json::from_slice(body).map_err(|_| NgError::Json);
            (Encoding::Json, json.and_then(|j| Request::read(&Value::from_json(j))))
        }
        Some(_) => (Encoding::Bencode, Err(NgError::Format)),
    }
}

/// The datagram that answers.
pub fn write(cookie: &[u8], encoding: Encoding, reply: &Value) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(1024);
    datagram.extend_from_slice(cookie);
    datagram.push(b' ');
    match encoding {
        Encoding::Bencode => bencode::write(reply, &mut datagram),
        Encoding::Json => datagram.extend_from_slice(reply.to_json().to_string().as_bytes()),
    }
    // It is kept for a while.
    datagram.shrink_to_fit();
    datagram
}

/// `result: ok`, to be filled.
pub fn ok() -> Value {
    Value::dict([("result", "ok".into())])
}

/// What a request that was refused is answered: `result: error` with its reason, or `result: load limit` where that is
/// why and the request `supports` it.
pub fn refusal(reason: &NgError, supports_load_limit: bool) -> Value {
    match reason {
        NgError::LoadLimit(limit) if supports_load_limit => {
            Value::dict([("result", "load limit".into()), ("message", error::load_limit(*limit).into())])
        }
        _ => error(reason),
    }
}

/// `result: error` with its reason.
pub fn error(reason: &NgError) -> Value {
    Value::dict([("result", "error".into()), ("error-reason", reason.to_string().into())])
}

impl Request {
    /// Reads a request's dictionary.
    pub fn read(value: &Value) -> Result<Self, NgError> {
        let Value::Dict(entries) = value else { return Err(NgError::Format) };
        let mut request = Self {
            command: Command::Ping,
            call_id: None,
            from_tag: None,
            to_tag: None,
            via_branch: None,
            sdp: None,
            options: Options::default(),
            limit: 32,
            unused: Vec::new(),
        };
        let mut command = None;
        let mut address = Address::default();
        for (key, value) in entries {
            match plain(key).as_str() {
                "command" => command = command.or(value.text()),
                key => request.entry(key, value, &mut address),
            }
        }
        request.options.address = address.wanted.then_some(address.received).flatten();
        request.command = Command::read(command.ok_or(NgError::NoCommand)?).ok_or(NgError::UnknownCommand)?;
        Ok(request)
    }

    fn entry(&mut self, key: &str, value: &Value, address: &mut Address) {
        let text = || value.text().filter(|t| !t.is_empty()).map(str::to_owned);
        let fill = |field: &mut Option<String>| *field = field.take().or_else(text);
        match key {
            "call-id" => fill(&mut self.call_id),
            "from-tag" => fill(&mut self.from_tag),
            "to-tag" => fill(&mut self.to_tag),
            "via-branch" => fill(&mut self.via_branch),
            "sdp" => fill(&mut self.sdp),
            "limit" => self.limit = value.int().and_then(|n| n.try_into().ok()).unwrap_or(self.limit),
            "received-from" => address.received = received_from(value),
            "rtpp-flags" => {
                for (key, value) in flags::split(value.text().unwrap_or_default()) {
                    match value {
                        Some(value) if key != "rtpp-flags" => self.entry(&key, &value, address),
                        Some(_) => {}
                        None => {
                            address.flag(&key);
                            self.options.flag(&key);
                        }
                    }
                }
            }
            _ => {
                if key == "flags" {
                    value.items().iter().filter_map(Value::text).for_each(|flag| address.flag(flag));
                }
                if !self.options.take(key, value) {
                    self.unused.push(key.to_owned());
                }
            }
        }
    }

    /// The Call-ID, or the error that says it is missing.
    pub fn call_id(&self) -> Result<&str, NgError> {
        self.call_id.as_deref().ok_or(NgError::NoCallId)
    }
}

/// `received-from` counts only together with the flag `SIP-source-address`, wherever the two stand.
#[derive(Default)]
struct Address {
    received: Option<IpAddr>,
    wanted: bool,
}

impl Address {
    fn flag(&mut self, flag: &str) {
        self.wanted |= plain(flag) == "sip-source-address";
    }
}

/// `[IP4, 192.0.2.1]`, or the address alone.
fn received_from(value: &value::Value) -> Option<IpAddr> {
    let address = |item: &value::Value| item.text()?.trim().parse().ok();
    value.items().iter().rev().find_map(address).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(json: &str) -> Request {
        read(json.as_bytes()).1.unwrap()
    }

    #[test]
    fn a_datagram_without_cookie_is_nobodys() {
        assert_eq!(split(b"cookie d7:e"), Some((&b"cookie"[..], &b"d7:e"[..])));
        assert_eq!(split(b"c "), Some((&b"c"[..], &b""[..])));
        let rtp = b"\x80\x08\x00\x01AAAABBBB d7:command4:pinge";
        for bytes in [&b""[..], b" d", b"nospace", &[b'x'; 300], rtp, b"a\tb d", "\u{e4} d".as_bytes()] {
            assert_eq!(split(bytes), None);
        }
    }

    #[test]
    fn both_encodings_say_the_same() {
        let (encoding, json) =
            read(br#"{"command":"delete","call-id":"c","from-tag":"f","flags":["fatal"]}"#);
        assert_eq!(encoding, Encoding::Json);
        let (encoding, bencode) = read(b"d8:from-tag1:f5:flagsl5:fatale7:call-id1:c7:command6:deletee");
        assert_eq!(encoding, Encoding::Bencode);
        assert_eq!(json.unwrap(), bencode.unwrap());
    }

    #[test]
    fn keys_are_understood_in_every_spelling() {
        for key in ["from-tag", "from tag", "From_Tag", "FROM-TAG"] {
            let request = request(&format!(r#"{{"command":"query","{key}":"f"}}"#));
            assert_eq!(request.from_tag.as_deref(), Some("f"), "{key}");
        }
        assert_eq!(request(r#"{"command":"start recording"}"#).command, Command::StartRecording);
        assert_eq!(request(r#"{"command":"list","limit":"7"}"#).limit, 7);
        assert_eq!(request(r#"{"command":"list","limit":7}"#).limit, 7);
    }

    #[test]
    fn the_error_says_what_is_wrong_in_the_encoding_of_the_request() {
        for (body, encoding, error) in [
            (&b""[..], Encoding::Bencode, NgError::NoPayload),
            (b"<xml>", Encoding::Bencode, NgError::Format),
            (b"d", Encoding::Bencode, NgError::Bencode),
            (b"{", Encoding::Json, NgError::Json),
            (b"{}", Encoding::Json, NgError::NoCommand),
            (b"de", Encoding::Bencode, NgError::NoCommand),
            (b"d7:command5:dance", Encoding::Bencode, NgError::Bencode),
            (b"d7:command5:dancee", Encoding::Bencode, NgError::UnknownCommand),
        ] {
            assert_eq!(read(body), (encoding, Err(error)));
        }
        assert_eq!(
            write(b"1_2", Encoding::Bencode, &error(&NgError::NoCommand)),
            b"1_2 d6:result5:error12:error-reason36:Dictionary contains no key \"command\"e"
        );
        assert_eq!(write(b"1_2", Encoding::Json, &ok()), br#"1_2 {"result":"ok"}"#);
    }

    #[test]
    fn the_source_address_counts_only_when_asked_for() {
        let with = |flags: &str| {
            let json =
                format!(r#"{{"command":"offer","received-from":["IP4","192.0.2.9"],"flags":[{flags}]}}"#);
            request(&json).options.address
        };
        assert_eq!(with("\"trust-address\""), None);
        assert_eq!(with("\"SIP source address\""), Some("192.0.2.9".parse().unwrap()));
        let json = r#"{"command":"offer","rtpp-flags":"SIP-source-address asymmetric rtcp-mux=[demux]",
                       "received from":["IP6","2001:db8::1"]}"#;
        let options = request(json).options;
        assert_eq!(options.address, Some("2001:db8::1".parse().unwrap()));
        assert_eq!(options.learning, Some(relay::program::message::Learning::Nat));
        assert!(options.mux_demux && options.mux_accept);
    }

    #[test]
    fn what_is_not_known_is_tolerated_and_named() {
        let json = r#"{"command":"offer","replace":["origin","session-connection"],"supports":["load limit"],
                       "colour":"red","ICE":"remove","TOS":"184","flags":["never-heard-of"]}"#;
        assert_eq!(request(json).unused, ["colour"]);
    }

    proptest! {
        #[test]
        fn alien_bytes_never_panic(bytes: Vec<u8>, first in prop::sample::select(&b"d{x"[..])) {
            let _ = split(&bytes);
            let _ = read(&[&[first], &bytes[..]].concat());
        }

        #[test]
        fn alien_flags_never_panic(flags: String) {
            let value = Value::dict([("command", "offer".into()), ("rtpp-flags", Value::from(flags))]);
            prop_assert!(Request::read(&value).is_ok());
        }
    }
}
