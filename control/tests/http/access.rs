//! Who gets in, how often, and what every answer carries.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use control::http::routes;
use control::moment::Moment;
use control::name::TripId;
use control::store::RecordingEntry;
use control::token::Scope;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Calls, DRIVER, Server};

#[test]
fn a_token_opens_its_own_routes_only() {
    let guarded: Vec<_> = routes().into_iter().filter_map(|route| Some((route.scope?, route))).collect();
    assert!(guarded.len() > 15, "{guarded:?}");
    // Ten wrong tokens a minute are told so: no more on one server.
    for routes in guarded.chunks(9) {
        let server = Server::start(Calls::default());
        for (scope, route) in routes {
            let path = route.path.replace("{id}", &Uuid::nil().to_string()).replace(['{', '}'], "");
            let method = route.method;
            for token in [None, Some(""), Some("0".repeat(64).as_str())] {
                let reply = server.send(method, &path, token, "");
                assert_eq!(reply.problem(401, "")["detail"], "", "a 401 says nothing");
                assert_eq!(reply.header("www-authenticate"), "Bearer");
            }
            for other in Scope::ALL.map(Scope::as_str) {
                let status = server.send(method, &path, Some(&server.token(other)), "").0;
                assert_eq!(status == 403, other != scope.as_str(), "{other} on {method} {path}: {status}");
                assert!(status != 401 && status != 405);
            }
        }
    }
}

#[test]
fn the_table_lists_every_route_once_and_what_is_not_in_it_is_told_so() {
    let distinct: BTreeSet<_> = routes().iter().map(|route| (route.method, route.path)).collect();
    assert_eq!(distinct.len(), routes().len());
    let server = Server::start(Calls::default());
    for route in routes().into_iter().filter(|route| route.scope.is_none()) {
        assert!([200, 503].contains(&server.send(route.method, route.path, None, "").0), "{route:?}");
    }
    let known: BTreeSet<_> = routes().iter().map(|route| route.path).collect();
    for path in known {
        let reply = server.send("OPTIONS", path, None, "");
        reply.problem(405, "method");
        let mut allowed: Vec<_> = reply.header("allow").split(',').filter(|m| *m != "HEAD").collect();
        allowed.sort_unstable();
        let mut listed: Vec<_> = routes().iter().filter(|r| r.path == path).map(|r| r.method).collect();
        listed.sort_unstable();
        assert_eq!(allowed, listed, "{path}");
    }
    server.send("GET", "/v2", None, "").problem(404, "no such route");
    let business = server.token("business");
    server.send("GET", "/v1/trips/%ff", Some(&business), "").problem(400, "path is not understood");
    let head = server.send("HEAD", "/healthz", None, "");
    assert_eq!((head.0, head.1.as_str(), head.header("content-length")), (200, "", "15"));
}

