//! Every route, its token and its mistakes.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::server::{Calls, DRIVER, PASSENGER, Server, wish};

#[test]
fn a_trip_lives_over_the_api() {
    let server = Server::start(Calls::default());
    server.city(4);
    let made = server.trip("T-1001");
    assert_eq!((&made["trip"], &made["state"]), (&json!("T-1001"), &json!("active")));
    let (driver, passenger) = (&made["parties"][0], &made["parties"][1]);
    assert_eq!((&driver["role"], &passenger["role"]), (&json!("driver"), &json!("passenger")));
    assert_ne!(driver["dial"], passenger["dial"]);
    assert_eq!(driver["pin"].as_str().unwrap().len(), 5);
    assert_eq!(server.ask("POST", "/v1/trips", "business", &wish("T-1001")).expect(200), made, "idempotent");

    let mut other = wish("T-1001");
    other["record"] = json!(false);
    let problem =
        server.ask("POST", "/v1/trips", "business", &other).problem(409, "exists with other content");
    assert_eq!(problem["type"], "urn:bauta:problem:trip_exists");

    let read = server.ask("GET", "/v1/trips/T-1001", "business", &Value::Null).expect(200);
    assert_eq!(
        (&read["parties"], &read["max_seconds"], &read["calls"]),
        (&made["parties"], &json!(1800), &json!(0))
    );

    let longer =
        server.ask("PATCH", "/v1/trips/T-1001", "business", &json!({"expires_in": 9000})).expect(200);
    assert!(longer["expires_at"].as_str() > made["expires_at"].as_str());
    assert!(longer["version"].as_u64() > made["version"].as_u64());

    let (from, to) =
        (format!("sip:{DRIVER}@caller.example"), format!("sip:{}@pop", driver["dial"].as_str().unwrap()));
    let connect = server.route(&from, &to);
    assert_eq!(connect["routes"][0]["uri"], format!("sip:{PASSENGER}@sbc.example"));
    assert!(!connect.to_string().contains("caller.example"));

    for _ in 0..2 {
        let closed = server.ask("POST", "/v1/trips/T-1001/close", "business", &json!({})).expect(200);
        assert_eq!(closed["state"], "grace");
        assert!(closed["closed_at"].is_string());
    }
    let rejected = server.route(&from, &to);
    let want =
        json!({"decision": "reject", "sip_code": 403, "reason": "trip_ended", "announcement": "trip_ended"});
    assert_eq!((&rejected["routes"], &rejected["bauta"]), (&json!([]), &want));
    let extend = server.ask("PATCH", "/v1/trips/T-1001", "business", &json!({"expires_in": 9}));
    extend.problem(409, "has ended");
    server.ask("GET", "/v1/trips/T-7", "business", &Value::Null).problem(404, "no such trip");
    server.ask("POST", "/v1/trips/T-7/close", "business", &Value::Null).problem(404, "no such trip");
}

