//! A POP that runs empty for its maintenance: the operator's command, what the proxy is told, and the call that goes on.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use serde_json::{Value, json};
use tests::ng::ask;
use tests::phone::Phone;
use tests::pop::{Lane, Pop};
use tests::programs::ours;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// `bauta drain …`: what it printed, and whether it succeeded.
fn drain(pop: &Pop, arguments: &[&str]) -> (String, bool) {
    let output = Command::new(ours("bauta"))
        .arg("drain")
        .args(arguments)
        .arg("--state")
        .arg(pop.state())
        .arg("--config")
        .arg(pop.folder().join("pop.toml"))
        .output()
        .expect("bauta runs");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

fn offer(phone: &Phone, call_id: &str) -> Value {
    json!({"command": "offer", "call-id": call_id, "from-tag": "a", "sdp": phone.sdp(), "supports": ["load limit"]})
}

#[test]
fn a_draining_pop_refuses_new_calls_and_is_empty_when_the_last_one_ends() {
    let pop = Pop::start(Lane::Chosen);
    let ng = pop.ports.ng();
    let (mut caller, mut callee) = (Phone::at(HERE, 1), Phone::at(HERE, 2));
    callee.shown(&ask(ng, &offer(&caller, "old")));
    let answer =
        json!({"command": "answer", "call-id": "old", "from-tag": "a", "to-tag": "b", "sdp": callee.sdp()});
    caller.shown(&ask(ng, &answer));

    assert_eq!(
        drain(&pop, &["--wait", "0"]),
        ("no new calls are taken; `bauta drain --undo` ends that\n1 call in progress\n".into(), false)
    );
    let told = ask(ng, &offer(&Phone::at(HERE, 3), "new"));
    assert_eq!(told, json!({"result": "load limit", "message": "Draining"}));
    for n in 0..50 {
        caller.say(n);
        callee.say(n);
    }
    let all: Vec<u16> = (0..50).collect();
    assert_eq!((caller.heard(), callee.heard()), (all.clone(), all), "the call goes on");

    ask(ng, &json!({"command": "delete", "call-id": "old", "from-tag": "a"}));
    let (printed, done) = drain(&pop, &["--wait", "10"]);
    assert!(done && printed.ends_with("0 calls in progress\n"), "{printed}");
    assert_eq!(drain(&pop, &["--undo"]), ("new calls are taken again\n".into(), true));
    assert_eq!(ask(ng, &offer(&Phone::at(HERE, 3), "new"))["result"], "ok");
}
