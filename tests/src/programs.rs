//! The programs that the tests run: ours from the target directory, others from the system.

use std::path::PathBuf;

/// One of our binaries, of the profile that the tests themselves were built with.
pub fn ours(name: &str) -> PathBuf {
    let path = target().join(name);
    assert!(
        path.is_file(),
        "{} is not built: `cargo build --workspace`, or run tools/test, which does",
        path.display()
    );
    path
}

/// `target/PROFILE` of this build.
pub fn target() -> PathBuf {
    let test = std::env::current_exe().expect("path of the running test");
    test.ancestors().nth(2).expect("target/PROFILE/deps/TEST").to_owned()
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("workspace").join(path)
}

/// Whether all of `names` are installed. If not, says which one and that the test is skipped.
pub fn installed(names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| {
        std::env::split_paths(&path)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|folder| folder.join(name).is_file())
    };
    for name in names {
        if !found(name) {
            eprintln!("SKIPPED: {name} is not installed (tools/test installs it)");
            return false;
        }
    }
    true
}

/// What a whole call needs.
pub const A_CALL: [&str; 6] = ["kamailio", "sipp", "tcpdump", "espeak-ng", "sox", "opusdec"];
