//! The SIP proxy's part: the route decision over HTTP, the media over NG.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::client::{Client, reachable};

/// Host part of the URIs; the demo sends no SIP anywhere. (A host under `.invalid` would say that there is no number.)
const HOST: &str = "pop.example";
/// Tag of the caller.
const FROM: &str = "bauta-demo-caller";
/// Tag of the callee.
const TO: &str = "bauta-demo-callee";

/// Where the call goes and what the callee is shown.
#[derive(Debug)]
pub struct Route {
    /// The callee's URI.
    pub callee: String,
    /// The From URI for the callee: the caller ID.
    pub shown: String,
    /// The From display name for the callee.
    pub display: String,
}

/// One call at a proxy.
#[derive(Debug)]
pub struct Proxy {
    http: Client,
    ng: UdpSocket,
    call: String,
    cookie: u32,
}

impl Proxy {
    /// A proxy that asks control at `ng`.
    pub fn new(http: Client, ng: SocketAddr) -> anyhow::Result<Self> {
        let ng = reachable(ng);
        let socket = UdpSocket::bind(SocketAddr::new(ng.ip(), 0))?;
        socket.connect(ng)?;
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(Self { http, ng: socket, call: call_id()?, cookie: 0 })
    }

    /// Who is behind `dialled`?
    pub fn route(&self, caller: &str, dialled: &str) -> anyhow::Result<Route> {
        let answer = ask(&self.http, &self.call, caller, dialled)?;
        let text = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let decision = &answer["bauta"];
        ensure!(decision["decision"] == "connect", "control refuses the call: {decision}");
        Ok(Route {
            callee: text("/routes/0/uri").context("the route has no URI")?,
            shown: text("/routes/0/headers/from/uri").context("the route has no From")?,
            display: text("/routes/0/headers/from/display").unwrap_or_default(),
        })
    }

    /// The caller's SDP; returns the callee's view of it.
    pub fn offer(&mut self, sdp: &str) -> anyhow::Result<String> {
        self.sdp(&json!({"command": "offer", "call-id": self.call, "from-tag": FROM, "sdp": sdp}))
    }

    /// The callee's SDP; returns the caller's view of it.
    pub fn answer(&mut self, sdp: &str) -> anyhow::Result<String> {
        self.sdp(
            &json!({"command": "answer", "call-id": self.call, "from-tag": FROM, "to-tag": TO, "sdp": sdp}),
        )
    }

    /// The call is over.
    pub fn delete(&mut self) -> anyhow::Result<()> {
        self.ng(&json!({"command": "delete", "call-id": self.call, "from-tag": FROM, "to-tag": TO})).map(drop)
    }

    fn sdp(&mut self, question: &Value) -> anyhow::Result<String> {
        let answer = self.ng(question)?;
        answer["sdp"].as_str().map(str::to_owned).context("NG answers without SDP")
    }

    /// Asks, and asks again as proxies do: the cookie stays, so control does nothing twice.
    fn ng(&mut self, question: &Value) -> anyhow::Result<Value> {
        self.cookie += 1;
        let cookie = format!("{}_{}", std::process::id(), self.cookie);
        let mut buffer = vec![0; 65_536];
        for _ in 0..6 {
            // Nobody there yet or any more comes back as an error of the next call; it is asked again.
            let _ = self.ng.send(format!("{cookie} {question}").as_bytes());
            let Ok(length) = self.ng.recv(&mut buffer) else { continue };
            let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default())?;
            let Some(body) = text.strip_prefix(&cookie) else { continue };
            let answer: Value = serde_json::from_str(body)?;
            let command = question["command"].as_str().unwrap_or_default();
            ensure!(answer["result"] == "ok", "NG {command}: {}", answer["error-reason"]);
            return Ok(answer);
        }
        let address = self.ng.peer_addr()?;
        bail!(
            "NG at {address} does not answer (control.ng; a network other than loopback belongs in control.ng_allow)"
        )
    }
}

/// `POST /v1/route`.
pub fn ask(http: &Client, call: &str, caller: &str, dialled: &str) -> anyhow::Result<Value> {
    let (from, to) = (format!("sip:{caller}@{HOST}"), format!("sip:{dialled}@{HOST}"));
    http.post("/v1/route", &json!({"call_id": call, "from": from, "to": to, "trunk": "bauta-demo"}))
}

/// A new SIP Call-ID.
pub fn call_id() -> anyhow::Result<String> {
    Ok(format!("{:016x}@{HOST}", getrandom::u64()?))
}
