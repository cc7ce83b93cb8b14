//! What the README tells a back end to do works as it stands there.

use std::process::Command;
use std::sync::Arc;

use control::moment::Moment;
use control::name::TripId;
use control::store::RecordingEntry;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::recordings::manifest;
use crate::server::{Calls, DRIVER, Server};

/// The first block in this language after `title`.
fn block(title: &str, language: &str) -> &'static str {
    let readme = include_str!("../../../README.md");
    let (_, after) = readme.split_once(title).unwrap();
    let (_, block) = after.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0
}

#[test]
fn a_back_ends_whole_integration_is_ten_lines_of_curl() {
    let script = block("## Use it from a back end", "sh");
    assert!(script.lines().count() <= 10);
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED: curl is not installed");
        return;
    }
    let server = Server::start(Calls::default());
    let id = Uuid::now_v7();
    let entry = RecordingEntry {
        id,
        trip: Some(TripId::new("T-1001").unwrap()),
        call: [0; 16],
        started_at: Moment::from_unix(1_795_363_200),
    };
    let store = Arc::clone(&server.store);
    server.run(async move { store.recording_started(entry).await }).unwrap();
    let folder = recorder::archive::folder(server.state(), id).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("audio.opus"), b"OggS").unwrap();
    std::fs::write(folder.join("manifest.json"), manifest(id).to_bytes().unwrap()).unwrap();

    let (named, rest) = script.split_once('\n').unwrap();
    assert_eq!(named, "api=http://127.0.0.1:8090 tokens=var/tokens");
    let tokens = server.state().join("tokens");
    let script = format!(
        "set -e; curl() {{ command curl -sSf \"$@\"; echo; }}\napi=http://{} tokens={} id={id}\n{rest}",
        server.address,
        tokens.display()
    );
    let run = Command::new("bash").arg("-c").arg(&script).current_dir(server.state()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let text = String::from_utf8(run.stdout).unwrap();
    let answers: Vec<Value> =
        text.split_whitespace().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [city, made, closed, recordings] = answers.as_slice() else { panic!("{text}") };
    assert_eq!(
        (&city["country"], &made["state"], &closed["state"]),
        (&json!("44"), &json!("active"), &json!("grace"))
    );
    assert_eq!(
        (&recordings["recordings"][0]["id"], &recordings["recordings"][0]["state"]),
        (&json!(id), &json!("archived"))
    );
    assert_eq!(std::fs::read(server.state().join("call.opus")).unwrap(), b"OggS");
}

#[test]
fn its_city_opens() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    std::fs::create_dir(folder.path().join("cities")).unwrap();
    std::fs::write(folder.path().join("cities/london.toml"), block("### Open a city", "toml")).unwrap();
    let server = Server::over(folder, Calls { connected: true, ..Calls::default() });
    assert_eq!(server.send("GET", "/readyz", None, "").expect(200)["city_files"], json!({"refused": 0}));
    let made = server.trip("T-1");
    let driver = &made["parties"][0];
    let connect = server.call(DRIVER, driver);
    assert_eq!(
        (&connect["decision"], &connect["consent_prompt"]),
        (&json!("connect"), &json!("this-call-is-recorded"))
    );
    server.business("POST", "/v1/trips/T-1/close", Value::Null).expect(200);
    let want =
        json!({"decision": "reject", "sip_code": 410, "reason": "trip_ended", "announcement": "trip-over"});
    assert_eq!(server.call(DRIVER, driver), want);
}
