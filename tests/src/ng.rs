//! A client of control's NG interface: one question over UDP, in JSON.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::deadline::seconds;

static COOKIE: AtomicU32 = AtomicU32::new(0);

/// Sends `question` to `address` and returns the answer; a few tries, as a proxy makes them.
#[track_caller]
pub fn ask(address: SocketAddr, question: &Value) -> Value {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("socket");
    socket.set_read_timeout(Some(seconds(1))).expect("time-out");
    let cookie = format!("t{}_{}", std::process::id(), COOKIE.fetch_add(1, Ordering::Relaxed));
    let mut buffer = vec![0; 65_536];
    for _ in 0..5 {
        socket.send_to(format!("{cookie} {question}").as_bytes(), address).expect("send");
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let text = std::str::from_utf8(&buffer[..length]).expect("UTF-8");
        let body = text.strip_prefix(&cookie).unwrap_or_else(|| panic!("another cookie: {text}"));
        return serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {text}"));
    }
    panic!("NG at {address} does not answer");
}

/// How many calls control knows of.
#[track_caller]
pub fn calls(address: SocketAddr) -> usize {
    let answer = ask(address, &json!({"command": "list"}));
    answer["calls"].as_array().unwrap_or_else(|| panic!("no list: {answer}")).len()
}

/// How many of them have been answered: both parties' tags are known.
#[track_caller]
pub fn answered(address: SocketAddr) -> usize {
    let list = ask(address, &json!({"command": "list"}));
    let calls = list["calls"].as_array().unwrap_or_else(|| panic!("no list: {list}"));
    let has_both = |call: &&Value| {
        let answer = ask(address, &json!({"command": "query", "call-id": call}));
        answer["tags"].as_object().is_some_and(|tags| tags.len() == 2)
    };
    calls.iter().filter(has_both).count()
}
