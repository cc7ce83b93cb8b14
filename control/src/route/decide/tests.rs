use super::*;
use crate::city::CityPlan;
use crate::name::{City, Role, TripId};
use crate::route::document::render;
use crate::trip::{Life, Party, Phones, Pin, Rules, Trip};

const NOW: Moment = Moment::from_unix(1_000);

fn directory() -> Directory {
    let mut directory = Directory::default();
    let plan: CityPlan = serde_json::from_str(
        r#"{"country":"44","numbers":["+442079460001","+442079460002","+442079460003"],
            "trunks":{"bare":{"country":"44","bare":"national"}}}"#,
    )
    .unwrap();
    directory.put_city(&City::new("london").unwrap(), plan);
    let party = |role: &str, phone: &str, dial: &str| Party {
        role: Role::new(role).unwrap(),
        phones: Phones::One(E164::parse(phone).unwrap()),
        dial: PoolNumber::parse(dial).unwrap(),
        pin: Pin::from_digits("12345").unwrap(),
    };
    directory.put_trip(Trip {
        id: TripId::new("T-1001").unwrap(),
        city: City::new("london").unwrap(),
        version: 1,
        life: Life {
            created_at: NOW,
            expires_at: NOW.plus(100),
            ends_by: NOW.plus(100),
            closed_at: None,
            lives: 100,
            grace: 10,
            cooling: 10,
            sliding: false,
        },
        rules: Rules {
            record: true,
            callers: [true; 2],
            max_seconds: 3_600,
            ring_seconds: None,
            max_calls: None,
        },
        calls: 0,
        blocked: false,
        lost: [false; 2],
        parties: [
            party("driver", "+447700900001", "+442079460001"),
            party("passenger", "+447700900002", "+442079460002"),
        ],
    });
    directory
}

fn question(from: &str, to: &str, trunk: Option<&str>) -> Question {
    Question {
        call_id: Zeroizing::new("c1".into()),
        from: Zeroizing::new(from.into()),
        to: Zeroizing::new(to.into()),
        trunk: trunk.map(Into::into),
        pin: None,
        verstat: None,
    }
}

/// As without a store, PINs and intents.
fn decided(directory: &Directory, question: &Question, now: Moment) -> Decision {
    let asked = match ask(directory, question) {
        Ok(asked) => asked,
        Err(reason) => return Decision::Reject(reason),
    };
    let key = asked.caller.as_ref().ok().and_then(|caller| directory.key(asked.dialled, caller, now));
    match key.map_or_else(|| Err(stranger(directory, &asked, now)), |key| connect(key, now)) {
        Ok(connect) => Decision::Connect(connect),
        Err(reason) => Decision::Reject(reason),
    }
}

fn outcome(from: &str, to: &str, trunk: Option<&str>, now: Moment) -> Decision {
    let directory = directory();
    decided(&directory, &question(from, to, trunk), now)
}

#[test]
fn the_document_is_the_contracts_and_calling_back_works() {
    let decision = outcome(
        "\"Ann\" <sip:+447700900001@203.0.113.7>;tag=x",
        "sip:+442079460001@attacker.example:5060",
        Some("carrier-a"),
        NOW,
    );
    let document: serde_json::Value =
        serde_json::from_slice(&render(&decision, None, "gw.example:5060").unwrap()).unwrap();
    let want = serde_json::json!({"version":"1.0","routing":"serial",
        "routes":[{"uri":"sip:+447700900002@gw.example:5060","headers":{
            "from":{"display":"","uri":"sip:+442079460002@gw.example:5060"},
            "to":{"display":"","uri":"sip:+447700900002@gw.example:5060"}}}],
        "bauta":{"decision":"connect","trip":"T-1001","caller":"driver","callee":"passenger","record":true,"max_seconds":3600}});
    assert_eq!(document, want);

    let Decision::Connect(back) = outcome("sip:07700900002@x", "sip:02079460002@pop", None, NOW) else {
        panic!("the callee cannot call back")
    };
    assert_eq!(back.callee, E164::parse("+447700900001").unwrap());
    assert_eq!(back.shown.to_string(), "+442079460001");
    assert!(!format!("{back:?}").contains("0900001"));
}

#[test]
fn every_refusal_has_its_reason() {
    let to = "sip:+442079460001@pop";
    for (from, to, reason) in [
        ("sip:+447700900009@x", to, Reason::UnknownCaller),
        ("sip:alice@x", to, Reason::UnknownCaller),
        ("sip:anonymous@anonymous.invalid", to, Reason::Withheld),
        ("sip:+447700900001@x", "sip:+442079460003@pop", Reason::NoTrip),
        ("sip:+447700900002@x", "sip:+442079460001@pop", Reason::UnknownCaller),
        ("sip:+447700900001@x", "sip:+442079460009@pop", Reason::NoTrip),
        ("sip:+447700900001@x", "sip:bob@pop", Reason::NoTrip),
    ] {
        assert_eq!(outcome(from, to, None, NOW), Decision::Reject(reason), "{from} {to}");
    }
    let from = "sip:+447700900001@x";
    assert!(matches!(outcome(from, to, None, NOW.plus(105)), Decision::Connect(_)), "grace");
    assert_eq!(outcome(from, to, None, NOW.plus(110)), Decision::Reject(Reason::TripEnded));
    assert_eq!(outcome(from, to, None, NOW.plus(120)), Decision::Reject(Reason::NoTrip));
    let rejected: serde_json::Value =
        serde_json::from_slice(&render(&Decision::Reject(Reason::TripEnded), None, "gw.example").unwrap())
            .unwrap();
    let want = serde_json::json!({"version":"1.0","routing":"serial","routes":[],
        "bauta":{"decision":"reject","sip_code":403,"reason":"trip_ended","announcement":"trip_ended"}});
    assert_eq!(rejected, want);
}

#[test]
fn a_named_trunk_is_read_by_its_own_profile() {
    assert!(matches!(
        outcome("sip:7700900001@x", "sip:2079460001@pop", Some("bare"), NOW),
        Decision::Connect(_)
    ));
    assert_eq!(
        outcome("sip:7700900001@x", "sip:2079460001@pop", None, NOW),
        Decision::Reject(Reason::NoTrip)
    );
}

#[test]
fn a_number_needs_no_host_and_a_call_a_call_id() {
    let directory = directory();
    let mut question = question("tel:+447700900001", "tel:+442079460001", None);
    assert!(matches!(decided(&directory, &question, NOW), Decision::Connect(_)));
    question.call_id = Zeroizing::new(" ".into());
    assert_eq!(ask(&directory, &question), Err(Reason::Malformed));
    assert!(
        Reason::ALL.iter().enumerate().all(|(at, r)| *r as usize == at),
        "counters are indexed by discriminant"
    );
}
