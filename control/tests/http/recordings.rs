//! The dispute desk's recordings: where each stands, its manifest, and its audio, whole and in parts.

use std::path::PathBuf;

use control::moment::Moment;
use control::name::TripId;
use control::store::RecordingEntry;
use recorder::label::Codec;
use recorder::manifest::{
    self, Audio, Cause, Channel, Counts, EncodedChannel, Encoder, Gap, Manifest, Packets, SilenceCause,
    Silenced, Span, Stream,
};
use recorder::spool::Side;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::server::{Calls, Reply, Server, answered};

/// Twelve bytes of audio, and their hash in the manifests of these tests.
const AUDIO: &str = "OggS 0123456";
const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn get(server: &Server, path: &str) -> Reply {
    server.ask("GET", &format!("/v1/recordings{path}"), "dispute", &Value::Null)
}

/// A server with answered calls of T-1, one `live`; each call's pseudonym is its number in bytes.
fn served(calls: Calls, ids: &[Uuid], live: Option<Uuid>) -> Server {
    calls.live.lock().unwrap().extend(live.map(|id| answered(id, "T-1", true)));
    let server = Server::start(calls);
    for (n, id) in (0..).zip(ids) {
        let store = std::sync::Arc::clone(&server.store);
        let entry = RecordingEntry {
            id: *id,
            trip: Some(TripId::new("T-1").unwrap()),
            call: [n; 16],
            started_at: Moment::now(),
        };
        server.run(async move { store.recording_started(entry).await }).unwrap();
    }
    server
}

fn states(server: &Server) -> Vec<(Uuid, String)> {
    let listed = get(server, "?trip=T-1").expect(200);
    let one = |line: &Value| {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("id").parse().unwrap(), text("state"))
    };
    listed["recordings"].as_array().unwrap().iter().map(one).collect()
}

/// A finished archive; its folder.
fn archived(server: &Server, manifest: &Manifest) -> PathBuf {
    let folder = recorder::archive::folder(server.state(), manifest.recording).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("audio.opus"), AUDIO).unwrap();
    std::fs::write(folder.join("manifest.json"), manifest.to_bytes().unwrap()).unwrap();
    folder
}

/// The recorder has just written that all is well.
fn recorder_is_well(server: &Server) {
    std::fs::create_dir_all(server.state().join("run")).unwrap();
    std::fs::write(server.state().join("run/recorder.metrics"), "bauta_recorder_alarm 0\n").unwrap();
}

#[test]
fn a_recording_is_found_by_its_trip_and_read_when_archived() {
    let (id, live) = (Uuid::now_v7(), Uuid::now_v7());
    let server = served(Calls::default(), &[id, live], Some(live));
    let get = |path: &str| get(&server, path);
    assert_eq!(states(&server), [(id, "archiving".into()), (live, "capturing".into())]);
    assert_eq!(get(&format!("/{live}")).expect(200)["state"], "capturing");
    get(&format!("/{id}/audio")).problem(409, "not finished");
    get(&format!("/{live}/audio")).problem(409, "in progress");
    for unknown in [Uuid::now_v7().to_string(), Uuid::nil().to_string(), "..%2F..%2Fkeys".into()] {
        get(&format!("/{unknown}")).problem(404, "no such recording");
        get(&format!("/{unknown}/audio")).problem(404, "no such recording");
    }
    get("").problem(400, "trip");

    let folder = recorder::archive::folder(server.state(), id).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("audio.opus"), AUDIO).unwrap();
    get(&format!("/{id}/audio")).problem(409, "not finished");
    let manifest = manifest(id).to_bytes().unwrap();
    std::fs::write(folder.join("manifest.json"), &manifest).unwrap();
    assert_eq!(states(&server)[0].1, "archived");
    assert_eq!(get(&format!("/{id}")).1.as_bytes(), manifest, "byte for byte: it has a seal");
    let audio = get(&format!("/{id}/audio"));
    assert_eq!((audio.0, audio.1.as_str()), (200, AUDIO));

    // A link that leads to itself.
    for name in ["audio.opus", "manifest.json"] {
        std::fs::remove_file(folder.join(name)).unwrap();
        std::os::unix::fs::symlink(name, folder.join(name)).unwrap();
        let broken = get(&format!("/{id}/audio")).problem(500, "control's log");
        assert_eq!(broken["type"], "urn:bauta:problem:archive_unreadable");
        std::fs::write(folder.join("new"), &manifest).unwrap();
        std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
    }

    let calls = server.ask("GET", "/v1/calls", "operator", &Value::Null).expect(200);
    assert_eq!(calls["calls"][0]["trip"], "T-1");
    let call = server.ask("GET", &format!("/v1/calls/{live}"), "operator", &Value::Null).expect(200);
    assert_eq!(call["lane"], "uring");
    server.ask("GET", &format!("/v1/calls/{id}"), "operator", &Value::Null).problem(404, "no such call");
}

