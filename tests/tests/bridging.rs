//! A POP with two interfaces, one of each family: the offer says where each leg's media goes, and what is between them
//! is only the relay.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use serde_json::{Value, json};
use tests::ng::ask;
use tests::phone::Phone;
use tests::pop::{Lane, Pop};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A POP whose interface `inside` is IPv6, and `outside`, the default one, has both.
fn pop() -> Option<Pop> {
    if UdpSocket::bind((V6, 0)).is_err() {
        eprintln!("SKIPPED: this host has no IPv6 on loopback");
        return None;
    }
    Some(Pop::with(Lane::Chosen, |ports| {
        let (first, last) = ports.media();
        let middle = first + (last - first) / 2;
        format!(
            "interfaces = [\n\
             {{ name = \"outside\", address = \"127.0.0.1\", ports = \"{first}-{middle}\" }},\n\
             {{ name = \"outside\", address = \"::1\", ports = \"{first}-{middle}\" }},\n\
             {{ name = \"inside\", address = \"::1\", ports = \"{}-{last}\" }},\n]\n",
            middle + 1
        )
    }))
}

fn offer(phone: &Phone, more: &Value) -> Value {
    let mut offer = json!({"command": "offer", "call-id": "c", "from-tag": "a", "sdp": phone.sdp()});
    for (key, value) in more.as_object().expect("an object") {
        offer[key] = value.clone();
    }
    offer
}

fn answer(phone: &Phone) -> Value {
    json!({"command": "answer", "call-id": "c", "from-tag": "a", "to-tag": "b", "sdp": phone.sdp()})
}

/// Both speak, and each hears all that the other said.
fn talk(caller: &Phone, callee: &Phone) {
    for n in 0..50 {
        caller.say(n);
        callee.say(n);
    }
    let all: Vec<u16> = (0..50).collect();
    assert_eq!((caller.heard(), callee.heard()), (all.clone(), all));
}

#[test]
fn an_ipv6_caller_and_an_ipv4_callee_hear_each_other() {
    let Some(pop) = pop() else { return };
    let ng = pop.ports.ng();
    let (mut caller, mut callee) = (Phone::at(V6, 1), Phone::at(V4, 2));
    let shown = ask(ng, &offer(&caller, &json!({"address-family": "IP4"})));
    callee.shown(&shown);
    let text = shown["sdp"].as_str().expect("SDP");
    assert!(text.contains("c=IN IP4 127.0.0.1\r\n") && !text.contains("IP6"), "{text}");
    let shown = ask(ng, &answer(&callee));
    caller.shown(&shown);
    let text = shown["sdp"].as_str().expect("SDP");
    assert!(text.contains("c=IN IP6 ::1\r\n") && !text.contains("IP4"), "{text}");
    talk(&caller, &callee);
    // A party that says that it is of the other family is not sent to.
    let wrong = json!({"to-tag": "b", "sdp": caller.sdp().replace("IP6 ::1", "IP4 127.0.0.1")});
    let refused = ask(ng, &offer(&caller, &wrong));
    assert_eq!(refused["error-reason"], "Media address is of another family than the relay's", "{refused}");
    talk(&caller, &callee);
}

#[test]
fn the_offer_names_the_interface_of_each_leg() {
    let Some(pop) = pop() else { return };
    let (ng, (first, last)) = (pop.ports.ng(), pop.ports.media());
    let middle = first + (last - first) / 2;
    let (mut caller, mut callee) = (Phone::at(V4, 1), Phone::at(V6, 2));
    callee.shown(&ask(ng, &offer(&caller, &json!({"direction": ["outside", "inside"]}))));
    caller.shown(&ask(ng, &answer(&callee)));
    let (outside, inside) = (caller.towards.expect("shown"), callee.towards.expect("shown"));
    assert_eq!((outside.ip(), inside.ip()), (V4, V6));
    assert!(outside.port() <= middle && inside.port() > middle, "{outside} {inside}");
    talk(&caller, &callee);
    let unknown =
        ask(ng, &offer(&Phone::at(V4, 3), &json!({"call-id": "d", "direction": ["outside", "nowhere"]})));
    assert_eq!(unknown["result"], "error", "{unknown}");
}
