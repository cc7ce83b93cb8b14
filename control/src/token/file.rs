//! Token files: `STATE/tokens/<scope>`, one line, 0600. Blocking, but of a few bytes.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Scope, TokenError, TokenHash};
use crate::secret::replace_private;

/// The folder of token files.
#[derive(Debug, Clone)]
pub(super) struct TokenFiles(PathBuf);

impl TokenFiles {
    /// Makes the folder (0700) when there is none.
    pub(super) fn open(state: &Path) -> Result<Self, TokenError> {
        let folder = state.join("tokens");
        let failed = |source| TokenError::File { path: folder.display().to_string(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        Ok(Self(folder))
    }

    pub(super) fn path(&self, scope: Scope) -> PathBuf {
        self.0.join(scope.as_str())
    }

    /// The path for a message.
    pub(super) fn shown(&self, scope: Scope) -> String {
        self.path(scope).display().to_string()
    }

    /// The token in a scope's file; none when there is no file.
    pub(super) fn read(&self, scope: Scope) -> Result<Option<Zeroizing<String>>, TokenError> {
        let path = self.path(scope);
        let failed = |source| TokenError::File { path: self.shown(scope), source };
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(TokenError::Open(self.shown(scope)));
        }
        let token = text.trim();
        if token.len() < 32 {
            return Err(TokenError::Short(self.shown(scope)));
        }
        Ok(Some(Zeroizing::new(token.to_owned())))
    }

    /// Whether a scope's file holds this token.
    pub(super) fn holds(&self, scope: Scope, token: &TokenHash) -> bool {
        self.read(scope).is_ok_and(|held| held.is_some_and(|held| TokenHash::of(&held) == *token))
    }

    /// Puts a token into a scope's file, whole or not at all.
    pub(super) fn write(&self, scope: Scope, token: &str) -> Result<(), TokenError> {
        let line = Zeroizing::new(format!("{token}\n"));
        let written = replace_private(&self.path(scope), line.as_bytes());
        written.map_err(|source| TokenError::File { path: self.shown(scope), source })
    }

    /// Removes a scope's file.
    pub(super) fn remove(&self, scope: Scope) -> Result<(), TokenError> {
        fs::remove_file(self.path(scope))
            .map_err(|source| TokenError::File { path: self.shown(scope), source })
    }
}
