use super::*;

const FULL: &str = r#"
country = "44"
numbers = ["+442079460001", "+442079460002"]
reserved = ["+442079460003"]
draining = ["+442079460004"]
suspended = ["+442079460005"]
neighbours = ["reading", "luton"]
record = false
consent_prompt = "recorded-call.v2"
expires_in = 600
ends_in = 1200
grace = 60
cooling = 0
max_seconds = 900
ring_seconds = 30
max_calls = 50
party_pace = { most = 20, seconds = 600 }
trip_pace = { most = 5, seconds = 60 }

[answers.trip_ended]
sip_code = 603
announcement = "trip-over"

[answers.withheld]
announcement = "show-your-number"

[trunks.carrier-a]
country = "44"
bare = "national"
"#;

fn number(text: &str) -> PoolNumber {
    PoolNumber::parse(text).unwrap()
}

fn least() -> CityPlan {
    serde_json::from_str(r#"{"country":"44","numbers":["+442079460001"]}"#).unwrap()
}

fn full() -> CityPlan {
    toml_edit::de::from_str(FULL).unwrap()
}

#[test]
fn country_and_numbers_are_enough_and_the_rest_has_its_default() {
    let plan = least();
    plan.check().unwrap();
    assert_eq!((plan.record, plan.expires_in, plan.ends_in), (true, 7_200, LONGEST_SECONDS));
    assert_eq!((plan.grace, plan.cooling, plan.max_seconds), (86_400, 3_600, 3_600));
    assert_eq!((plan.ring_seconds, plan.max_calls), (None, None));
    assert_eq!((plan.party_pace, plan.trip_pace, &plan.consent_prompt), (None, None, &None));
    assert!(plan.neighbours.is_empty() && plan.answers.is_empty() && plan.trunks.is_empty());
}

#[test]
fn what_databases_hold_today_reads_as_it_was_meant() {
    let stored = r#"{"country":"44","numbers":["+442079460001","+442079460002"],"record":false,"expires_in":7200,
        "grace":86400,"cooling":3600,"max_seconds":60,"trunks":{"a":{"country":"44","national_prefix":"0",
        "international_prefix":"00","bare":"national"}}}"#;
    let plan: CityPlan = serde_json::from_str(stored).unwrap();
    plan.check().unwrap();
    assert_eq!(plan.active().count(), 2);
    assert_eq!((plan.record, plan.max_seconds, plan.trunks.len()), (false, 60, 1));
}

#[test]
fn every_key_survives_json_and_toml() {
    let plan = full();
    plan.check().unwrap();
    for plan in [plan, least()] {
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<CityPlan>(&json).unwrap(), plan);
        let toml = toml_edit::ser::to_string(&plan).unwrap();
        assert_eq!(toml_edit::de::from_str::<CityPlan>(&toml).unwrap(), plan, "{toml}");
    }
    let keys = |plan: &CityPlan| serde_json::to_value(plan).unwrap().as_object().unwrap().len();
    assert_eq!((keys(&full()), keys(&least())), (19, 8), "what is not set is not shown");
}

#[test]
fn numbers_have_one_state_each_and_it_can_be_changed() {
    let mut plan = full();
    let of =
        |plan: &CityPlan| ["1", "2", "3", "4", "5"].map(|n| plan.state(number(&format!("+44207946000{n}"))));
    let all = NumberState::ALL.map(Some);
    assert_eq!(of(&plan), [all[0], all[0], all[1], all[2], all[3]]);
    assert_eq!(plan.active().collect::<Vec<_>>(), [number("+442079460001"), number("+442079460002")]);

    plan.set_state(number("+442079460001"), NumberState::Draining).unwrap();
    plan.set_state(number("+442079460003"), NumberState::Active).unwrap();
    assert_eq!(of(&plan), [all[2], all[0], all[0], all[2], all[3]]);
    let stranger = plan.set_state(number("+442079460009"), NumberState::Active).unwrap_err();
    assert_eq!(stranger.to_string(), "+442079460009 is not a number of this city");
    assert_eq!(plan.state(number("+442079460009")), None);

    let twice = r#"{"country":"44","numbers":["+442079460001"],"draining":["+442079460001"]}"#;
    let refused = serde_json::from_str::<CityPlan>(twice).unwrap_err().to_string();
    assert!(refused.contains("+442079460001 is in two lists, numbers and draining"), "{refused}");
    for state in NumberState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
}

