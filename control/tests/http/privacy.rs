//! What is at rest: a person erased, keys rotated, copies. No number lies in any file, in whatever spelling.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::number::E164;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::server::{Calls, DRIVER, PASSENGER, Server, between, dialling, party, phone, until, wish};

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Ways in which a number may lie in a file: text, packed digits, integers of SQLite and of programs.
fn spellings(number: &str) -> Vec<Vec<u8>> {
    let digits = number.strip_prefix('+').unwrap();
    let national = digits.strip_prefix("44").unwrap();
    let packed = |digits: &str, swapped: bool| -> Vec<u8> {
        let nibbles: Vec<u8> = digits.bytes().map(|digit| digit - b'0').collect();
        let byte = |pair: &[u8]| if swapped { pair[1] << 4 | pair[0] } else { pair[0] << 4 | pair[1] };
        nibbles.chunks_exact(2).map(byte).collect()
    };
    let value: u64 = digits.parse().unwrap();
    let seven = |n: u32| u8::try_from(value >> (7 * n) & 0x7f).unwrap();
    let varint: Vec<u8> = (0..6).rev().map(|n| if n > 0 { seven(n) | 0x80 } else { seven(n) }).collect();
    let hex = control::secret::hex(national.as_bytes());
    let reversed: Vec<u8> = national.bytes().rev().collect();
    let mut all = vec![national.into(), hex.into(), reversed, varint];
    for swapped in [false, true] {
        all.extend([packed(digits, swapped), packed(national, swapped)]);
    }
    // 39 bits: five bytes of any wider integer.
    all.extend([value.to_be_bytes()[3..].to_vec(), value.to_le_bytes()[..5].to_vec()]);
    all
}

/// Where a number lies in the files below `folder`.
fn found(folder: &Path, number: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let spellings = spellings(number);
    let mut found = Vec::new();
    for file in files(folder) {
        let content = std::fs::read(&file).unwrap();
        let holds =
            |spelling: &&Vec<u8>| content.windows(spelling.len()).any(|window| window == spelling.as_slice());
        found.extend(spellings.iter().filter(holds).map(|spelling| (file.clone(), spelling.clone())));
    }
    found
}

#[test]
fn the_search_finds_every_spelling() {
    let folder = tempfile::tempdir().unwrap();
    for (n, spelling) in spellings(DRIVER).into_iter().enumerate() {
        let file = folder.path().join(n.to_string());
        std::fs::write(&file, [b"x", spelling.as_slice(), b"y"].concat()).unwrap();
        assert!(found(folder.path(), DRIVER).contains(&(file, spelling)), "{n}");
    }
    assert!(spellings("+447700900001").contains(&vec![0x44, 0x77, 0x00, 0x90, 0x00, 0x01]));
}

/// Stops a server and gives its state directory.
fn stopped(server: Server) -> Arc<tempfile::TempDir> {
    let folder = Arc::clone(&server.folder);
    drop(server);
    folder
}

