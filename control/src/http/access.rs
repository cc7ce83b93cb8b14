//! Who may call which route, how often, and how often that was refused. Runs before a request's body is read.
//!
//! Bearer tokens come as RFC 6750 section 2.1 says. A token has a pace; so have wrong tokens, by the address that
//! they come from. That pace never stands in the way of a right token: behind one address there may be many clients, and
//! one that was set up wrongly must not lock out the others. So a token is always compared; beyond the pace the answer
//! to a wrong one is 429 instead of 401. What keeps tokens from being guessed is their length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::listen::Peer;
use super::problem::Problem;
use crate::metrics::{Kind, Text};
use crate::moment::Moment;
use crate::pace::{Pace, Paces};
use crate::token::{Scope, Tokens};

/// How often one address may present a wrong token and be told so.
const WRONG_TOKENS: Pace = Pace { most: 10, seconds: 60 };
/// Addresses whose wrong tokens are counted; more than that at a time push each other out.
const ADDRESSES: usize = 4_096;
/// Tokens whose paces are kept: more than there can be.
const TOKENS: usize = 512;
/// What answers are counted as.
const CLASSES: [&str; 3] = ["2xx", "4xx", "5xx"];

/// The tokens, the paces and the counters of the HTTP API.
#[derive(Debug)]
pub struct Access {
    tokens: Arc<Tokens>,
    /// Requests a second of a token that has no pace of its own.
    rate: u32,
    started: Instant,
    paces: Mutex<(Paces<Uuid>, Paces<IpAddr>)>,
    /// By scope ([`scope_index`]), then by [`CLASSES`].
    answered: [[AtomicU64; 3]; 5],
    refused: [AtomicU64; 5],
}

/// Why a request does not reach its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// It brings no token.
    Missing,
    /// Its token is not in force.
    Wrong,
    /// So is this one, and too many came from its address; one more is looked at in so many milliseconds.
    SourcePace(u64),
    /// Its token comes too often; the next may in so many milliseconds.
    TokenPace(u64),
    /// Its token opens other routes.
    OtherScope(Scope),
}

impl Refused {
    const REASONS: [&'static str; 5] =
        ["token_missing", "token_wrong", "source_pace", "token_pace", "other_scope"];

    fn index(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Wrong => 1,
            Self::SourcePace(_) => 2,
            Self::TokenPace(_) => 3,
            Self::OtherScope(_) => 4,
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Missing | Refused::Wrong => Self::new(StatusCode::UNAUTHORIZED, "unauthorized", ""),
            Refused::SourcePace(wait) => Self::too_many_requests(wait, "too many wrong tokens"),
            Refused::TokenPace(wait) => {
                Self::too_many_requests(wait, "this token's requests come faster than its pace")
            }
            Refused::OtherScope(needed) => {
                let detail = format!("this route takes the {} token", needed.as_str());
                Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
            }
        }
    }
}

impl Access {
    /// `rate` is the setting `control.http_rate`.
    pub fn new(tokens: Arc<Tokens>, rate: u32) -> Self {
        Self {
            tokens,
            rate,
            started: Instant::now(),
            paces: Mutex::new((Paces::new(TOKENS), Paces::new(ADDRESSES))),
            answered: Default::default(),
            refused: Default::default(),
        }
    }

    /// The tokens.
    pub fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Whether a request with this token, from this address, may reach a route of this scope.
    fn enter(
        &self,
        scope: Scope,
        token: &str,
        from: IpAddr,
        now: Moment,
        now_ms: u64,
    ) -> Result<(), Refused> {
        let bearer = self.tokens.check(token, now);
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bearer) = bearer else {
            let within = paces.1.take(network(from), WRONG_TOKENS, now_ms);
            return Err(within.map_or_else(Refused::SourcePace, |()| Refused::Wrong));
        };
        let pace = Pace { most: bearer.requests_per_second.unwrap_or(self.rate), seconds: 1 };
        paces.0.take(bearer.id, pace, now_ms).map_err(Refused::TokenPace)?;
        if bearer.scope == scope { Ok(()) } else { Err(Refused::OtherScope(scope)) }
    }

    /// Counts an answer to a request for a route of this scope; none: one that takes no token, or no route at all.
    pub(super) fn count(&self, scope: Option<Scope>, status: StatusCode) {
        let class = match status.as_u16() {
            ..400 => 0,
            400..500 => 1,
            500.. => 2,
        };
        let counter = self.answered.get(scope_index(scope)).and_then(|classes| classes.get(class));
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the counters.
    pub(super) fn metrics(&self, text: &mut Text) {
        const ANSWERED: &str = "bauta_http_requests_total";
        const REFUSED: &str = "bauta_http_refused_total";
        text.family(ANSWERED, Kind::Counter, "HTTP requests by the scope of their route and their status.");
        for (scope, classes) in [None].into_iter().chain(Scope::ALL.map(Some)).zip(&self.answered) {
            let scope = scope.map_or("none", Scope::as_str);
            for (class, count) in CLASSES.into_iter().zip(classes) {
                let labels = [("scope", scope), ("status", class)];
                text.sample(ANSWERED, &labels, count.load(Ordering::Relaxed));
            }
        }
        text.family(REFUSED, Kind::Counter, "HTTP requests that did not reach their route.");
        for (reason, count) in Refused::REASONS.into_iter().zip(&self.refused) {
            text.sample(REFUSED, &[("reason", reason)], count.load(Ordering::Relaxed));
        }
    }
}

