//! The key that protects numbers at rest, and what is derived from it: sealing, look-up, pseudonyms.
//!
//! Owns `STATE/keys/numbers.key`: one line per key, `ID HEX`. The last line seals; sealed values name their key by
//! its id, so an older key keeps opening what it sealed. A new key is a line added at the end. The first line makes
//! look-ups and pseudonyms, and is never changed or taken away: what the store holds is found by them, so with
//! others the rule that (pool number, party) is unique would see none of it. Each use has a key of its own, derived
//! by HMAC-SHA256 from the master key. Pure after start; callable from any thread.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::number::E164;

const NONCE: usize = 24;
/// The store's file in the state directory.
pub const DATABASE: &str = "bauta.db";

/// A party's number as the store and other processes may know it: HMAC-SHA256, keyed.
pub type Lookup = [u8; 32];

/// Why keys cannot be read, or a sealed value not be opened. Never holds key or plain text.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The key file or its folder cannot be made or read.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others may read the key file.
    #[error("{0}: is open to others; run: chmod 600 {0}")]
    Open(String),
    /// The key file is not what this program wrote.
    #[error(
        "{0}: line {1} is not `ID HEX` with an id of 1-255 and 64 hexadecimal digits; restore it from a backup"
    )]
    Format(String, usize),
    /// There is a database, and not the key that its numbers are sealed and found with.
    #[error(
        "{0}: is not there, but a database is; restore the key file from a backup, or move the database away"
    )]
    Missing(String),
    /// The work was given up.
    #[error("the key was not made: control stops")]
    Interrupted,
    /// No id is left for another key.
    #[error(
        "{0}: holds 255 keys, and no more fit; take out lines of keys that seal nothing, but not the first"
    )]
    Full(String),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// The sealed value was changed, belongs to another purpose, or its key is gone.
    #[error("a sealed value does not open: it was changed, or its key (id {0}) is not in the key file")]
    Sealed(u8),
}

/// The keys in use.
pub struct Keys {
    path: PathBuf,
    /// Newest key first. Locked for as long as it takes to find one.
    rings: RwLock<Vec<Arc<Ring>>>,
    /// The key of the file's first line: it stays what it is when others are added.
    first: Arc<Ring>,
    /// One rotation at a time.
    rotating: Mutex<()>,
}

struct Ring {
    id: u8,
    seal: XChaCha20Poly1305,
    lookup: Hmac<Sha256>,
    pseudonym: Hmac<Sha256>,
}