#[test]
fn an_erased_person_is_nowhere_and_the_evidence_stays() {
    let server = Server::start(Calls::default());
    server.city(4);
    let made = server.trip("T-1");
    let other = server.business("POST", "/v1/trips", between("T-2", DRIVER, &phone(1))).expect(201);
    // One that went on in another, and so has lost its numbers.
    for id in ["T-3", "T-4"] {
        server.business("POST", "/v1/trips", between(id, DRIVER, &phone(2))).expect(201);
        server.business("POST", &format!("/v1/trips/{id}/close"), Value::Null).expect(200);
    }
    let stranger = server.business("POST", "/v1/trips", between("T-5", &phone(3), PASSENGER)).expect(201);
    server.call(DRIVER, &made["parties"][0]);
    assert_eq!(found(server.state(), DRIVER), []);

    let erase = |phone: &str| server.business("POST", "/v1/erasures", json!({"phone": phone}));
    assert_eq!(erase(DRIVER).expect(200), json!({"trips": 4}));
    assert_eq!(found(server.state(), DRIVER), []);
    for id in ["T-1", "T-2", "T-3", "T-4"] {
        let trip = server.business("GET", &format!("/v1/trips/{id}"), Value::Null).expect(200);
        assert_eq!(
            (&trip["parties"][0]["erased"], &trip["parties"][1]["erased"]),
            (&json!(true), &Value::Null),
            "{id}"
        );
        assert_eq!((&trip["parties"][0]["role"], trip["created_at"].is_string()), (&json!("driver"), true));
        assert_ne!(trip["state"], "active");
    }
    assert_eq!(server.call(DRIVER, &made["parties"][0])["sip_code"], 404, "a stranger");
    assert_eq!(server.call(PASSENGER, &made["parties"][1])["reason"], "trip_ended");
    assert_eq!(server.call(&phone(1), &other["parties"][1])["reason"], "trip_ended");
    assert_eq!(server.call(PASSENGER, &stranger["parties"][1])["decision"], "connect", "others go on");
    let pin = json!({"call_id": "p", "from": "anonymous", "to": dialling(&made["parties"][0]), "pin": made["parties"][0]["pin"]});
    assert_eq!(server.decide(pin)["bauta"]["decision"], "reject");
    assert_eq!(erase(DRIVER).expect(200), json!({"trips": 0}), "asking again changes nothing");
    erase("07700900001").problem(400, "a number must be +");

    // Nor is the pseudonym left by which the person was found, and the sealed values went with the log.
    let lookup = |phone: &str| server.masking.keys().lookup(&E164::parse(phone).unwrap());
    let files: Vec<u8> = files(server.state()).iter().flat_map(|file| std::fs::read(file).unwrap()).collect();
    let holds = |lookup: [u8; 32]| files.windows(32).any(|window| window == lookup);
    assert!(!holds(lookup(DRIVER)) && holds(lookup(PASSENGER)));
    let server = Server::over(stopped(server), Calls::default());
    assert_eq!(server.call(PASSENGER, &made["parties"][1])["reason"], "trip_ended");
    let again = server.business("POST", "/v1/trips", between("T-6", DRIVER, &phone(1))).expect(201);
    assert_eq!(server.call(DRIVER, &again["parties"][0])["decision"], "connect", "a new beginning");
}

#[test]
fn an_erasure_does_not_lift_what_protects_somebody_else() {
    let server = Server::start(Calls::default());
    server.city(4);
    server.trip("T-1");
    server.business("PUT", "/v1/trips/T-1/block", Value::Null).expect(200);
    server.business("POST", "/v1/erasures", json!({"phone": DRIVER})).expect(200);
    assert_eq!(found(server.state(), DRIVER), []);
    let again = server.trip("T-2");
    assert_eq!(server.call(DRIVER, &again["parties"][0])["reason"], "blocked");
}

#[test]
fn erasing_one_phone_of_a_party_leaves_its_other_trips_their_numbers() {
    let server = Server::start(Calls::default());
    server.city(2);
    let (own, shared) = (phone(1), phone(2));
    let both = json!({"trip": "T-1", "city": "london",
        "parties": [json!({"role": "driver", "phones": [own, shared]}), party("passenger", PASSENGER)]});
    server.business("POST", "/v1/trips", both).expect(201);
    let second = server.business("POST", "/v1/trips", between("T-2", &shared, &phone(3))).expect(201);
    assert_eq!(
        server.business("POST", "/v1/erasures", json!({"phone": own})).expect(200),
        json!({"trips": 1})
    );
    assert_eq!(server.call(&shared, &second["parties"][0])["trip"], "T-2");
    // The number of T-2 is not given to the same phone a second time: two trips would be one to its calls.
    let third = server.business("POST", "/v1/trips", between("T-3", &shared, &phone(4))).expect(201);
    assert_ne!(third["parties"][0]["dial"], second["parties"][0]["dial"]);
    assert_eq!(server.call(&shared, &second["parties"][0])["trip"], "T-2");
    server.business("POST", "/v1/trips", between("T-4", &shared, &phone(5))).problem(409, "3 active numbers");
}

fn keys(server: &Server) -> Value {
    server.operator("GET", "/v1/keys", Value::Null).expect(200)
}

