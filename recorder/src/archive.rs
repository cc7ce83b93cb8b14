//! Where archives lie and what their files are called.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;
use uuid::Uuid;

/// The audio: Ogg Opus, caller left, callee right.
pub const AUDIO: &str = "audio.opus";
/// The [manifest](crate::manifest::Manifest).
pub const MANIFEST: &str = "manifest.json";
/// The captured packets: the [spool](crate::spool) as it was closed.
pub const PACKETS: &str = "packets.pcapng";

/// The folder of all archives below the state directory.
pub const ARCHIVES: &str = "archive";
/// The folder of all spools below the state directory.
pub const SPOOLS: &str = "spool";

/// The folder of the recording `id`: `STATE/archive/YYYY/MM/DD/<id>`, the date (UTC) from the id's own
/// time-stamp, so that nobody needs an index. None when `id` has no time-stamp (is not a UUID v7).
pub fn folder(state: &Path, id: Uuid) -> Option<PathBuf> {
    let (seconds, _) = id.get_timestamp()?.to_unix();
    let date = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?.date();
    let day = format!("{:04}/{:02}/{:02}", date.year(), u8::from(date.month()), date.day());
    Some(state.join(ARCHIVES).join(day).join(id.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_the_ids_own() {
        // 2026-11-22T16:00:00Z = 1795363200 s = 0x01a2_05a6_f200... ms
        let id = uuid::Builder::from_unix_timestamp_millis(1_795_363_200_000, &[7; 10]).into_uuid();
        let folder = folder(Path::new("var"), id).unwrap();
        assert_eq!(folder, Path::new("var/archive/2026/11/22").join(id.to_string()));
        assert_eq!(super::folder(Path::new("var"), Uuid::nil()), None);
    }
}