#[test]
fn what_the_recorder_has_nothing_of_is_missing_once_it_has_taken_all_that_came() {
    let [spooled, lost] = [(); 2].map(|()| Uuid::now_v7());
    let server = served(Calls { attached: true, ..Calls::default() }, &[spooled, lost], None);
    std::fs::create_dir(server.state().join("spool")).unwrap();
    std::fs::write(server.state().join("spool").join(format!("{spooled}.pcapng")), "").unwrap();
    let state = || states(&server)[1].1.clone();
    assert_eq!(
        state(),
        "archiving",
        "no recorder has been seen: it may still come and find the call in the tap"
    );
    recorder_is_well(&server);
    assert_eq!(states(&server), [(spooled, "archiving".into()), (lost, "missing".into())]);
    assert_eq!(get(&server, &format!("/{lost}")).expect(200)["state"], "missing");
    get(&server, &format!("/{lost}/audio")).problem(409, "nothing of this call");
    std::fs::write(server.state().join("run/recorder.metrics"), "bauta_recorder_alarm 1\n").unwrap();
    assert_eq!(state(), "archiving", "its disk is full: the tap holds the call");
}

#[test]
fn a_call_that_was_recorded_under_other_ids_is_found_under_all_of_them() {
    let [whole, torn, moved, second, instead] = [(); 5].map(|()| Uuid::now_v7());
    let server = served(Calls { attached: true, ..Calls::default() }, &[whole, torn, moved], None);
    recorder_is_well(&server);
    let of = |id: Uuid, n: u8, continues: Option<Uuid>| {
        let call = control::secret::hex(&[n; 16]);
        archived(&server, &Manifest { call, continues, ..manifest(id) });
    };
    of(whole, 0, None);
    of(torn, 1, None);
    of(second, 1, Some(torn));
    of(instead, 2, None);
    of(Uuid::now_v7(), 77, None);
    let want = [whole, torn, second, instead].map(|id| (id, "archived".to_owned()));
    assert_eq!(states(&server), want, "what was not written under its own id is not missing");
    let listed = get(&server, "?trip=T-1").expect(200);
    assert_eq!(listed["recordings"][2]["continues"], json!(torn));
    assert_eq!(
        (&listed["recordings"][2]["trip"], &listed["recordings"][0]["continues"]),
        (&json!("T-1"), &Value::Null)
    );
    assert_eq!(listed["recordings"][2]["call"], listed["recordings"][1]["call"]);
    assert_eq!(get(&server, &format!("/{second}")).expect(200)["continues"], json!(torn));
    assert_eq!(get(&server, &format!("/{second}/audio")).1, AUDIO);
    // A page at a time.
    let page = get(&server, &format!("?trip=T-1&limit=1&after={torn}")).expect(200);
    assert_eq!((&page["recordings"][0]["id"], &page["next"]), (&json!(second), &json!(second)));

    // The first part is lost: that it is missing is not hidden by the part that goes on from it.
    let folder = recorder::archive::folder(server.state(), torn).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    assert_eq!(states(&server)[1..3], [(torn, "missing".into()), (second, "archived".into())]);
}

#[test]
fn audio_comes_in_parts_to_who_asks_for_a_part() {
    let id = Uuid::now_v7();
    let server = served(Calls::default(), &[id], None);
    let folder = archived(&server, &manifest(id));
    let (path, token) = (format!("/v1/recordings/{id}/audio"), format!("Bearer {}", server.token("dispute")));
    let ask = |method: &str, more: &[(&str, &str)]| {
        let headers = [&[("Authorization", token.as_str())], more].concat();
        server.send_with(method, &path, &headers, "")
    };
    let tag = format!("\"{HASH}\"");
    let whole = ask("GET", &[]);
    assert_eq!((whole.0, whole.1.as_str(), whole.header("etag")), (200, AUDIO, tag.as_str()));
    assert_eq!((whole.header("accept-ranges"), whole.header("content-length")), ("bytes", "12"));
    for (range, want, span) in [
        ("bytes=0-3", "OggS", "bytes 0-3/12"),
        ("bytes=5-", "0123456", "bytes 5-11/12"),
        ("bytes=-2", "56", "bytes 10-11/12"),
    ] {
        let part = ask("GET", &[("Range", range)]);
        assert_eq!((part.0, part.1.as_str(), part.header("content-range")), (206, want, span), "{range}");
        assert_eq!((part.header("content-type"), part.header("etag")), ("audio/ogg", tag.as_str()));
        assert_eq!(part.header("content-length"), want.len().to_string());
        assert_eq!(ask("GET", &[("Range", range), ("If-Range", &tag)]).1, want);
        assert_eq!(ask("GET", &[("Range", range), ("If-Range", "\"other\"")]).1, AUDIO);
    }
    let beyond = ask("GET", &[("Range", "bytes=12-")]);
    assert_eq!(beyond.problem(416, "12 bytes")["type"], "urn:bauta:problem:range_not_satisfiable");
    assert_eq!(beyond.header("content-range"), "bytes */12");
    let same = ask("GET", &[("If-None-Match", &tag), ("Range", "bytes=0-3")]);
    assert_eq!((same.0, same.1.as_str(), same.header("etag")), (304, "", tag.as_str()));
    let head = ask("HEAD", &[("Range", "bytes=0-3")]);
    assert_eq!((head.0, head.1.as_str(), head.header("content-length")), (200, "", "12"));
    assert_eq!((head.header("accept-ranges"), head.header("etag")), ("bytes", tag.as_str()));

    // What its manifest does not vouch for has no tag, and is to be heard all the same.
    std::fs::write(folder.join("audio.opus"), "OggS").unwrap();
    let cut = ask("GET", &[("Range", "bytes=1-"), ("If-Range", &tag)]);
    assert_eq!((cut.0, cut.1.as_str(), cut.header("etag")), (200, "OggS", ""));
    assert_eq!(ask("GET", &[("Range", "bytes=1-")]).1, "ggS");
}

