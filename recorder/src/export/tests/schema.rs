//! The JSON Schemas describe what is written, all of it and nothing else.

use serde_json::{Map, Value};
use time::macros::datetime;
use uuid::Uuid;

use super::super::manifest::{self as exports, Kind, Mix, Original, Range, Wav};
use super::{NOW, encoded};
use crate::label::Codec;
use crate::manifest::{
    Audio, Cause, Channel, Counts, Encoder, Gap, Manifest, Packets, SCHEMA, SilenceCause, Silenced, Span,
    Stream, VERSION,
};
use crate::spool::Side;

/// A manifest with something in every field. It names them all, so that a new field must be put in here, and
/// then into the schema.
pub fn archived() -> Manifest {
    let counts = Counts {
        packets: 100,
        bytes: 17_200,
        lost: 1,
        late: 2,
        duplicates: 3,
        reordered: 4,
        undecoded: 5,
        jumps: 6,
        sources: 1,
        jitter_us: 70,
        dtmf: 8,
    };
    let channel = |side, role: &str| Channel {
        side,
        role: Some(role.into()),
        codecs: vec![Codec { payload_type: 8, name: "PCMA".into(), clock_rate: 8000, channels: 1 }],
        counts,
        streams: vec![Stream {
            stream: 0,
            ssrc: "0000002a".into(),
            from_ms: 0,
            to_ms: 2_000,
            codecs: vec!["PCMA".into()],
            counts,
        }],
    };
    let hash = "0123456789abcdef".repeat(4);
    Manifest {
        version: VERSION,
        recording: Uuid::from_u128(0x019a_b6c2_4f1e_7d3a_9c55_0123_4567_89ab),
        call: "5f1c".into(),
        trip: Some("T-1".into()),
        city: Some("london".into()),
        left: channel(Side::Caller, "driver"),
        right: channel(Side::Callee, "passenger"),
        offered_at: Some(datetime!(2026-11-22 15:59:50 UTC)),
        answered_at: Some(datetime!(2026-11-22 15:59:59.5 UTC)),
        started_at: Some(datetime!(2026-11-22 16:00:00 UTC)),
        ended_at: Some(datetime!(2026-11-22 16:00:05 UTC)),
        ended: "bye".into(),
        duration_ms: 5_000,
        gaps: vec![gap(Cause::NetworkLoss)],
        pauses: vec![Span { from_ms: 600, to_ms: 800 }],
        silenced: vec![silenced(SilenceCause::Dtmf)],
        audio: Audio { file: "audio.opus".into(), sha256: hash.clone(), bytes: 1, channels: 2 },
        packets: Packets {
            file: Some("packets.pcapng".into()),
            sha256: hash.clone(),
            count: 200,
            file_sha256: hash,
            bytes: 40_000,
        },
        encoder: Encoder {
            codec: "opus".into(),
            bitrate: 16_000,
            complexity: 5,
            frame_ms: 20,
            library: "libopus 1.5.2".into(),
            silence_dbfs: Some(-70),
            channels: vec![encoded(8_000); 2],
        },
        continues: Some(Uuid::from_u128(1)),
        software: [("bauta-recorder".into(), "0.1.0".into())].into(),
        notes: vec!["a note".into()],
    }
}

/// The same of an export.
fn exported() -> exports::Manifest {
    let hash = "0123456789abcdef".repeat(4);
    exports::Manifest {
        version: exports::VERSION,
        kind: Kind::Export,
        original: Original {
            recording: Uuid::from_u128(1),
            manifest_sha256: hash.clone(),
            audio_sha256: hash.clone(),
            duration_ms: 5_000,
            failures: vec!["audio.opus: gone".into()],
        },
        range: Range { from_ms: 1_000, to_ms: 2_000, from_at: Some(NOW), to_at: None },
        wav: Wav {
            file: "call.wav".into(),
            sha256: hash,
            bytes: 32_044,
            samples: 8_000,
            sample_rate: 8_000,
            bits: 16,
            channels: 2,
            mix: Mix::CallerLeftCalleeRight,
            roles: [Some("driver".into()), None],
        },
        gaps: vec![gap(Cause::Disk)],
        pauses: vec![Span { from_ms: 600, to_ms: 800 }],
        silenced: vec![silenced(SilenceCause::Undecoded)],
        created_at: NOW,
        software: [("bauta".into(), "0.1.0".into())].into(),
        notes: vec!["a note".into()],
    }
}

