//! Bearer tokens: who may call which routes of the HTTP API.
//!
//! A token is 256 random bits in hexadecimal digits. What is kept of it, in memory and in the store, is its SHA-256
//! and what it is for ([`TokenEntry`]); it is shown once, when it is made. [`Tokens`] holds those in force and changes
//! them; a change takes effect at once.
//!
//! The first token of each scope reaches the operator as a file, `STATE/tokens/{business,proxy,dispute,operator}`
//! (0600): at start, a scope that has no token in force takes up the token in its file, or makes one and writes the
//! file. From then on the store decides and the file may be removed. The other tokens are made, rotated and deleted
//! over `/v1/tokens`; a rotation rewrites the file if that holds the token, a deletion removes it.

mod file;
mod keeper;

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use uuid::Uuid;

pub use keeper::{Bearer, NewToken, TokenChangeError, Tokens};

use crate::moment::Moment;
use crate::name::TokenName;
use crate::store::StoreError;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The business back end: trips.
    Business,
    /// The SIP proxy: route decisions.
    Proxy,
    /// The dispute desk: recordings.
    Dispute,
    /// The operator: cities, calls and tokens.
    Operator,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Business, Self::Proxy, Self::Dispute, Self::Operator];

    /// The name, which is the token file's too.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Business => "business",
            Self::Proxy => "proxy",
            Self::Dispute => "dispute",
            Self::Operator => "operator",
        }
    }

    /// The scope of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

/// SHA-256 of a token. It needs no salt and no slow hash: what is hashed is random, and cannot be enumerated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of what a client presents.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// A hash as the store keeps it.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For the store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether they are the same, in the same time for all.
    fn same(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// What may be told about a token: `GET /v1/tokens` gives these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenFacts {
    /// Stays the same when the token is rotated (UUID v7).
    pub id: Uuid,
    /// Which routes it opens.
    pub scope: Scope,
    /// Whose it is.
    pub name: TokenName,
    /// When it was made first.
    pub created_at: Moment,
    /// From when on it opens nothing.
    pub expires_at: Option<Moment>,
    /// When a request last came with it; up to a sweep's time older in the store than in memory.
    pub last_used_at: Option<Moment>,
    /// Its own pace; without one `control.http_rate` holds.
    pub requests_per_second: Option<u32>,
    /// Until when the token from before the last rotation opens the same routes.
    pub former_until: Option<Moment>,
}

/// A token as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenEntry {
    /// What may be told.
    pub facts: TokenFacts,
    /// The token's hash.
    pub hash: TokenHash,
    /// The hash from before the last rotation; counts until `former_until`.
    pub former: Option<TokenHash>,
}

impl TokenEntry {
    /// Whether it opens anything at `now`.
    pub fn in_force(&self, now: Moment) -> bool {
        self.facts.expires_at.is_none_or(|end| now < end)
    }

    /// Whether `presented` is this token at `now`.
    fn opens(&self, presented: &TokenHash, now: Moment) -> Choice {
        let kept = u8::from(self.facts.former_until.is_some_and(|end| now < end));
        let former = self.former.unwrap_or(self.hash).same(presented) & Choice::from(kept);
        (self.hash.same(presented) | former) & Choice::from(u8::from(self.in_force(now)))
    }
}

/// Why tokens cannot be read or made at start.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A file or folder cannot be made or read.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others may read a token.
    #[error("{0}: is open to others; run: chmod 600 {0}")]
    Open(String),
    /// A token that can be guessed.
    #[error(
        "{0}: a token needs 32 characters or more; remove the file and a new one is made at the next start"
    )]
    Short(String),
    /// A token that would open two scopes.
    #[error("{0}: holds the token of another scope; remove the file and a new one is made at the next start")]
    Shared(String),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
