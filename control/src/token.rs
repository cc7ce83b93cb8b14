//! Bearer tokens: one per scope, in `STATE/tokens/{business,proxy,dispute,operator}` (0600), made at first start.
//!
//! Only a token's SHA-256 is kept in memory. A token opens its own scope's routes and no other.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::secret::{random_hex, write_private};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The business back end: trips.
    Business,
    /// The SIP proxy: route decisions.
    Proxy,
    /// The dispute desk: recordings.
    Dispute,
    /// The operator: cities and calls.
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
}

/// Why tokens cannot be read or made.
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
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// The tokens in force.
pub struct Tokens {
    hashes: [(Scope, [u8; 32]); 4],
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(…)")
    }
}

impl Tokens {
    /// Reads every token, and makes those that are missing.
    pub fn open_or_make(state: &Path) -> Result<Self, TokenError> {
        let folder = state.join("tokens");
        let failed = |source| TokenError::File { path: folder.display().to_string(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let mut hashes = Scope::ALL.map(|scope| (scope, [0; 32]));
        for (scope, hash) in &mut hashes {
            let token = read_or_make(&folder.join(scope.as_str()))?;
            *hash = Sha256::digest(token.trim().as_bytes()).into();
        }
        Ok(Self { hashes })
    }

    /// The scope that `token` opens. Takes the same time for every wrong token.
    pub fn scope(&self, token: &str) -> Option<Scope> {
        let presented: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let mut found = None;
        for (scope, hash) in &self.hashes {
            let same: Choice = hash.ct_eq(&presented);
            if bool::from(same) {
                found = Some(*scope);
            }
        }
        found
    }
}

fn read_or_make(path: &Path) -> Result<Zeroizing<String>, TokenError> {
    let shown = path.display().to_string();
    let failed = |source| TokenError::File { path: shown.clone(), source };
    let token = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let mut token = random_hex().map_err(TokenError::Random)?;
            token.push('\n');
            write_private(path, token.as_bytes()).map_err(failed)?;
            token
        }
        Err(e) => return Err(failed(e)),
    };
    if fs::metadata(path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
        return Err(TokenError::Open(shown));
    }
    if token.trim().len() < 32 { Err(TokenError::Short(shown)) } else { Ok(token) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_made_once_private_and_open_their_own_scope() {
        let state = tempfile::tempdir().unwrap();
        Tokens::open_or_make(state.path()).unwrap();
        let tokens = Tokens::open_or_make(state.path()).unwrap();
        for scope in Scope::ALL {
            let path = state.path().join("tokens").join(scope.as_str());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            let token = fs::read_to_string(&path).unwrap();
            assert_eq!((token.trim().len(), tokens.scope(token.trim())), (64, Some(scope)));
            assert_eq!(tokens.scope(&token.trim()[..63]), None);
        }
        assert_eq!(tokens.scope(""), None);
        assert_eq!(fs::read_dir(state.path().join("tokens")).unwrap().count(), 4);
    }

    #[test]
    fn an_open_or_short_token_is_refused() {
        let state = tempfile::tempdir().unwrap();
        Tokens::open_or_make(state.path()).unwrap();
        let path = state.path().join("tokens/proxy");
        fs::write(&path, "secret\n").unwrap();
        assert!(matches!(Tokens::open_or_make(state.path()), Err(TokenError::Short(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Tokens::open_or_make(state.path()), Err(TokenError::Open(_))));
    }
}
