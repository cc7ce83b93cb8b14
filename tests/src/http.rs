//! A client of control's HTTP API, as a business back end, a SIP proxy or an operator would be.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::typestate::WithBody;
use ureq::{Agent, RequestBuilder};

use crate::deadline::{seconds, until};

/// One scope's client: an address and a token.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body, as text.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.body))
    }

    /// Fails unless the status is `status`.
    #[track_caller]
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "body: {}", self.body);
        self
    }
}

impl Client {
    /// A client without a token.
    pub fn open(address: SocketAddr) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self { agent: config.into(), base: format!("http://{address}"), token: None }
    }

    /// A client with the token that control keeps for `scope` in the state directory `state`.
    pub fn scope(address: SocketAddr, state: &Path, scope: &str) -> Self {
        let path = state.join("tokens").join(scope);
        let token = until("control writes its tokens", seconds(10), || std::fs::read_to_string(&path).ok());
        Self::with_token(address, &token)
    }

    /// A client with this token.
    pub fn with_token(address: SocketAddr, token: &str) -> Self {
        Self { token: Some(format!("Bearer {}", token.trim())), ..Self::open(address) }
    }

    /// GET; an error text when nobody answers.
    pub fn try_get(&self, path: &str) -> Result<Reply, String> {
        let mut request = self.agent.get(self.url(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        reply(request.call())
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        self.try_get(path).unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// POST with a JSON body; an error text when nobody answers.
    pub fn try_post(&self, path: &str, body: &Value) -> Result<Reply, String> {
        self.send(self.agent.post(self.url(path)), body)
    }

    /// POST with a JSON body.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        self.try_post(path, body).unwrap_or_else(|e| panic!("POST {path}: {e}"))
    }

    /// PUT with a JSON body.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Reply {
        self.send(self.agent.put(self.url(path)), body).unwrap_or_else(|e| panic!("PUT {path}: {e}"))
    }

    /// PATCH with a JSON body.
    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send(self.agent.patch(self.url(path)), body).unwrap_or_else(|e| panic!("PATCH {path}: {e}"))
    }

    fn send(&self, mut request: RequestBuilder<WithBody>, body: &Value) -> Result<Reply, String> {
        if let Some(token) = &self.token {
            request = request.header("Authorization", token);
        }
        reply(request.send_json(body))
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn reply(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Reply, String> {
    let mut response = result.map_err(|e| e.to_string())?;
    let status = response.status().as_u16();
    let body = response.body_mut().read_to_string().map_err(|e| e.to_string())?;
    Ok(Reply { status, body })
}