#[test]
fn tokens_are_made_listed_rotated_and_deleted_at_once() {
    let server = Server::start(Calls::default());
    let ask = |method, path: &str, body: Value| server.ask(method, path, "operator", &body);
    let wish =
        json!({"scope": "business", "name": "backend-2", "expires_in": 3600, "requests_per_second": 500});
    let made = ask("POST", "/v1/tokens", wish).expect(201);
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap().to_owned());
    assert_eq!((token.len(), &made["name"], &made["scope"]), (64, &json!("backend-2"), &json!("business")));
    assert!(made["expires_at"].as_str() > made["created_at"].as_str() && made["last_used_at"].is_null());
    let opens = |token: &str| server.send("GET", "/v1/trips", Some(token), "").0 == 200;
    assert!(opens(&token));

    let listed = ask("GET", "/v1/tokens", Value::Null);
    let list = listed.expect(200);
    let names: Vec<_> =
        list["tokens"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "first", "first", "first", "backend-2"]);
    let mut fields: Vec<_> = list["tokens"][4].as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let want = "created_at expires_at former_until id last_used_at name requests_per_second scope";
    assert_eq!(fields.join(" "), want);
    assert!(list["tokens"][4]["last_used_at"].is_string() && list["tokens"][0]["last_used_at"].is_null());
    assert!(!listed.1.contains(&token));

    let rotate = format!("/v1/tokens/{id}/rotate");
    let second = ask("POST", &rotate, json!({"keep_seconds": 60})).expect(201);
    assert_eq!(second["id"], id);
    let second = second["token"].as_str().unwrap().to_owned();
    assert!(opens(&token) && opens(&second));
    let third = ask("POST", &rotate, Value::Null).expect(201)["token"].as_str().unwrap().to_owned();
    assert_eq!([&token, &second, &third].map(|token| opens(token)), [false, false, true]);
    assert_eq!(ask("DELETE", &format!("/v1/tokens/{id}"), Value::Null).0, 204);
    assert!(!opens(&third));
    ask("DELETE", &format!("/v1/tokens/{id}"), Value::Null).problem(404, "no such token");
    ask("POST", &format!("/v1/tokens/{}/rotate", &DRIVER[1..]), Value::Null).problem(404, "no such token");

    // The operator's own: its file follows a rotation, and it is the last.
    let list = ask("GET", "/v1/tokens", Value::Null).expect(200);
    let own = list["tokens"].as_array().unwrap().iter().find(|t| t["scope"] == "operator").unwrap();
    let own = own["id"].as_str().unwrap();
    let new = ask("POST", &format!("/v1/tokens/{own}/rotate"), json!({})).expect(201);
    assert_eq!(new["token"], server.token("operator"));
    let last = ask("DELETE", &format!("/v1/tokens/{own}"), Value::Null).problem(409, "last operator token");
    assert_eq!(last["type"], "urn:bauta:problem:last_operator_token");
}

#[test]
fn bad_wishes_for_a_token_are_explained() {
    let server = Server::start(Calls::default());
    for (body, part) in [
        (json!({"scope": "all", "name": "x"}), "unknown variant `all`"),
        (json!({"scope": DRIVER, "name": "x"}), "unknown variant `+…`"),
        (json!({"scope": "proxy", "name": DRIVER[1..]}), "without five digits in a row"),
        (json!({"scope": "proxy"}), "missing field `name`"),
        (json!({"scope": "proxy", "name": "x", "expires_in": 0}), "expires_in must be from 1 to"),
        (
            json!({"scope": "proxy", "name": "x", "requests_per_second": 0}),
            "requests_per_second must be from 1",
        ),
        (json!({"scope": "proxy", "name": "x", "hash": "y"}), "unknown field `hash`"),
    ] {
        server.ask("POST", "/v1/tokens", "operator", &body).problem(400, part);
    }
    let list = server.ask("GET", "/v1/tokens", "operator", &Value::Null).expect(200);
    assert_eq!(list["tokens"].as_array().unwrap().len(), 4);
}

#[test]
fn a_token_keeps_its_pace_and_wrong_ones_do_not_stop_right_ones() {
    let server = Server::start(Calls::default());
    let wish = json!({"scope": "business", "name": "slow", "requests_per_second": 1});
    let made = server.ask("POST", "/v1/tokens", "operator", &wish).expect(201);
    let slow = made["token"].as_str().unwrap();
    assert_eq!(server.send("GET", "/v1/trips", Some(slow), "").0, 200);
    let refused = server.send("GET", "/v1/trips", Some(slow), "");
    assert_eq!(refused.problem(429, "pace")["type"], "urn:bauta:problem:too_many_requests");
    assert_eq!(refused.header("retry-after"), "1");

    let wrong: Vec<_> = (0..15).map(|_| server.send("GET", "/v1/trips", Some("x"), "")).collect();
    let statuses: Vec<_> = wrong.iter().map(|reply| reply.0).collect();
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 5]].concat());
    let seconds: u32 = wrong[14].header("retry-after").parse().unwrap();
    assert!((1..=6).contains(&seconds), "{seconds}");
    assert_eq!(server.send("GET", "/v1/trips", Some(&server.token("business")), "").0, 200);
    assert_eq!(server.send("GET", "/v1/trips", None, "").0, 401);

    server.send("GET", "/nowhere", None, "");
    let metrics = server.send("GET", "/metrics", None, "").1;
    for line in [
        "bauta_http_requests_total{scope=\"business\",status=\"2xx\"} 2\n",
        "bauta_http_requests_total{scope=\"business\",status=\"4xx\"} 17\n",
        "bauta_http_requests_total{scope=\"operator\",status=\"2xx\"} 1\n",
        "bauta_http_requests_total{scope=\"none\",status=\"4xx\"} 1\n",
        "bauta_http_refused_total{reason=\"token_missing\"} 1\n",
        "bauta_http_refused_total{reason=\"token_wrong\"} 10\n",
        "bauta_http_refused_total{reason=\"source_pace\"} 5\n",
        "bauta_http_refused_total{reason=\"token_pace\"} 1\n",
        "bauta_http_refused_total{reason=\"other_scope\"} 0\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
}