#[test]
fn every_mistake_is_named() {
    let edit = |from: &str, to: &str| {
        let text = FULL.replace(from, to);
        assert_ne!(text, FULL, "{from}");
        toml_edit::de::from_str::<CityPlan>(&text).unwrap().check().unwrap_err().to_string()
    };
    let name = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -, beginning with a letter or digit";
    for (from, to, error) in [
        (
            "country = \"44\"\nn",
            "country = \"49\"\nn",
            "+442079460001 does not begin with the country code +49",
        ),
        ("luton", "reading", "neighbours names reading twice"),
        ("ends_in = 1200", "ends_in = 599", "ends_in must not be less than expires_in, which is 600 seconds"),
        ("ends_in = 1200", "ends_in = 2592001", "ends_in must be from 1 to 2592000 seconds"),
        ("expires_in = 600", "expires_in = 0", "expires_in must be from 1 to 2592000 seconds"),
        ("max_seconds = 900", "max_seconds = 0", "max_seconds must be from 1 to 86400 seconds"),
        ("ring_seconds = 30", "ring_seconds = 4", "ring_seconds must be from 5 to 180 seconds"),
        ("ring_seconds = 30", "ring_seconds = 181", "ring_seconds must be from 5 to 180 seconds"),
        ("max_calls = 50", "max_calls = 0", "max_calls must be from 1 to 10000"),
        ("most = 20", "most = 0", "party_pace.most must be 1 or more"),
        ("seconds = 60 }", "seconds = 86401 }", "trip_pace.seconds must be from 1 to 86400"),
        ("sip_code = 603", "sip_code = 399", "answers.trip_ended.sip_code must be from 400 to 699"),
        ("sip_code = 603", "sip_code = 700", "answers.trip_ended.sip_code must be from 400 to 699"),
        ("\"trip-over\"", "\"../x\"", &format!("answers.trip_ended.announcement {name}")),
        ("recorded-call.v2", ".hidden", &format!("consent_prompt {name}")),
        ("recorded-call.v2", "", &format!("consent_prompt {name}")),
        ("recorded-call.v2", "a b", &format!("consent_prompt {name}")),
        ("trunks.carrier-a", "trunks.\"\"", "a trunk name must be 1 to 64 printable characters"),
    ] {
        assert_eq!(edit(from, to), error);
    }
    for (from, to) in [
        ("max_calls", "max_cals"),
        ("most = 20", "most = 20, burst = 1"),
        ("answers.withheld", "answers.wihheld"),
        ("+442079460003", "2079460003"),
        ("luton", "Luton"),
        ("numbers = [", "numbers_ = ["),
    ] {
        assert!(toml_edit::de::from_str::<CityPlan>(&FULL.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn a_refusal_gets_the_citys_answer_or_the_usual_one() {
    let plan = full();
    assert_eq!(plan.answer(Reason::TripEnded), (603, "trip-over"));
    assert_eq!(plan.answer(Reason::Withheld), (433, "show-your-number"));
    for reason in Reason::ALL {
        assert_eq!(least().answer(reason), (reason.sip_code(), reason.announcement()));
        assert!((400..=699).contains(&reason.sip_code()) && is_announcement(reason.as_str()));
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
    }
}

#[test]
fn a_trunk_that_is_not_known_spells_numbers_in_full() {
    let plan: CityPlan = serde_json::from_str(
        r#"{"country":"44","numbers":[],"trunks":{"home":{"country":"44","bare":"national"}}}"#,
    )
    .unwrap();
    let number = crate::number::E164::parse("+447700900001").unwrap();
    let reads = |trunk, text| plan.profile(trunk).unwrap().read(text) == Some(number.clone());
    for (trunk, full, national, bare) in [
        (None, true, true, false),
        (Some("default"), true, true, false),
        (Some("home"), true, true, true),
        (Some("carrier-b"), true, false, false),
    ] {
        for text in ["+447700900001", "00447700900001", "+44 (0)7700 900001"] {
            assert_eq!(reads(trunk, text), full, "{trunk:?} {text}");
        }
        assert_eq!(reads(trunk, "07700900001"), national, "{trunk:?}");
        assert_eq!(reads(trunk, "7700900001"), bare, "{trunk:?}");
        assert_eq!(reads(trunk, "447700900001"), trunk != Some("carrier-b"), "{trunk:?}");
    }
}