#[test]
fn refusals_of_a_route_name_their_reason() {
    let server = Server::start(Calls::default());
    server.city(3);
    let made = server.trip("T-1");
    let dial = format!("sip:{}@pop", made["parties"][0]["dial"].as_str().unwrap());
    let dials = made["parties"].to_string();
    let unused = (1..=3).map(|n| format!("+44207946{n:04}")).find(|number| !dials.contains(number)).unwrap();
    let unused = format!("sip:{unused}@pop");
    for (from, to, code, reason, announcement) in [
        // A stranger does not learn which numbers are in use.
        ("sip:+447700900009@x", dial.as_str(), 404, "unknown_caller", "no_trip"),
        ("sip:+447700900009@x", unused.as_str(), 404, "no_trip", "no_trip"),
        ("sip:anonymous@anonymous.invalid", &dial, 433, "withheld", "withheld"),
        ("sip:+447700900001@x", "sip:+442079999999@pop", 404, "no_trip", "no_trip"),
    ] {
        let reply = server.route(from, to);
        let want =
            json!({"decision": "reject", "sip_code": code, "reason": reason, "announcement": announcement});
        assert_eq!(reply["bauta"], want);
        assert_eq!(reply["routes"], json!([]));
    }
    let metrics = server.send("GET", "/metrics", None, "").1;
    for line in [
        "bauta_route_decisions_total{decision=\"reject\",reason=\"withheld\"} 1\n",
        "bauta_route_decisions_total{decision=\"connect\",reason=\"none\"} 0\n",
        "bauta_trips{state=\"active\"} 1\n",
        "bauta_trip_creations_total{outcome=\"new\"} 1\n",
        "bauta_pool_numbers{city=\"london\",state=\"active\"} 3\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

#[test]
fn bad_bodies_are_explained_without_repeating_numbers() {
    let server = Server::start(Calls::default());
    server.city(3);
    let token = server.token("business");
    let with = |change: fn(&mut Value)| {
        let mut body = wish("T");
        change(&mut body);
        body.to_string()
    };
    for (body, part) in [
        (String::new(), "EOF"),
        ("{".into(), "EOF"),
        ("[]".into(), "invalid"),
        ("\u{1}\u{2}".into(), "expected value"),
        (format!("{{\"{DRIVER}\":1}}"), "unknown field `+…`"),
        (format!("{{\"expires_in\":\"{DRIVER}\"}}"), "expected u32"),
        (with(|b| b["expires_in"] = json!(0)), "expires_in must be from 1 to 2592000 seconds"),
        (with(|b| b["trip"] = json!("T-0900001")), "last seven digits of the driver's phone"),
        (with(|b| b["trip"] = json!("../x")), "a trip id must be"),
        (with(|b| b["city"] = json!("leeds")), "there is no city leeds"),
        (with(|b| b["parties"][0]["phone"] = json!("07700900001")), "phone of the driver"),
        (with(|b| b["parties"][0]["phone"] = json!("+442079460001")), "pool's own numbers"),
        (with(|b| b["parties"][0]["role"] = json!("passenger")), "both parties have the role"),
        (with(|b| b["parties"] = json!([])), "two parties"),
        (with(|b| b["recrod"] = json!(true)), "unknown field `recrod`"),
    ] {
        server.send("POST", "/v1/trips", Some(&token), &body).problem(400, part);
    }
    server.send("POST", "/v1/trips", Some(&token), &" ".repeat(5_000)).problem(413, "too large");
    server.ask("POST", "/v1/route", "proxy", &json!({"from": DRIVER, "to": "x"})).problem(400, "call_id");
    server.ask("PATCH", "/v1/trips/T", "business", &json!({"expires_in": -1})).problem(400, "u32");
    let plan = json!({"country": "44", "numbers": ["+4920794600"]});
    server.ask("PUT", "/v1/cities/x", "operator", &plan).problem(400, "country code +44");
    server.ask("PUT", "/v1/cities/X", "operator", &plan).problem(400, "city name");
    server.ask("GET", "/v1/trips?limit=0", "business", &Value::Null).problem(400, "limit");
    server.ask("GET", "/v1/trips?state=gone", "business", &Value::Null).problem(400, "gone");
}

#[test]
fn a_full_pool_says_how_many_numbers_are_enough() {
    let server = Server::start(Calls::default());
    server.city(2);
    server.trip("T-1");
    server.trip("T-2");
    let problem = server
        .ask("POST", "/v1/trips", "business", &wish("T-3"))
        .problem(409, "3 active numbers would be enough");
    assert_eq!(
        (&problem["numbers"], &problem["numbers_enough"], &problem["city"]),
        (&json!(2), &json!(3), &json!("london"))
    );
    server.city(3);
    server.trip("T-3");
}

#[test]
fn lists_come_in_pages() {
    let server = Server::start(Calls::default());
    server.city(9);
    for n in 1..=5 {
        server.trip(&format!("T-{n}"));
    }
    let page =
        |query: &str| server.ask("GET", &format!("/v1/trips{query}"), "business", &Value::Null).expect(200);
    let ids = |page: &Value| {
        page["trips"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["trip"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let first = page("?limit=3");
    assert_eq!(
        (ids(&first), &first["next"]),
        (vec!["T-1".into(), "T-2".into(), "T-3".into()], &json!("T-3"))
    );
    let second = page("?limit=3&after=T-3");
    assert_eq!((ids(&second), &second["next"]), (vec!["T-4".into(), "T-5".into()], &Value::Null));
    server.ask("POST", "/v1/trips/T-2/close", "business", &Value::Null).expect(200);
    assert_eq!(ids(&page("?state=grace&city=london")), ["T-2"]);
    assert_eq!(ids(&page("?city=leeds")), Vec::<String>::new());
}

#[test]
fn a_restart_keeps_everything() {
    let mut server = Server::start(Calls::default());
    server.city(3);
    let made = server.trip("T-1");
    server.stop();
    let server = Server::over(Arc::clone(&server.folder), Calls::default());
    let read = server.ask("GET", "/v1/trips/T-1", "business", &Value::Null).expect(200);
    assert_eq!((&read["parties"], &read["version"]), (&made["parties"], &made["version"]));
    let dial = made["parties"][1]["dial"].as_str().unwrap();
    let connect = server.route(&format!("sip:{PASSENGER}@x"), &format!("sip:{dial}@pop"));
    assert_eq!(connect["bauta"]["caller"], "passenger");
    let cities = server.ask("GET", "/v1/cities", "operator", &Value::Null).expect(200);
    assert_eq!(cities["cities"]["london"]["max_seconds"], 1800);
}

#[test]
fn readiness_follows_the_relay_and_metrics_take_the_recorders_in() {
    let server = Server::start(Calls::default());
    let body = server.send("GET", "/readyz", None, "").expect(503);
    assert_eq!((&body["ready"], &body["store"]["ok"]), (&json!(false), &json!(true)));
    let server = Server::start(Calls { connected: true, ..Calls::default() });
    let body = server.send("GET", "/readyz", None, "").expect(200);
    assert_eq!(
        (&body["relay"]["lane"], &body["relay"]["recorder_attached"]),
        (&json!("uring"), &json!(false))
    );
    assert!(body["relay"]["lane_reason"].is_string());

    assert_eq!(
        (&body["recorder"]["attached"], &body["recorder"]["alarm"], &body["recorder"]["written_seconds_ago"]),
        (&json!(false), &Value::Null, &Value::Null)
    );

    std::fs::create_dir_all(server.state().join("run")).unwrap();
    std::fs::write(server.state().join("run/recorder.metrics"), "bauta_recorder_spools 2").unwrap();
    let metrics = server.send("GET", "/metrics", None, "").1;
    assert!(metrics.contains("\nbauta_calls 0\nbauta_recorder_spools 2\n"), "{metrics}");
    assert!(metrics.contains("\nbauta_recorder_written_seconds_ago 0\n"), "{metrics}");
}

#[test]
fn a_recorder_in_trouble_is_told_and_calls_go_on() {
    let server = Server::start(Calls { connected: true, attached: true, ..Calls::default() });
    std::fs::create_dir_all(server.state().join("run")).unwrap();
    let path = server.state().join("run/recorder.metrics");
    let told = |alarm: u8, age: u64| {
        std::fs::write(&path, format!("bauta_recorder_calls 1\nbauta_recorder_alarm {alarm}\n")).unwrap();
        let file = std::fs::File::options().append(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(age)).unwrap();
        let body = server.send("GET", "/readyz", None, "").expect(200);
        assert_eq!(body["ready"], true);
        body["recorder"].clone()
    };
    let calm = told(0, 0);
    assert_eq!(
        (&calm["attached"], &calm["alarm"], &calm["trouble"]),
        (&json!(true), &json!(false), &Value::Null)
    );
    let raised = told(1, 0);
    assert_eq!(raised["alarm"], true);
    assert!(raised["trouble"].as_str().unwrap().contains("refuses to be written"), "{raised}");
    let stale = told(0, 60);
    assert!(stale["written_seconds_ago"].as_u64().unwrap() >= 60, "{stale}");
    assert!(stale["trouble"].as_str().unwrap().contains("no metrics for 6"), "{stale}");
}