#[test]
fn an_answer_names_its_request() {
    let server = Server::start(Calls::default());
    let id = |given: &str| {
        let reply = server.send_with("GET", "/v1/trips", &[("X-Request-Id", given)], "");
        reply.problem(401, "");
        reply.header("x-request-id").to_owned()
    };
    for given in ["checkout-7f3a", "01932c07-209b-7d18-b8e3-5f1b6c2d4e9a"] {
        assert_eq!(id(given), given);
    }
    let number = format!("call-{}", &DRIVER[1..]);
    for given in ["short", &number, "two words here"] {
        assert_eq!(Uuid::try_parse(&id(given)).unwrap().get_version_num(), 7, "{given}");
    }
    let ok = server.send_with("GET", "/healthz", &[("X-Request-Id", "checkout-7f3a")], "");
    assert_eq!((ok.0, ok.header("x-request-id")), (200, "checkout-7f3a"));
}

#[test]
fn recordings_and_tokens_come_in_pages() {
    let server = Server::start(Calls::default());
    let ids: Vec<Uuid> = (0..5).map(|_| Uuid::now_v7()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for id in &ids {
        let trip = Some(TripId::new("T-1").unwrap());
        let entry = RecordingEntry { id: *id, trip, call: [1; 16], started_at: Moment::from_unix(9) };
        runtime.block_on(server.store.recording_started(entry)).unwrap();
    }
    let all = |scope: &str, list: &str, path: &str| {
        let (mut after, mut found) = (String::new(), Vec::new());
        loop {
            let page = server.ask("GET", &format!("{path}limit=2{after}"), scope, &Value::Null).expect(200);
            let entries = page[list].as_array().unwrap();
            assert!((1..=2).contains(&entries.len()), "{page}");
            found.extend(entries.iter().map(|entry| entry["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return found,
            }
        }
    };
    let want: Vec<_> = ids.iter().map(Uuid::to_string).collect();
    assert_eq!(all("dispute", "recordings", "/v1/recordings?trip=T-1&"), want);
    let tokens = all("operator", "tokens", "/v1/tokens?");
    assert!(tokens.len() == 4 && tokens.is_sorted());
    for (scope, path) in
        [("dispute", "/v1/recordings?trip=T-1&limit=1001"), ("operator", "/v1/tokens?limit=0")]
    {
        server.ask("GET", path, scope, &Value::Null).problem(400, "limit must be from 1 to 1000");
    }
}

/// Where no body is needed, one may come all the same, and later than its head: clients send `{}` in a packet of its own.
#[test]
fn a_body_that_is_not_needed_does_not_cost_the_connection() {
    let server = Server::start(Calls::default());
    server.city(4);
    server.trip("T-1");
    for (method, path, scope) in [
        ("POST", "/v1/keys/rotate", "operator"),
        ("POST", "/v1/backups", "operator"),
        ("PUT", "/v1/trips/T-1/block", "business"),
        ("POST", "/v1/trips/T-1/cancel", "business"),
    ] {
        let token = server.token(scope);
        let mut connection = TcpStream::connect(server.address).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
        connection.write_all(format!("{head}Content-Length: 2\r\n\r\n").as_bytes()).unwrap();
        connection.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(connection.read(&mut [0]).is_err(), "{path} was answered before its body came");
        connection.write_all(b"{}GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answers = String::new();
        connection.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 20").count(), 2, "{path}: {answers}");
    }
}
