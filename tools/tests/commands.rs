//! Subcommands that need no running POP: `config`, `verify`, `doctor`, and refusals at start.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use recorder::archive::{AUDIO, MANIFEST};

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

/// The archive of 100 ms without packets that the recorder's own tests keep.
fn archive(folder: &Path) {
    let stored = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../recorder/schema/version-1"));
    std::fs::create_dir_all(folder).unwrap();
    for file in [AUDIO, MANIFEST] {
        std::fs::copy(stored.join(file), folder.join(file)).unwrap();
    }
}

#[test]
fn verify_tells_whole_from_changed_from_unreadable() {
    let folder = folder();
    let verify = |path: &str| bauta(folder.path(), &["verify", path]);
    archive(&folder.path().join("archive/2026/a"));
    archive(&folder.path().join("archive/2026/b"));

    let (code, said, _) = verify("archive/2026/a");
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("ok    audio.opus") && said.contains("holds: trip T-1001, 0.100 s, 1 gap"),
        "{said}"
    );
    let (code, said, _) = verify("archive");
    assert_eq!((code, said.ends_with("2 archives: all hold\n")), (0, true), "{said}");
    assert!(!said.contains("SIDE"), "{said}");

    let (b, manifest) =
        (folder.path().join("archive/2026/b"), folder.path().join("archive/2026/a/manifest.json"));
    let mut audio = std::fs::read(b.join(AUDIO)).unwrap();
    *audio.last_mut().unwrap() ^= 1;
    std::fs::write(b.join(AUDIO), audio).unwrap();
    let (code, said, _) = verify("archive");
    assert_eq!(code, 1);
    assert!(
        said.contains("FAIL  audio.opus: SHA-256 is ") && said.ends_with("2 archives: NOT all hold\n"),
        "{said}"
    );
    assert!(
        said.contains("audio.opus: damaged after 00:00:00.000: the checksum of a page does not match"),
        "{said}"
    );
    std::fs::remove_file(b.join(AUDIO)).unwrap();
    assert_eq!(verify("archive").0, 1);

    let changed = std::fs::read_to_string(&manifest).unwrap().replace("T-1001", "T-1002");
    std::fs::write(&manifest, changed).unwrap();
    let (code, said, _) = verify("archive/2026/a");
    assert_eq!((code, said.contains("FAIL  manifest.json: the seal does not match")), (1, true), "{said}");
    std::fs::remove_file(&manifest).unwrap();
    assert_eq!(verify("archive/2026/a").0, 2, "no manifest");
    assert_eq!(verify("nowhere").0, 2);
}

#[test]
fn one_archive_is_told_in_tables() {
    let folder = folder();
    archive(&folder.path().join("a"));
    let (_, said, _) = bauta(folder.path(), &["verify", "a"]);
    for line in [
        "  answered    2026-11-22 15:59:59 UTC",
        "  ended       2026-11-22 16:00:00 UTC (bye)",
        "  caller  driver     -     -     -   PCMA    5        1 (16.6 %)  0     0.0 ms",
        "  00:00:00.020  00:00:00.040  20 ms   callee  gap   1 packet forwarded, but the recorder was too far behind",
    ] {
        assert!(said.lines().any(|said| said == line), "{line} is not in:\n{said}");
    }
    let (_, said, _) = bauta(folder.path(), &["verify", "--long", "a", "a"]);
    assert_eq!(said.matches("SIDE    ROLE").count(), 2);
}

#[test]
fn the_schemas_are_printed() {
    let folder = folder();
    for (kind, title) in [("manifest", "Manifest of an archive"), ("export", "Manifest of an export")] {
        let (code, said, _) = bauta(folder.path(), &["verify", "--schema", kind]);
        let schema: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, schema["title"].as_str()), (0, Some(title)));
    }
    assert_eq!(bauta(folder.path(), &["verify"]).0, 2, "neither a path nor a schema");
}

