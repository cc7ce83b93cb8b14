//! A POP that runs empty: begun, seen, and ended over HTTP.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Calls, Server, answered};

#[test]
fn a_draining_pop_says_so_wherever_one_looks_until_it_is_ended() {
    let calls = Calls { connected: true, ..Calls::default() };
    *calls.live.lock().unwrap() = vec![answered(Uuid::now_v7(), "T-1", true)];
    let server = Server::start(calls);
    let ask = |method: &str| server.operator(method, "/v1/drain", Value::Null).expect(200);
    let ready =
        |status: u16| server.send("GET", "/readyz", None, "").expect(status)["relay"]["draining"].clone();
    assert_eq!((ask("GET"), ready(200)), (json!({"draining": false, "calls": 1}), json!(false)));
    for _ in 0..2 {
        assert_eq!((ask("PUT"), ready(503)), (json!({"draining": true, "calls": 1}), json!(true)));
    }
    assert_eq!((ask("DELETE"), ready(200)), (json!({"draining": false, "calls": 1}), json!(false)));
}

#[test]
fn a_relay_that_was_not_told_is_no_draining_one() {
    let server = Server::start(Calls { deaf: true, ..Calls::default() });
    for method in ["PUT", "DELETE"] {
        server.operator(method, "/v1/drain", Value::Null).problem(503, "out of reach");
    }
    assert_eq!(server.operator("GET", "/v1/drain", Value::Null).expect(200)["draining"], false);
}