fn gap(cause: Cause) -> Gap {
    Gap { side: Side::Caller, cause, from_ms: 100, to_ms: 140, packets: 2 }
}

fn silenced(cause: SilenceCause) -> Silenced {
    Silenced { side: Side::Callee, cause, from_ms: 100, to_ms: 140 }
}

fn rules(schema: &str) -> (Value, jsonschema::Validator) {
    let schema: Value = serde_json::from_str(schema).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    let rules = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    (schema, rules)
}

/// Panics with all that `schema` does not allow in the file `bytes`.
pub fn fits(schema: &str, bytes: &[u8]) {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    let (_, rules) = rules(schema);
    let errors: Vec<_> = rules.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// Every object in `value`, by its JSON pointer.
fn objects(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.push(at.to_owned());
            members.iter().for_each(|(key, member)| objects(member, &format!("{at}/{key}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| objects(item, &format!("{at}/{n}"), found));
        }
        _ => {}
    }
}

/// Every schema under `properties`, by its name.
fn properties<'a>(schema: &'a Value, found: &mut Vec<(&'a str, &'a Value)>) {
    match schema {
        Value::Object(members) => {
            for (key, member) in members {
                if let ("properties", Value::Object(each)) = (key.as_str(), member) {
                    found.extend(each.iter().map(|(name, one)| (name.as_str(), one)));
                }
                properties(member, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| properties(item, found)),
        _ => {}
    }
}

/// The schema takes `bytes`, and not the same with a field more or a field less, wherever.
fn exact(schema: &str, bytes: &[u8], optional: &[&str]) {
    fits(schema, bytes);
    let (schema, rules) = rules(schema);
    let whole: Value = serde_json::from_slice(bytes).unwrap();
    let mut places = Vec::new();
    objects(&whole, "", &mut places);
    let members = |value: &mut Value, at: &str, change: &dyn Fn(&mut Map<String, Value>)| {
        change(value.pointer_mut(at).and_then(Value::as_object_mut).unwrap());
    };
    for at in places.iter().filter(|at| *at != "/software") {
        let mut more = whole.clone();
        members(&mut more, at, &|m| drop(m.insert("surprise".into(), 1.into())));
        assert!(!rules.is_valid(&more), "a new field in {at} is not noticed");
        let names: Vec<_> = whole.pointer(at).unwrap().as_object().unwrap().keys().cloned().collect();
        for name in names {
            let mut less = whole.clone();
            members(&mut less, at, &|m| drop(m.remove(&name)));
            assert_eq!(rules.is_valid(&less), optional.contains(&name.as_str()), "{at}/{name} is gone");
        }
    }
    let mut found = Vec::new();
    properties(&schema, &mut found);
    assert!(found.len() > 30);
    for (name, property) in found {
        let text = property["description"].as_str().unwrap_or_default();
        assert!(text.len() > 10, "{name} is not described");
        for (ending, unit) in
            [("_ms", "millisecond"), ("_us", "microsecond"), ("_at", "UTC"), ("bytes", "byte")]
        {
            let said = text.to_lowercase().contains(&unit.to_lowercase());
            assert!(!name.ends_with(ending) || said, "{name}: its unit is not said");
        }
    }
}

#[test]
fn the_archives_schema_is_the_manifest() {
    exact(SCHEMA, &archived().to_bytes().unwrap(), &["continues"]);
    // As empty as it may be.
    let mut bare = archived();
    for channel in [&mut bare.left, &mut bare.right] {
        (channel.role, channel.codecs, channel.streams) = (None, vec![], vec![]);
    }
    (bare.trip, bare.city, bare.continues, bare.packets.file) = (None, None, None, None);
    (bare.offered_at, bare.answered_at, bare.started_at, bare.ended_at) = (None, None, None, None);
    (bare.gaps, bare.pauses, bare.silenced, bare.notes) = (vec![], vec![], vec![], vec![]);
    (bare.encoder.silence_dbfs, bare.encoder.channels) = (None, vec![]);
    fits(SCHEMA, &bare.to_bytes().unwrap());
}

#[test]
fn the_exports_schema_is_its_manifest() {
    exact(exports::SCHEMA, &exported().to_bytes().unwrap(), &[]);
}

#[test]
fn the_schemas_know_every_cause() {
    let mut manifest = archived();
    // A cause that is missing here does not compile below.
    let causes = [Cause::NetworkLoss, Cause::TapOverflow, Cause::Disk, Cause::Damage];
    let silences = [SilenceCause::Dtmf, SilenceCause::Undecoded];
    for cause in causes {
        match cause {
            Cause::NetworkLoss | Cause::TapOverflow | Cause::Disk | Cause::Damage => {}
        }
    }
    for cause in silences {
        match cause {
            SilenceCause::Dtmf | SilenceCause::Undecoded => {}
        }
    }
    (manifest.gaps, manifest.silenced) = (causes.map(gap).into(), silences.map(silenced).into());
    fits(SCHEMA, &manifest.to_bytes().unwrap());
    let mut export = exported();
    (export.gaps, export.silenced) = (causes.map(gap).into(), silences.map(silenced).into());
    export.wav.mix = Mix::HalfOfEach;
    fits(exports::SCHEMA, &export.to_bytes().unwrap());
}

#[test]
fn a_manifest_is_read_back_as_it_was() {
    let manifest = archived();
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes().unwrap()).unwrap(), manifest);
    let later = Manifest { version: VERSION + 1, ..manifest };
    let refused = Manifest::from_bytes(&later.to_bytes().unwrap()).unwrap_err().to_string();
    assert_eq!(refused, "manifest version 3; this software reads up to 2");
    let export = exports::Manifest { version: 9, ..exported() };
    let refused = exports::Manifest::from_bytes(&export.to_bytes().unwrap()).unwrap_err().to_string();
    assert_eq!(refused, "manifest version 9; this software reads up to 1");
}

/// A call of two seconds that the archiver made an archive of: what it writes fits, and can be exported.
#[cfg(feature = "capture")]
#[test]
fn what_the_archiver_writes_fits_and_is_exported() {
    use crate::export::{Request, export, manifest_of};
    use crate::label::Label;
    use crate::spool::{self, Event, EventKind, Origin};
    use bytes::{BufMut, BytesMut};
    use std::sync::atomic::AtomicBool;

    let state = tempfile::tempdir().unwrap();
    let label = Label { ended: Some("bye".into()), ..Label::new(Uuid::now_v7()) };
    let origin = Origin { epoch: 1, ring: 0, call: 2 };
    let start = 1_795_363_200_000_000_000;
    let mut bytes = BytesMut::new();
    spool::header(&mut bytes);
    let event = |bytes: &mut BytesMut, position, ms: u64, kind| {
        let (at_ns, label) = (start + ms * 1_000_000, Some(label.clone()));
        spool::write_event(
            bytes,
            &Event { origin, position, at_ns, kind, label, continues: None, note: None },
        );
    };
    event(&mut bytes, 1, 0, EventKind::Open);
    for n in (0..100_u16).filter(|n| !(40..45).contains(n)) {
        let mut rtp = BytesMut::new();
        rtp.put_slice(&[0x80, 8]);
        rtp.put_u16(n);
        rtp.put_u32(u32::from(n) * 160);
        rtp.put_u32(42);
        rtp.put_slice(&[n as u8; 160]);
        let (at_ns, position) = (start + u64::from(n) * 20_000_000, u64::from(n) + 2);
        let packet = spool::Packet { side: Side::Caller, stream: 0, at_ns, position, dropped: 0 };
        spool::write_packet(&mut bytes, &packet, &rtp);
    }
    event(&mut bytes, 200, 2_000, EventKind::Close);
    let path = state.path().join(format!("{}.pcapng", label.recording));
    std::fs::write(&path, &bytes).unwrap();
    std::fs::create_dir_all(state.path().join(crate::archive::ARCHIVES)).unwrap();

    let settings = crate::settings::Settings::default();
    let made = crate::archiver::archive(&path, state.path(), &settings, &AtomicBool::default()).unwrap();
    let (folder, manifest) = made.unwrap();
    fits(SCHEMA, &std::fs::read(folder.join(crate::archive::MANIFEST)).unwrap());
    let wav = state.path().join("call.wav");
    let request =
        Request { folder, wav, mono: true, from: None, to: None, overwrite: false, even_damaged: false };
    let exported = export(&request, NOW).unwrap().manifest;
    fits(exports::SCHEMA, &std::fs::read(manifest_of(&request.wav)).unwrap());
    assert_eq!((&exported.gaps, exported.gaps.len()), (&manifest.gaps, 1));
    assert_eq!(exported.wav.samples * 1000 / u64::from(exported.wav.sample_rate), manifest.duration_ms);
}