impl Keys {
    /// Reads `STATE/keys/numbers.key`, or makes it (0600, its folder 0700) when there is none. A new key is not made
    /// beside a database: it would open nothing in it.
    pub fn open_or_make(state: &Path) -> Result<Self, SecretError> {
        let folder = state.join("keys");
        let path = folder.join("numbers.key");
        let shown = path.display().to_string();
        let failed = |source| SecretError::File { path: shown.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(e) if e.kind() == ErrorKind::NotFound && state.join(DATABASE).exists() => {
                return Err(SecretError::Missing(shown));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => make(&path).map_err(|e| match e {
                MakeError::Io(source) => failed(source),
                MakeError::Random(e) => SecretError::Random(e),
            })?,
            Err(e) => return Err(failed(e)),
        };
        if fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(SecretError::Open(shown));
        }
        let mut rings = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let ring = Ring::parse(line).ok_or_else(|| SecretError::Format(shown.clone(), index + 1))?;
            rings.insert(0, Arc::new(ring));
        }
        let first = rings.last().map(Arc::clone).ok_or(SecretError::Format(shown, 1))?;
        Ok(Self { path, rings: RwLock::new(rings), first, rotating: Mutex::default() })
    }

    /// Adds a key to the file, and seals with it from now on; returns its id. What others have sealed still opens.
    pub fn rotate(&self) -> Result<u8, SecretError> {
        let shown = self.path.display().to_string();
        let failed = |source| SecretError::File { path: shown.clone(), source };
        let _turn = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let rings = || self.rings.read().unwrap_or_else(PoisonError::into_inner);
        let id = rings().iter().map(|ring| ring.id).max().and_then(|newest| newest.checked_add(1));
        let id = id.ok_or_else(|| SecretError::Full(shown.clone()))?;
        let line = Zeroizing::new(format!("{id} {}\n", *random_hex().map_err(SecretError::Random)?));
        let ring = Ring::parse(&line).ok_or_else(|| SecretError::Format(shown.clone(), rings().len() + 1))?;
        let mut text = Zeroizing::new(fs::read_to_string(&self.path).map_err(failed)?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&line);
        // On disk before anything is sealed with it.
        replace_private(&self.path, text.as_bytes()).map_err(failed)?;
        self.rings.write().unwrap_or_else(PoisonError::into_inner).insert(0, Arc::new(ring));
        Ok(id)
    }

    /// The id of the key that seals.
    pub fn newest_id(&self) -> u8 {
        self.newest().id
    }

    /// Encrypts and authenticates `plain` for `purpose`: key id, nonce, ciphertext and tag.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, SecretError> {
        let ring = self.newest();
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(SecretError::Random)?;
        let payload = Payload { msg: plain, aad: purpose.as_bytes() };
        // Encryption fails only beyond 256 GiB.
        let text =
            ring.seal.encrypt(&XNonce::from(nonce), payload).map_err(|_| SecretError::Sealed(ring.id))?;
        let mut sealed = Vec::with_capacity(1 + NONCE + text.len());
        sealed.push(ring.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Opens what [`Self::seal`] made for the same purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let id = sealed.first().copied().unwrap_or(0);
        let refused = SecretError::Sealed(id);
        let Some((nonce, text)) = sealed.get(1..).and_then(<[u8]>::split_first_chunk::<NONCE>) else {
            return Err(refused);
        };
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        let Some(ring) = rings.iter().find(|ring| ring.id == id).map(Arc::clone) else { return Err(refused) };
        drop(rings);
        let payload = Payload { msg: text, aad: purpose.as_bytes() };
        ring.seal.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| refused)
    }

    /// A stable stand-in for `text` that nobody without the key can compute or enumerate.
    /// Different purposes give unrelated pseudonyms.
    pub fn pseudonym(&self, purpose: &str, text: &str) -> [u8; 16] {
        let mut mac = self.first.pseudonym.clone();
        mac.update(&(purpose.len() as u64).to_be_bytes());
        mac.update(purpose.as_bytes());
        mac.update(text.as_bytes());
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        whole.first_chunk().copied().unwrap_or_default()
    }

    /// The key under which the store finds a party's number: one for every form of it.
    pub fn lookup(&self, number: &E164) -> Lookup {
        let mut mac = self.first.lookup.clone();
        mac.update(number.handset().reveal().as_bytes());
        mac.finalize().into_bytes().into()
    }

    fn newest(&self) -> Arc<Ring> {
        let rings = self.rings.read().unwrap_or_else(PoisonError::into_inner);
        rings.first().map_or_else(|| Arc::clone(&self.first), Arc::clone)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Ring {
    fn parse(line: &str) -> Option<Self> {
        let (id, hex) = line.trim().split_once(' ')?;
        let id: u8 = id.parse().ok().filter(|id| *id > 0)?;
        let master = Zeroizing::new(<[u8; 32]>::try_from(&**Zeroizing::new(unhex(hex)?)).ok()?);
        let derived = |usage: &str| -> Option<Zeroizing<[u8; 32]>> {
            let mut mac = Hmac::<Sha256>::new_from_slice(&*master).ok()?;
            mac.update(usage.as_bytes());
            Some(Zeroizing::new(mac.finalize().into_bytes().into()))
        };
        Some(Self {
            id,
            seal: XChaCha20Poly1305::new_from_slice(&*derived("bauta/1/seal")?).ok()?,
            lookup: Hmac::new_from_slice(&*derived("bauta/1/lookup")?).ok()?,
            pseudonym: Hmac::new_from_slice(&*derived("bauta/1/pseudonym")?).ok()?,
        })
    }
}

enum MakeError {
    Io(std::io::Error),
    Random(getrandom::Error),
}

fn make(path: &Path) -> Result<Zeroizing<String>, MakeError> {
    let text = Zeroizing::new(format!("1 {}\n", *random_hex().map_err(MakeError::Random)?));
    write_private(path, text.as_bytes()).map_err(MakeError::Io)?;
    Ok(text)
}

/// 32 random bytes as 64 hexadecimal digits.
pub fn random_hex() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes)?;
    Ok(Zeroizing::new(hex(&*bytes)))
}

