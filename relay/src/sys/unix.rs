//! Unix stream sockets of the state directory.

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Listens at `path`, mode 0600, in a folder (made if need be) that only this user may enter. A socket that nobody
/// answers on any more is replaced; one that is in use is an error.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if UnixStream::connect(path).is_ok() {
        let reason = format!("another relay is running at {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, reason));
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
