//! Logs and errors hold no party's number, whatever comes in.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use crate::server::{Calls, DRIVER, PASSENGER, Server};

/// Everything that is logged in this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn neither_logs_nor_errors_hold_a_number() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let server = Server::start(Calls::default());
    server.city(3);
    let made = server.trip("T-1");
    let dial = made["parties"][0]["dial"].as_str().unwrap().to_owned();
    server.route(&format!("sip:{DRIVER}@x"), &format!("sip:{dial}@pop"));
    server.route("sip:+447700900009@x", &format!("sip:{dial}@pop"));
    server.route(&format!("sip:{DRIVER}@x"), &format!("sip:{PASSENGER}@pop"));
    server.route(&format!("sip:{DRIVER}@x"), &format!("sip:{dial}@h{}", &DRIVER[1..]));
    server.trip("T-2");
    server.trip("T-3");

    let number = &DRIVER[1..];
    let mut replies = Vec::new();
    for (scope, method, path) in [
        ("business", "POST", "/v1/trips".to_owned()),
        ("business", "GET", format!("/v1/trips/{number}")),
        ("business", "GET", format!("/v1/trips?after={number}&limit={number}")),
        ("business", "GET", format!("/v1/trips?{number}=1")),
        ("business", "GET", format!("/v1/trips?state={number}")),
        ("business", "PATCH", format!("/v1/trips/{number}")),
        ("proxy", "POST", "/v1/route".to_owned()),
        ("dispute", "GET", format!("/v1/recordings/{number}")),
        ("dispute", "GET", format!("/v1/recordings/{number}/audio")),
        ("operator", "GET", format!("/v1/calls/{number}")),
        ("operator", "GET", format!("/v1/cities/{number}")),
        ("operator", "PUT", format!("/v1/cities/{number}")),
        ("operator", "GET", format!("/{number}")),
    ] {
        for body in [
            json!({ number: DRIVER }).to_string(),
            format!("\"{DRIVER}\""),
            number.to_owned(),
            json!({"trip": "T-4", "city": format!("c{number}"), "parties": [
                {"role": "driver", "phone": DRIVER}, {"role": "passenger", "phone": PASSENGER}]})
            .to_string(),
            json!({"trip": "T-4", "city": "london", "parties": [
                {"role": "driver", "phone": DRIVER}, {"role": "passenger", "phone": PASSENGER}]})
            .to_string(),
            json!({"trip": number, "city": "london", "parties": [
                {"role": number, "phone": number}, {"role": "passenger", "phone": [DRIVER]}]})
            .to_string(),
            json!({"country": number, "numbers": [number]}).to_string(),
            json!({"call_id": 1, "from": DRIVER, "to": [PASSENGER]}).to_string(),
            json!({"expires_in": DRIVER}).to_string(),
        ] {
            replies.push(server.send(method, &path, Some(&server.token(scope)), &body));
        }
    }
    // Well formed, and a number where none belongs.
    for (scope, method, path, body) in [
        ("business", "PATCH", format!("/v1/trips/{number}"), json!({"expires_in": 9}).to_string()),
        ("business", "POST", format!("/v1/trips/{number}/close"), String::new()),
        ("business", "POST", format!("/v1/trips/{number}/reopen"), String::new()),
        ("business", "PUT", format!("/v1/trips/{number}/block"), String::new()),
        ("business", "POST", format!("/v1/trips/{number}/intents"), json!({"role": "driver"}).to_string()),
        ("operator", "PUT", format!("/v1/cities/london/numbers/{DRIVER}"), json!({"state": "active"}).to_string()),
        ("operator", "PUT", format!("/v1/cities/c{number}/numbers/{dial}"), json!({"state": "active"}).to_string()),
        ("operator", "GET", format!("/v1/cities/c{number}/forecast"), String::new()),
    ] {
        let reply = server.send(method, &path, Some(&server.token(scope)), &body);
        assert_eq!(reply.0, 404, "{}", reply.1);
        replies.push(reply);
    }
    let broken = uuid::Uuid::now_v7();
    let manifest = recorder::archive::folder(server.state(), broken).unwrap().join("manifest.json");
    std::fs::create_dir_all(manifest).unwrap();
    let bearer = format!("Bearer {}", server.token("dispute"));
    let headers = [("Authorization", bearer.as_str()), ("X-Request-Id", "find-me-7f3a")];
    let failed = server.send_with("GET", &format!("/v1/recordings/{broken}"), &headers, "");
    failed.problem(500, "control's log");
    drop(server);
    let log = String::from_utf8_lossy(&log.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
    assert!(log.contains("T-1"), "the log was captured");
    let line =
        log.lines().find(|line| line.contains("find-me-7f3a")).expect("a failure is logged by its request");
    assert!(line.contains("500") && line.contains("Is a directory"), "{line}");
    for tail in [&DRIVER[6..], &PASSENGER[6..]] {
        for reply in replies.iter().filter(|reply| reply.0 >= 400) {
            assert!(!reply.1.contains(tail), "{}", reply.1);
        }
        let line = log.lines().find(|line| line.contains(tail));
        assert_eq!(line, None, "a log line holds a number");
    }
}