/// In front of a route: lets pass who may call it, and counts.
pub(super) async fn guard(
    State((access, scope)): State<(Arc<Access>, Option<Scope>)>,
    request: Request,
    next: Next,
) -> Response {
    let entered = scope.map_or(Ok(()), |scope| {
        let token = token(request.headers()).ok_or(Refused::Missing)?;
        let from = request.extensions().get().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |Peer(from)| *from);
        let now_ms = u64::try_from(access.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        access.enter(scope, token, from, Moment::now(), now_ms)
    });
    let response = match entered {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            if let Some(counter) = access.refused.get(refused.index()) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            Problem::from(refused).into_response()
        }
    };
    access.count(scope, response.status());
    response
}

/// The bearer token in these headers.
fn token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

fn scope_index(scope: Option<Scope>) -> usize {
    match scope {
        None => 0,
        Some(Scope::Business) => 1,
        Some(Scope::Proxy) => 2,
        Some(Scope::Dispute) => 3,
        Some(Scope::Operator) => 4,
    }
}

/// What counts as one address: in IPv6 a /64, since whoever has one address of it has them all.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Keys;
    use crate::store::sqlite::Sqlite;

    const NOW: Moment = Moment::from_unix(1_000_000);
    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn access(rate: u32) -> (tempfile::TempDir, Access, impl Fn(Scope) -> String) {
        let folder = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::open_or_make(folder.path()).unwrap());
        let store = Arc::new(Sqlite::open(&folder.path().join("bauta.db"), keys).unwrap());
        let tokens = Arc::new(Tokens::open(folder.path(), store, NOW).await.unwrap());
        let files = folder.path().join("tokens");
        let token = move |scope: Scope| {
            std::fs::read_to_string(files.join(scope.as_str())).unwrap().trim().to_owned()
        };
        (folder, Access::new(tokens, rate), token)
    }

    #[tokio::test]
    async fn wrong_tokens_are_told_so_at_their_pace_and_right_ones_always_pass() {
        let (_folder, access, token) = access(100).await;
        let enter = |token: &str, from, ms| access.enter(Scope::Proxy, token, from, NOW, ms);
        for n in 0..10 {
            assert_eq!(enter("x", HERE, n), Err(Refused::Wrong));
        }
        for n in 10..50 {
            assert_eq!(enter("x", HERE, n), Err(Refused::SourcePace(6_000 - n)));
            assert_eq!(enter(&token(Scope::Proxy), HERE, n), Ok(()));
        }
        assert_eq!(enter("x", HERE, 6_000), Err(Refused::Wrong));
        // One IPv6 network is one address; another network, or a host in IPv4, pays for itself.
        let from = |n: u16, host| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, n, 0, 0, 0, host));
        for host in 0..10 {
            assert_eq!(enter("x", from(1, host), 0), Err(Refused::Wrong));
        }
        assert_eq!(enter("x", from(1, 99), 0), Err(Refused::SourcePace(6_000)));
        assert_eq!(enter("x", from(2, 0), 0), Err(Refused::Wrong));
        assert_eq!(enter("x", "192.0.2.1".parse().unwrap(), 0), Err(Refused::Wrong));
        assert_eq!(enter("x", "::ffff:127.0.0.1".parse().unwrap(), 6_000), Err(Refused::SourcePace(6_000)));
    }

    #[tokio::test]
    async fn a_token_keeps_its_pace_on_whatever_route() {
        let (_folder, access, token) = access(3).await;
        let proxy = token(Scope::Proxy);
        let enter = |scope, ms| access.enter(scope, &proxy, HERE, NOW, ms);
        assert_eq!(enter(Scope::Proxy, 0), Ok(()));
        assert_eq!(enter(Scope::Business, 0), Err(Refused::OtherScope(Scope::Business)));
        assert_eq!(enter(Scope::Proxy, 0), Ok(()));
        assert_eq!(enter(Scope::Proxy, 0), Err(Refused::TokenPace(334)));
        assert_eq!(enter(Scope::Business, 0), Err(Refused::TokenPace(334)));
        assert_eq!(access.enter(Scope::Dispute, &token(Scope::Dispute), HERE, NOW, 0), Ok(()));
        assert_eq!(enter(Scope::Proxy, 334), Ok(()));
    }

    #[test]
    fn a_bearer_token_is_read_as_rfc_6750_says() {
        let read = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            token(&headers).map(str::to_owned)
        };
        assert_eq!(read("Bearer abc"), Some("abc".into()));
        assert_eq!(read("bearer  abc "), Some("abc".into()));
        for none in ["", "Bearer", "Bearer ", "Basic abc", "abc"] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
