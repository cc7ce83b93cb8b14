//! A client of control's HTTP API.

#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have is null")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use ureq::Agent;

use crate::place::Place;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection with the token of one scope, or without one.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    bearer: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: String,
}

impl Client {
    /// A client without a token; `address` is where control listens.
    pub fn open(address: SocketAddr) -> Self {
        Self { agent: agent(PATIENCE), base: format!("http://{}", reachable(address)), bearer: None }
    }

    /// A client with the operator's token of this POP.
    pub fn operator(place: &Place) -> anyhow::Result<Self> {
        Self::scope(place.settings()?.control.http, &place.state, "operator")
    }

    /// The same client, for answers that may take as long as `patience`.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { agent: agent(patience), ..self }
    }

    /// A client with the token of `scope` from the state directory.
    pub fn scope(address: SocketAddr, state: &Path, scope: &str) -> anyhow::Result<Self> {
        let path = state.join("tokens").join(scope);
        let token = std::fs::read_to_string(&path).with_context(|| {
            format!("{} (control makes it at its first start; is --state right?)", path.display())
        })?;
        Ok(Self { bearer: Some(format!("Bearer {}", token.trim())), ..Self::open(address) })
    }

    /// GET, whatever the status.
    pub fn get(&self, path: &str) -> anyhow::Result<Reply> {
        let mut request = self.agent.get(self.url(path));
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        self.reply(request.call())
    }

    /// GET that must succeed.
    pub fn read(&self, path: &str) -> anyhow::Result<String> {
        self.get(path)?.success(path)
    }

    /// GET of JSON that must succeed.
    pub fn read_json(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.read(path)?)?)
    }

    /// POST that must succeed.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.agent.post(self.url(path)), path, body)
    }

    /// PUT that must succeed.
    pub fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(self.agent.put(self.url(path)), path, body)
    }

    /// DELETE that must succeed.
    pub fn delete(&self, path: &str) -> anyhow::Result<()> {
        let mut request = self.agent.delete(self.url(path));
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        self.reply(request.call())?.success(path).map(drop)
    }

    fn send(
        &self,
        mut request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        Ok(serde_json::from_str(&self.reply(request.send_json(body))?.success(path)?)?)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn reply(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Reply> {
        let mut response = result.with_context(|| format!("control at {} (control.http)", self.base))?;
        let status = response.status().as_u16();
        // Longer than any list of calls that a person would ask for.
        let body = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
        Ok(Reply { status, body })
    }
}

impl Reply {
    fn success(self, path: &str) -> anyhow::Result<String> {
        if (200..300).contains(&self.status) {
            return Ok(self.body);
        }
        let problem: Option<Value> = serde_json::from_str(&self.body).ok();
        let detail = problem.as_ref().and_then(|p| p["detail"].as_str()).unwrap_or_default();
        bail!("{path}: control answers {} {detail}", self.status)
    }
}

fn agent(patience: Duration) -> Agent {
    let config = Agent::config_builder()
        .timeout_global(Some(patience))
        .http_status_as_error(false)
        // The address is this host's own: the environment's proxy has nothing to do with it.
        .proxy(None)
        .build();
    config.into()
}

/// An address that can be connected to, for one that is listened on.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}
