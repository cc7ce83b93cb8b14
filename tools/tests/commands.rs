//! Subcommands that need no running POP: `config`, `verify`, `doctor`, and refusals at start.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use recorder::archive::{AUDIO, MANIFEST};
use recorder::manifest::Manifest;
use sha2::{Digest, Sha256};

/// Runs `bauta` in `folder`; its exit code, standard output and standard error.
fn bauta(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bauta"));
    let Output { status, stdout, stderr } = command.args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_printed_settings_are_complete_and_valid() {
    let folder = folder();
    let (code, printed, _) = bauta(folder.path(), &["config"]);
    assert_eq!(code, 0);
    for key in [
        "[relay]",
        "ports = \"30000-39999\"",
        "[control]",
        "ng = \"127.0.0.1:2223\"",
        "http = ",
        "[recorder]",
    ] {
        assert!(printed.lines().any(|line| line.starts_with(key)), "{key} is not in:\n{printed}");
    }
    let mut before = "";
    for line in printed.lines() {
        assert!(
            !line.contains(" = ") || line.starts_with('#') || before.starts_with('#'),
            "{line} has no comment"
        );
        before = line;
    }
    std::fs::write(folder.path().join("pop.toml"), printed).unwrap();
    let (code, said, error) = bauta(folder.path(), &["config", "--check", "pop.toml"]);
    assert_eq!(
        (code, said.as_str(), error.as_str()),
        (0, "pop.toml: every setting is valid on this host\n", "")
    );
}

#[test]
fn a_bad_settings_file_is_refused_with_every_line_before_anything_starts() {
    let folder = folder();
    std::fs::write(folder.path().join("pop.toml"), "[relay]\nworker = 1\n[control]\nhttp = 8090\n").unwrap();
    for arguments in
        [&["config", "--check", "pop.toml"][..], &["run"], &["run", "--demo"], &["calls"], &["doctor"]]
    {
        let (code, said, error) = bauta(folder.path(), arguments);
        assert_eq!((code, said.as_str()), (1, ""), "{arguments:?}");
        assert!(error.contains("pop.toml:2: unknown key relay.worker; did you mean `workers`?"), "{error}");
        assert!(error.contains("pop.toml:4: control.http = 8090: expected an address and port"), "{error}");
    }
    assert!(!folder.path().join("var").exists(), "a state directory was made");
    let (code, _, error) = bauta(folder.path(), &["run", "--config", "none.toml"]);
    assert_eq!((code, error.contains("none.toml: cannot be read")), (1, true), "{error}");
}

#[test]
fn an_address_in_use_is_named_before_anything_starts() {
    let folder = folder();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let ports = tests::ports::Ports::take();
    let settings =
        format!("[control]\nng = \"{}\"\nhttp = \"{}\"\n", taken.local_addr().unwrap(), ports.http());
    std::fs::write(folder.path().join("pop.toml"), settings).unwrap();
    let (code, _, error) = bauta(folder.path(), &["run"]);
    assert_eq!(code, 1);
    assert!(error.contains("control.ng = \"127.0.0.1:") && error.contains("in use"), "{error}");
    assert!(!folder.path().join("var/run").exists(), "the relay was started");
}

#[test]
fn without_a_pop_it_is_said_what_is_missing() {
    let folder = folder();
    let ports = tests::ports::Ports::take();
    std::fs::write(folder.path().join("pop.toml"), format!("[control]\nhttp = \"{}\"\n", ports.http()))
        .unwrap();
    let (code, said, _) = bauta(folder.path(), &["doctor"]);
    assert_eq!(code, 1);
    assert!(said.contains("MISSING  control") && said.contains("MISSING  relay"), "{said}");
    let (code, _, error) = bauta(folder.path(), &["calls"]);
    assert_eq!((code, error.contains("var/tokens/operator")), (1, true), "{error}");
    let (code, _, error) = bauta(folder.path(), &["call", "../trips"]);
    assert_eq!((code, error.contains("a call's id looks like")), (1, true), "{error}");
}

/// An archive without packets.
fn archive(folder: &Path) {
    let audio = b"not really Opus, but hashed all the same";
    let hash = Sha256::digest(audio).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let side = |side: &str| {
        format!(
            r#"{{"side":"{side}","role":null,"codecs":[],"packets":1,"bytes":172,"lost":0,"late":0,"duplicates":0,
                 "reordered":0,"undecoded":0,"jumps":0,"sources":1}}"#
        )
    };
    let json = format!(
        r#"{{"version":1,"recording":"019ab6c2-4f1e-7d3a-9c55-0123456789ab","call":"x","trip":"T-1","city":null,
            "left":{},"right":{},"offered_at":null,"answered_at":null,"started_at":null,"ended_at":null,
            "ended":"hangup","duration_ms":1234,"gaps":[],"pauses":[],
            "audio":{{"file":"{AUDIO}","sha256":"{hash}","bytes":{},"channels":2}},
            "packets":{{"file":null,"sha256":"","count":2,"file_sha256":"","bytes":0}},
            "encoder":{{"codec":"opus","bitrate":16000,"complexity":5,"sample_rate":8000,"frame_ms":20}},
            "software":{{}},"notes":[]}}"#,
        side("caller"),
        side("callee"),
        audio.len(),
    );
    let manifest: Manifest = serde_json::from_str(&json).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(AUDIO), audio).unwrap();
    std::fs::write(folder.join(MANIFEST), manifest.to_bytes().unwrap()).unwrap();
}

#[test]
fn verify_tells_whole_from_changed_from_unreadable() {
    let folder = folder();
    let verify = |path: &str| bauta(folder.path(), &["verify", path]);
    archive(&folder.path().join("archive/2026/a"));
    archive(&folder.path().join("archive/2026/b"));

    let (code, said, _) = verify("archive/2026/a");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("ok    audio.opus") && said.contains("holds: trip T-1, 1.234 s, 0 gaps"), "{said}");
    let (code, said, _) = verify("archive");
    assert_eq!((code, said.ends_with("2 archives: all hold\n")), (0, true), "{said}");

    let (b, manifest) =
        (folder.path().join("archive/2026/b"), folder.path().join("archive/2026/a/manifest.json"));
    std::fs::write(b.join(AUDIO), b"Not really Opus, but hashed all the same").unwrap();
    let (code, said, _) = verify("archive");
    assert_eq!(code, 1);
    assert!(
        said.contains("FAIL  audio.opus: SHA-256 is ") && said.ends_with("2 archives: NOT all hold\n"),
        "{said}"
    );
    std::fs::remove_file(b.join(AUDIO)).unwrap();
    assert_eq!(verify("archive").0, 1);

    let changed = std::fs::read_to_string(&manifest).unwrap().replace("T-1", "T-2");
    std::fs::write(&manifest, changed).unwrap();
    let (code, said, _) = verify("archive/2026/a");
    assert_eq!((code, said.contains("FAIL  manifest.json: the seal does not match")), (1, true), "{said}");
    std::fs::remove_file(&manifest).unwrap();
    assert_eq!(verify("archive/2026/a").0, 2, "no manifest");
    assert_eq!(verify("nowhere").0, 2);
}
