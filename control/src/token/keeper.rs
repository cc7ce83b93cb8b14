//! The tokens in force: checked on every request, changed by the operator.
//!
//! Called by HTTP on the runtime's thread. A change goes to the store first and into memory when the store has said
//! yes; it runs in a task of its own, so that a client that hangs up cannot leave the two apart. When a token was last
//! used is noted in memory, and saved by the sweep ([`Tokens::save_uses`]).

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::file::TokenFiles;
use super::{Scope, TokenEntry, TokenError, TokenFacts, TokenHash};
use crate::moment::Moment;
use crate::name::TokenName;
use crate::secret::random_hex;
use crate::store::{Store, StoreError};

/// Most tokens, those that have expired with them: each is compared on every request.
const MOST_TOKENS: usize = 256;
/// Longest life of a token that expires, in seconds: ten years.
const LONGEST_LIFE: u32 = 315_360_000;
/// Longest time that a token stays in force beside the one that takes its place, in seconds: a week.
const LONGEST_KEEP: u32 = 604_800;
/// Fastest pace of a token, in requests a second.
const FASTEST: u32 = 1_000_000;

/// Every token, and where it is kept.
pub struct Tokens {
    store: Arc<dyn Store>,
    files: TokenFiles,
    /// In the order of their ids, which is that of their making.
    held: Mutex<Vec<Held>>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

struct Held {
    entry: TokenEntry,
    /// Whether the store does not know yet when it was last used.
    used: bool,
}

/// Who a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer {
    /// The token's id.
    pub id: Uuid,
    /// Which routes it opens.
    pub scope: Scope,
    /// Its own pace.
    pub requests_per_second: Option<u32>,
}

/// What `POST /v1/tokens` takes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Which routes it opens.
    pub scope: Scope,
    /// Whose it is.
    pub name: TokenName,
    /// Seconds from now on that it is in force; for ever when nothing is said.
    #[serde(default)]
    pub expires_in: Option<u32>,
    /// Its own pace, from 1 to 1000000 requests a second.
    #[serde(default)]
    pub requests_per_second: Option<u32>,
}