/// Makes a new file that only its owner may read, and makes sure that it is on disk. Fails when it exists.
pub fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    // Another process started at the same time must find the file whole or not at all.
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::hard_link(&draft, path)
    })();
    fs::remove_file(&draft)?;
    written?;
    sync_folder(path)
}

/// Makes sure that the name of a file is on disk.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

/// Replaces a file that only its owner may read, whole or not at all, and makes sure that it is on disk.
pub fn replace_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("next");
    // Left over when a process ended just here.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_private(&draft, content)?;
    fs::rename(&draft, path)?;
    sync_folder(path)
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(*DIGITS.get(usize::from(nibble)).unwrap_or(&b'0'));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes of hexadecimal digits; none when they are not, or an odd number.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibbles: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|n| u8::try_from(n).ok())).collect();
    let (pairs, rest) = nibbles.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number() -> E164 {
        E164::parse("+447700900001").unwrap()
    }

    #[test]
    fn the_key_file_is_private_and_kept() {
        let state = tempfile::tempdir().unwrap();
        let first = Keys::open_or_make(state.path()).unwrap();
        let path = state.path().join("keys/numbers.key");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(state.path().join("keys")).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(state.path().join("keys")).unwrap().count(), 1);

        let second = Keys::open_or_make(state.path()).unwrap();
        assert_eq!(second.lookup(&number()), first.lookup(&number()));
        let sealed = first.seal("phone", b"text").unwrap();
        assert_eq!(&**second.open("phone", &sealed).unwrap(), b"text");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Keys::open_or_make(state.path()), Err(SecretError::Open(_))));
    }

    #[test]
    fn a_newer_key_seals_and_an_older_one_still_opens() {
        let state = tempfile::tempdir().unwrap();
        let old = Keys::open_or_make(state.path()).unwrap();
        let sealed = old.seal("phone", b"text").unwrap();
        let path = state.path().join("keys/numbers.key");
        let text = format!("{}2 {}\n", fs::read_to_string(&path).unwrap(), *random_hex().unwrap());
        fs::write(&path, text).unwrap();
        let new = Keys::open_or_make(state.path()).unwrap();
        assert_eq!(&**new.open("phone", &sealed).unwrap(), b"text");
        assert_eq!(new.seal("phone", b"text").unwrap()[0], 2);
        assert_eq!(new.lookup(&number()), old.lookup(&number()), "what the store holds is found");
        assert_eq!(new.pseudonym("call-id", "x"), old.pseudonym("call-id", "x"));

        fs::write(&path, "1 abc\n").unwrap();
        assert!(matches!(Keys::open_or_make(state.path()), Err(SecretError::Format(_, 1))));
    }

    #[test]
    fn no_new_key_is_made_beside_a_database() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join(DATABASE), b"").unwrap();
        let error = Keys::open_or_make(state.path()).unwrap_err();
        assert!(matches!(error, SecretError::Missing(_)) && error.to_string().contains("numbers.key"));
        assert!(!state.path().join("keys/numbers.key").exists());
    }

    #[test]
    fn a_sealed_value_opens_for_its_purpose_only_and_unchanged() {
        let state = tempfile::tempdir().unwrap();
        let keys = Keys::open_or_make(state.path()).unwrap();
        let sealed = keys.seal("phone", b"text").unwrap();
        assert!(keys.open("blob", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(keys.open("phone", &changed).is_err(), "byte {at}");
            assert!(keys.open("phone", &sealed[..at]).is_err(), "length {at}");
        }
        assert_ne!(keys.seal("phone", b"text").unwrap(), sealed, "a nonce is never used twice");
    }

    #[test]
    fn every_form_of_a_handset_has_one_look_up_key() {
        let state = tempfile::tempdir().unwrap();
        let keys = Keys::open_or_make(state.path()).unwrap();
        let lookup = |number| keys.lookup(&E164::parse(number).unwrap());
        assert_eq!(lookup("+5215512345678"), lookup("+525512345678"));
        assert_ne!(lookup("+525512345679"), lookup("+525512345678"));
    }

    #[test]
    fn pseudonyms_are_stable_and_separate_by_purpose() {
        let state = tempfile::tempdir().unwrap();
        let keys = Keys::open_or_make(state.path()).unwrap();
        assert_eq!(keys.pseudonym("call-id", "x"), keys.pseudonym("call-id", "x"));
        assert_ne!(keys.pseudonym("call-id", "x"), keys.pseudonym("call-i", "dx"));
    }
}