#[test]
fn keys_are_rotated_while_trips_are_made() {
    let server = Server::start(Calls::default());
    server.city(60);
    let trips = |ids: std::ops::Range<u32>| {
        for n in ids {
            server.business("POST", "/v1/trips", between(&format!("T-{n}"), DRIVER, &phone(n))).expect(201);
        }
    };
    trips(0..20);
    assert_eq!(keys(&server), json!({"newest": 1, "sealed": [{"key": 1, "trips": 20}], "waiting": 0}));
    std::thread::scope(|scope| {
        scope.spawn(|| trips(20..40));
        scope.spawn(|| {
            for newest in [2, 3] {
                let rotated = server.operator("POST", "/v1/keys/rotate", json!({})).expect(202);
                assert_eq!(rotated, json!({"newest": newest}));
            }
        });
    });
    until(|| Some(()).filter(|()| keys(&server)["waiting"] == 0));
    assert_eq!(keys(&server), json!({"newest": 3, "sealed": [{"key": 3, "trips": 40}], "waiting": 0}));

    // The key in between seals nothing any more; the first one finds, and stays.
    let folder = stopped(server);
    let file = folder.path().join("keys/numbers.key");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let kept: Vec<_> = text.lines().filter(|line| !line.starts_with("2 ")).collect();
    assert_eq!(kept.len(), 2, "one line a key");
    std::fs::write(&file, format!("{}\n", kept.join("\n"))).unwrap();
    let server = Server::over(folder, Calls::default());
    let read = server.business("GET", "/v1/trips?limit=40", Value::Null).expect(200);
    assert_eq!(read["trips"].as_array().unwrap().len(), 40);
    for trip in read["trips"].as_array().unwrap() {
        assert_eq!(server.call(DRIVER, &trip["parties"][0])["trip"], trip["trip"]);
    }

    std::fs::remove_file(server.state().join("keys/numbers.key")).unwrap();
    let failed = server.operator("POST", "/v1/keys/rotate", Value::Null);
    assert_eq!(failed.problem(500, "control's log")["type"], "urn:bauta:problem:key_not_made");
    assert_eq!(keys(&server)["newest"], 3);
}

#[test]
fn a_control_that_was_killed_while_it_sealed_anew_goes_on() {
    let server = Server::start(Calls::default());
    server.city(4);
    let made = server.trip("T-1");
    // The key is made, and nothing sealed anew yet.
    assert_eq!(server.masking.keys().rotate().unwrap(), 2);
    server.trip("T-2");
    let half = json!({"newest": 2, "sealed": [{"key": 1, "trips": 1}, {"key": 2, "trips": 1}], "waiting": 1});
    assert_eq!(keys(&server), half);
    let server = Server::over(stopped(server), Calls::default());
    assert_eq!(keys(&server), half, "both are read");
    let masking = Arc::clone(&server.masking);
    server.run(masking.reseal());
    assert_eq!(keys(&server), json!({"newest": 2, "sealed": [{"key": 2, "trips": 2}], "waiting": 0}));
    assert_eq!(server.call(DRIVER, &made["parties"][0])["trip"], "T-1");
    assert_eq!(server.business("POST", "/v1/trips", wish("T-1")).expect(200)["parties"], made["parties"]);
}

#[test]
fn a_copy_is_a_database_that_holds_no_number_and_opens_with_the_keys() {
    let server = Server::start(Calls::default());
    server.city(4);
    let made = server.trip("T-1");
    let copy = server.operator("POST", "/v1/backups", Value::Null).expect(201);
    let path = server.state().join(copy["file"].as_str().unwrap());
    let facts = std::fs::metadata(&path).unwrap();
    assert_eq!((copy["bytes"].as_u64(), facts.permissions().mode() & 0o777), (Some(facts.len()), 0o600));
    assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    for number in [DRIVER, PASSENGER] {
        assert_eq!(found(server.state(), number), []);
    }
    let database = Connection::open(&path).unwrap();
    let whole: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    let trips: i64 = database.query_row("SELECT COUNT(*) FROM trips", [], |row| row.get(0)).unwrap();
    assert_eq!((whole.as_str(), trips), ("ok", 1));
    drop(database);
    server.trip("T-2");

    let folder = Arc::new(tempfile::tempdir().unwrap());
    for name in ["keys", "tokens"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        for file in files(&server.state().join(name)) {
            std::fs::copy(&file, folder.path().join(file.strip_prefix(server.state()).unwrap())).unwrap();
        }
    }
    std::fs::copy(&path, folder.path().join("bauta.db")).unwrap();
    let restored = Server::over(folder, Calls::default());
    assert_eq!(restored.call(DRIVER, &made["parties"][0])["trip"], "T-1");
    restored.business("GET", "/v1/trips/T-2", Value::Null).problem(404, "no such trip");
}

#[test]
fn a_copy_that_fails_is_not_told_as_a_store_that_does() {
    let server = Server::start(Calls::default());
    std::fs::write(server.state().join("backups"), "").unwrap();
    let failed = server.operator("POST", "/v1/backups", Value::Null);
    assert_eq!(failed.problem(500, "no copy was made")["type"], "urn:bauta:problem:backup_failed");
    assert_eq!(failed.header("retry-after"), "", "at once is of no use");
}