/// Why a token is not made, rotated or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TokenChangeError {
    /// A number in the request is out of range.
    #[error("{what} must be from {from} to {to}")]
    Range {
        /// The field.
        what: &'static str,
        /// Its least value.
        from: u32,
        /// Its greatest value.
        to: u32,
    },
    /// No token has this id.
    #[error("there is no such token")]
    Unknown,
    /// It has expired: no rotation brings it back.
    #[error("the token has expired; make a new one")]
    Expired,
    /// Nobody could make tokens any more.
    #[error("this is the last operator token in force; make another one first")]
    LastOperator,
    /// Every place is taken.
    #[error("there are {MOST_TOKENS} tokens already; delete those that are not used")]
    TooMany,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl Tokens {
    /// Reads every token from the store, and gives each scope without one its first: from its file, or a new one.
    pub async fn open(state: &Path, store: Arc<dyn Store>, now: Moment) -> Result<Self, TokenError> {
        let files = TokenFiles::open(state)?;
        let mut entries = store.tokens().await?;
        for scope in Scope::ALL {
            let file = files.read(scope)?;
            let in_force = |entry: &&TokenEntry| entry.facts.scope == scope && entry.in_force(now);
            if !entries.iter().any(|entry| in_force(&entry)) {
                let first = first(&files, scope, file, &entries, now)?;
                store.put_token(first.clone()).await?;
                entries.push(first);
            } else if let Some(hash) = file.map(|token| TokenHash::of(&token))
                && !entries.iter().filter(in_force).any(|entry| entry.opens(&hash, now).into())
            {
                let path = files.shown(scope);
                tracing::warn!("{path}: holds a token that is not in force; the file may be removed");
            }
        }
        entries.sort_by_key(|entry| entry.facts.id);
        let held = entries.into_iter().map(|entry| Held { entry, used: false }).collect();
        Ok(Self { store, files, held: Mutex::new(held), changing: tokio::sync::Mutex::default() })
    }

    /// Whose token it is, if it is in force. Takes the same time whichever it is or is not.
    pub fn check(&self, token: &str, now: Moment) -> Option<Bearer> {
        let presented = TokenHash::of(token);
        let mut bearer = None;
        for held in self.held().iter_mut() {
            if held.entry.opens(&presented, now).into() {
                let facts = &mut held.entry.facts;
                if facts.last_used_at < Some(now) {
                    facts.last_used_at = Some(now);
                    held.used = true;
                }
                let requests_per_second = facts.requests_per_second;
                bearer = Some(Bearer { id: facts.id, scope: facts.scope, requests_per_second });
            }
        }
        bearer
    }

    /// Up to `most` tokens after the one with the id `after`, in the order of their making.
    pub fn page(&self, after: Option<Uuid>, most: usize, now: Moment) -> Vec<TokenFacts> {
        let held = self.held();
        let listed = held.iter().map(|held| &held.entry.facts).filter(|facts| Some(facts.id) > after);
        let mut page: Vec<TokenFacts> = listed.take(most).cloned().collect();
        for facts in &mut page {
            facts.former_until = facts.former_until.filter(|end| now < *end);
        }
        page
    }

    /// Makes a token. It is shown here and never again.
    pub async fn create(
        self: &Arc<Self>,
        wish: NewToken,
        now: Moment,
    ) -> Result<(TokenFacts, Zeroizing<String>), TokenChangeError> {
        within("expires_in", wish.expires_in.unwrap_or(1), 1, LONGEST_LIFE)?;
        within("requests_per_second", wish.requests_per_second.unwrap_or(1), 1, FASTEST)?;
        let this = Arc::clone(self);
        whole(async move {
            let _alone = this.changing.lock().await;
            if this.held().len() >= MOST_TOKENS {
                return Err(TokenChangeError::TooMany);
            }
            let token = random_hex()?;
            let mut entry = fresh(wish.scope, wish.name, &token, now);
            entry.facts.expires_at = wish.expires_in.map(|seconds| now.plus(seconds.into()));
            entry.facts.requests_per_second = wish.requests_per_second;
            this.store.put_token(entry.clone()).await?;
            let facts = entry.facts.clone();
            let mut held = this.held();
            held.push(Held { entry, used: false });
            held.sort_by_key(|held| held.entry.facts.id);
            Ok((facts, token))
        })
        .await
    }

    /// Puts a new token in the place of one. The old one stays in force for `keep_seconds`; what was kept of an earlier
    /// rotation goes now. If the scope's file holds the old token, it is given the new one.
    pub async fn rotate(
        self: &Arc<Self>,
        id: Uuid,
        keep_seconds: u32,
        now: Moment,
    ) -> Result<(TokenFacts, Zeroizing<String>), TokenChangeError> {
        within("keep_seconds", keep_seconds, 0, LONGEST_KEEP)?;
        let this = Arc::clone(self);
        whole(async move {
            let _alone = this.changing.lock().await;
            let mut entry = this.entry(id).ok_or(TokenChangeError::Unknown)?;
            if !entry.in_force(now) {
                return Err(TokenChangeError::Expired);
            }
            let (token, old) = (random_hex()?, entry.hash);
            entry.hash = TokenHash::of(&token);
            entry.former = (keep_seconds > 0).then_some(old);
            entry.facts.former_until = entry.former.map(|_| now.plus(keep_seconds.into()));
            this.store.put_token(entry.clone()).await?;
            let mut facts = entry.facts.clone();
            if let Some(held) = this.held().iter_mut().find(|held| held.entry.facts.id == id) {
                // It may have been used since.
                facts.last_used_at = held.entry.facts.last_used_at;
                held.entry = TokenEntry { facts: facts.clone(), ..entry };
            }
            let (files, scope, shown) = (this.files.clone(), facts.scope, token.clone());
            in_file(move || if files.holds(scope, &old) { files.write(scope, &shown) } else { Ok(()) }).await;
            Ok((facts, token))
        })
        .await
    }

    /// Takes a token out of force, and its file away.
    pub async fn delete(self: &Arc<Self>, id: Uuid, now: Moment) -> Result<TokenFacts, TokenChangeError> {
        let this = Arc::clone(self);
        whole(async move {
            let _alone = this.changing.lock().await;
            let entry = this.entry(id).ok_or(TokenChangeError::Unknown)?;
            let another = |held: &Held| {
                let facts = &held.entry.facts;
                facts.id != id && facts.scope == Scope::Operator && held.entry.in_force(now)
            };
            if entry.facts.scope == Scope::Operator && !this.held().iter().any(another) {
                return Err(TokenChangeError::LastOperator);
            }
            this.store.delete_token(id).await?;
            this.held().retain(|held| held.entry.facts.id != id);
            let (files, scope) = (this.files.clone(), entry.facts.scope);
            let hashes = [Some(entry.hash), entry.former];
            in_file(move || {
                let held = hashes.iter().flatten().any(|hash| files.holds(scope, hash));
                if held { files.remove(scope) } else { Ok(()) }
            })
            .await;
            Ok(entry.facts)
        })
        .await
    }

    /// Saves when tokens were last used, if any was since the last time.
    pub async fn save_uses(&self) {
        let mut uses = Vec::new();
        for held in self.held().iter_mut().filter(|held| held.used) {
            held.used = false;
            uses.extend(held.entry.facts.last_used_at.map(|at| (held.entry.facts.id, at)));
        }
        if uses.is_empty() {
            return;
        }
        if let Err(error) = self.store.tokens_used(uses.clone()).await {
            tracing::warn!(%error, "when tokens were last used is not saved; it is tried again");
            for held in self.held().iter_mut() {
                held.used |= uses.iter().any(|(id, _)| *id == held.entry.facts.id);
            }
        }
    }

    fn entry(&self, id: Uuid) -> Option<TokenEntry> {
        self.held().iter().find(|held| held.entry.facts.id == id).map(|held| held.entry.clone())
    }

    fn held(&self) -> MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first token of a scope: the one in its file, or a new one that is put there. The file comes before the store: if
/// this process ends between the two, the next start takes the file up.
fn first(
    files: &TokenFiles,
    scope: Scope,
    file: Option<Zeroizing<String>>,
    known: &[TokenEntry],
    now: Moment,
) -> Result<TokenEntry, TokenError> {
    let token = match file {
        Some(token) => {
            let hash = TokenHash::of(&token);
            match known.iter().find(|entry| entry.hash == hash || entry.former == Some(hash)) {
                None => token,
                Some(other) if other.facts.scope != scope => {
                    return Err(TokenError::Shared(files.shown(scope)));
                }
                // What has expired does not come back by a restart.
                Some(_) => made(files, scope)?,
            }
        }
        None => made(files, scope)?,
    };
    let name = TokenName::new("first").map_err(|error| StoreError::Database(error.to_string()))?;
    Ok(fresh(scope, name, &token, now))
}

fn made(files: &TokenFiles, scope: Scope) -> Result<Zeroizing<String>, TokenError> {
    let token = random_hex()?;
    files.write(scope, &token)?;
    tracing::info!("{}: holds a new token", files.shown(scope));
    Ok(token)
}

fn fresh(scope: Scope, name: TokenName, token: &str, now: Moment) -> TokenEntry {
    let facts = TokenFacts {
        id: Uuid::now_v7(),
        scope,
        name,
        created_at: now,
        expires_at: None,
        last_used_at: None,
        requests_per_second: None,
        former_until: None,
    };
    TokenEntry { facts, hash: TokenHash::of(token), former: None }
}

fn within(what: &'static str, value: u32, from: u32, to: u32) -> Result<(), TokenChangeError> {
    if (from..=to).contains(&value) { Ok(()) } else { Err(TokenChangeError::Range { what, from, to }) }
}

/// Runs a change to its end, whether or not its client stays.
async fn whole<T: Send + 'static>(
    change: impl Future<Output = Result<T, TokenChangeError>> + Send + 'static,
) -> Result<T, TokenChangeError> {
    tokio::spawn(change).await.unwrap_or_else(|_| Err(StoreError::Silent.into()))
}

/// Follows a change in a token's file. The change stands, whatever becomes of the file.
async fn in_file(work: impl FnOnce() -> Result<(), TokenError> + Send + 'static) {
    if let Ok(Err(error)) = tokio::task::spawn_blocking(work).await {
        tracing::warn!(%error, "a token's file does not follow its change");
    }
}

#[cfg(test)]
mod tests;