#[test]
fn a_recording_is_exported_by_id_and_by_path_and_verified() {
    let folder = folder();
    let id = "019ab6c2-4f1e-7d3a-9c55-0123456789ab";
    let there = recorder::archive::folder(Path::new("pop"), id.parse().unwrap()).unwrap();
    archive(&folder.path().join(&there));
    let (code, said, error) =
        bauta(folder.path(), &["export", id, "--state", "pop", "--wav", "call.wav", "--from", "0.01"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(
        said.starts_with(&format!("call.wav: 00:00:00.010 to 00:00:00.100 of recording {id}\n"))
            && said.contains("caller (driver) left, callee (passenger) right; 8000 Hz, 720 samples"),
        "{said}"
    );
    let wav = hound::WavReader::open(folder.path().join("call.wav")).unwrap();
    assert_eq!((wav.spec().channels, wav.duration()), (2, 720));

    let verify = |arguments: &[&str]| bauta(folder.path(), &[&["verify"], arguments].concat());
    for path in ["call.wav", "call.wav.json"] {
        let (code, said, _) = verify(&[path, "--state", "pop"]);
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("ok    the original    is pop/archive/") && said.contains("holds: 00:00:00.010 to"),
            "{said}"
        );
        assert!(said.contains("00:00:00.010  00:00:00.030  20 ms   callee  gap"), "{said}");
    }
    let (code, said, _) = verify(&["call.wav.json"]);
    assert_eq!((code, said.contains("--    the original    not compared")), (0, true), "{said}");
    assert_eq!(verify(&["call.wav.json", "--original", "nowhere"]).0, 2);

    let path = there.to_str().unwrap();
    let (code, _, error) = bauta(folder.path(), &["export", path, "--wav", "call.wav", "--mono"]);
    assert_eq!((code, error.as_str()), (1, "bauta: call.wav exists already: it was left as it is\n"));
    let manifest = there.join(MANIFEST);
    for from in [path, manifest.to_str().unwrap()] {
        let (code, said, error) =
            bauta(folder.path(), &["export", from, "--wav", "call.wav", "--mono", "--to", "1h", "--force"]);
        assert_eq!((code, error.as_str()), (0, ""));
        assert!(
            said.contains("in one channel, half of each") && said.contains("note: the range ends"),
            "{said}"
        );
    }
    std::fs::remove_file(folder.path().join("call.wav")).unwrap();
    assert_eq!(verify(&["call.wav.json"]).0, 1, "the WAV file is gone");
}

#[test]
fn what_cannot_be_exported_says_why_and_repeats_no_number() {
    let folder = folder();
    archive(&folder.path().join("a"));
    let export = |arguments: &[&str]| {
        let (code, _, error) = bauta(folder.path(), &[&["export", "--wav", "out.wav"], arguments].concat());
        (code, error)
    };
    let (code, error) = export(&["+447700900001"]);
    assert_eq!((code, error.contains("neither an archive's folder")), (1, true), "{error}");
    assert!(!error.contains("447700900001"), "{error}");
    let (code, error) = export(&["019ab6c2-4f1e-7d3a-9c55-0123456789ab"]);
    assert_eq!(
        (code, error.contains("no recording of this id is archived: var/archive/")),
        (1, true),
        "{error}"
    );
    let (code, error) = export(&["a", "--from", "soon"]);
    assert_eq!((code, error.contains("like 00:12:03.250, 723.25 or 12m3s")), (2, true), "{error}");
    let (code, error) = export(&["a", "--from", "2026-11-22T16:00:01Z"]);
    assert_eq!((code, error.contains("the recording ends at 00:00:00.100")), (1, true), "{error}");
    let audio = folder.path().join("a").join(AUDIO);
    std::fs::write(&audio, b"not Opus").unwrap();
    let (code, error) = export(&["a"]);
    assert!(
        code == 1 && error.contains("not exported") && error.contains("it does not start as Ogg"),
        "{error}"
    );
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["a"]);
}