#[test]
fn a_manifest_of_version_1_is_served_as_it_was_written() {
    let id = Uuid::now_v7();
    let server = served(Calls::default(), &[id], None);
    let folder = archived(&server, &manifest(id));
    let mut old: Value = serde_json::from_slice(&manifest(id).to_bytes().unwrap()).unwrap();
    old["version"] = json!(1);
    old["encoder"] =
        json!({"codec": "opus", "bitrate": 16_000, "complexity": 5, "sample_rate": 8_000, "frame_ms": 20});
    for side in ["left", "right"] {
        for new in ["streams", "jitter_us", "dtmf"] {
            old[side].as_object_mut().unwrap().remove(new);
        }
    }
    for new in ["silenced", "continues"] {
        old.as_object_mut().unwrap().remove(new);
    }
    std::fs::write(folder.join("manifest.json"), old.to_string()).unwrap();
    assert_eq!(get(&server, &format!("/{id}")).expect(200), old);
}

/// What the recorder writes of a call of a second, with something of everything.
pub fn manifest(recording: Uuid) -> Manifest {
    let codec = Codec { payload_type: 8, name: "PCMA".into(), clock_rate: 8_000, channels: 1 };
    let counts = Counts { packets: 50, bytes: 8_600, lost: 2, jitter_us: 125, dtmf: 1, ..Counts::default() };
    let stream = Stream {
        stream: 0,
        ssrc: "00c0ffee".into(),
        from_ms: 0,
        to_ms: 980,
        codecs: vec!["PCMA".into()],
        counts: Counts { sources: 1, ..counts },
    };
    let channel = |side, role: &str| Channel {
        side,
        role: Some(role.into()),
        codecs: vec![codec.clone()],
        counts,
        streams: vec![stream.clone()],
    };
    let gap = |cause| Gap { side: Side::Caller, cause, from_ms: 0, to_ms: 40, packets: 2 };
    let silenced = |cause| Silenced { side: Side::Callee, cause, from_ms: 100, to_ms: 200 };
    let encoded = EncodedChannel { sample_rate: 8_000, packed: 0, encoded: 40, silent: 10 };
    let hash = HASH.to_owned();
    Manifest {
        version: manifest::VERSION,
        recording,
        call: "f3".repeat(16),
        trip: Some("T-1".into()),
        city: None,
        left: channel(Side::Caller, "driver"),
        right: channel(Side::Callee, "passenger"),
        offered_at: OffsetDateTime::from_unix_timestamp_nanos(1_795_363_200_123_456_789).ok(),
        answered_at: None,
        started_at: None,
        ended_at: None,
        ended: "closed".into(),
        duration_ms: 1_000,
        gaps: [Cause::NetworkLoss, Cause::TapOverflow, Cause::Disk, Cause::Damage].map(gap).to_vec(),
        pauses: vec![Span { from_ms: 500, to_ms: 600 }],
        silenced: [SilenceCause::Dtmf, SilenceCause::Undecoded].map(silenced).to_vec(),
        continues: None,
        audio: Audio {
            file: "audio.opus".into(),
            sha256: hash.clone(),
            bytes: AUDIO.len() as u64,
            channels: 2,
        },
        packets: Packets { file: None, sha256: hash.clone(), count: 100, file_sha256: hash, bytes: 1 },
        encoder: Encoder {
            codec: "opus".into(),
            bitrate: 16_000,
            complexity: 5,
            frame_ms: 20,
            library: "libopus 1.3".into(),
            silence_dbfs: Some(-60),
            channels: vec![encoded; 2],
        },
        software: [("recorder".to_owned(), "0.1.0".to_owned())].into(),
        notes: vec!["none".into()],
    }
}
