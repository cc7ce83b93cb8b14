use super::*;
use crate::city::CityPlan;
use crate::name::Role;
use crate::number::PoolNumber;

const NOW: Moment = Moment::from_unix(1_000);

fn plan() -> CityPlan {
    serde_json::from_str(r#"{"country":"44","numbers":["+442079460001"],"cooling":50}"#).unwrap()
}

fn request(trip: &str, a: &str, b: &str) -> TripRequest {
    let body = format!(
        r#"{{"trip":"{trip}","city":"london","expires_in":100,"grace":10,"parties":[
           {{"role":"driver","phone":"{a}"}},{{"role":"passenger","phone":"{b}"}}]}}"#
    );
    serde_json::from_str(&body).unwrap()
}

fn order(trip: &str, a: &str, b: &str) -> Result<TripOrder, BadTrip> {
    let ours = PoolNumber::parse("+442079460001").unwrap();
    request(trip, a, b).order(&plan(), |n| n == ours, NOW)
}

const A: &str = "+447700900001";
const B: &str = "+447700900002";

#[test]
fn states_follow_from_time_alone() {
    let mut life = order("T-1", A, B).unwrap().life;
    let states = |life: &Life| [99, 100, 109, 110, 159, 160].map(|s| life.state(NOW.plus(s)).as_str());
    assert_eq!(states(&life), ["active", "grace", "grace", "cooling", "cooling", "purged"]);
    assert_eq!([99, 109, 110].map(|s| life.connects(NOW.plus(s))), [true, true, false]);

    life.closed_at = Some(NOW.plus(20));
    let at = |s| (life.state(NOW.plus(s)).as_str(), life.connects(NOW.plus(s)));
    assert_eq!(at(19), ("grace", false), "a clock that goes back opens nothing");
    assert_eq!(at(20), ("grace", false));
    assert_eq!(at(30), ("cooling", false));
    assert_eq!(at(80), ("purged", false));
}

#[test]
fn a_trip_id_that_holds_a_phones_tail_is_refused() {
    for id in ["T-0900001", "447700900001", "T-09-000-01", "x0900002y"] {
        assert!(matches!(order(id, A, B), Err(BadTrip::TellingId(_))), "{id}");
    }
    assert!(order("T-900001", A, B).is_ok());
}

#[test]
fn mistakes_are_named_without_numbers() {
    for (result, part) in [
        (order("T", A, A), "same phone"),
        (order("T", A, "07700900002"), "phone of the passenger"),
        (order("T", "+4407700900001", B), "phone of the driver"),
        (order("T", "+442079460001", B), "pool's own"),
        (
            TripRequest { expires_in: Some(0), ..request("T", A, B) }.order(&plan(), |_| false, NOW),
            "expires_in",
        ),
        (TripRequest { parties: vec![], ..request("T", A, B) }.order(&plan(), |_| false, NOW), "two parties"),
    ] {
        let text = result.unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
        assert!(!text.contains("0900"), "{text}");
    }
    let order = order("T", A, B).unwrap();
    assert!(!format!("{:?}", order.parties).contains("0900"));
}

#[test]
fn the_same_request_has_the_same_content_and_another_has_not() {
    assert_eq!(order("T", A, B).unwrap().content, order("T", A, B).unwrap().content);
    assert_ne!(order("T", A, B).unwrap().content, order("T", B, A).unwrap().content);
    let other = TripRequest { record: Some(false), ..request("T", A, B) };
    assert_ne!(other.order(&plan(), |_| false, NOW).unwrap().content, order("T", A, B).unwrap().content);
}

/// The trip that an order becomes.
fn made(order: &TripOrder) -> Trip {
    let party = |index: usize, dial: &str, pin: &str| Party {
        role: order.parties[index].0.clone(),
        phones: order.parties[index].1.clone(),
        dial: PoolNumber::parse(dial).unwrap(),
        pin: Pin::from_digits(pin).unwrap(),
    };
    Trip {
        id: order.id.clone(),
        city: order.city.clone(),
        version: 17,
        life: order.life,
        parties: [party(0, "+442079460001", "48213"), party(1, "+442079460002", "00517")],
        rules: order.rules,
        calls: 0,
        blocked: false,
        lost: [false; 2],
    }
}

#[test]
fn the_view_has_the_contracts_shape() {
    let trip = made(&order("T-1001", A, B).unwrap());
    let shown = serde_json::to_value(trip.view(NOW, None)).unwrap();
    let want = serde_json::json!({"trip":"T-1001","state":"active","version":17,"expires_at":"1970-01-01T00:18:20Z",
        "parties":[{"role":"driver","dial":"+442079460001","pin":"48213"},
                   {"role":"passenger","dial":"+442079460002","pin":"00517"}]});
    assert_eq!(shown, want);
    assert!(!format!("{trip:?} {}", serde_json::to_string(&trip.detail(NOW, 0)).unwrap()).contains("0900"));
    assert!(!format!("{trip:?}").contains("48213"), "a PIN is not printed");
}

#[test]
fn a_party_has_a_phone_or_several_and_nobody_has_one_twice() {
    let of = |driver: &str| {
        let body = format!(
            r#"{{"trip":"T","city":"london","parties":[{driver},{{"role":"passenger","phone":"{B}"}}]}}"#
        );
        let request: TripRequest = serde_json::from_str(&body).unwrap();
        request.order(&plan(), |_| false, NOW).map(|order| order.parties[0].1.all().len())
    };
    assert_eq!(of(&format!(r#"{{"role":"driver","phones":["{A}","+447700900003"]}}"#)), Ok(2));
    assert_eq!(of(&format!(r#"{{"role":"driver","phones":["{A}"]}}"#)), Ok(1));
    for neither in [
        r#"{"role":"driver"}"#.to_owned(),
        r#"{"role":"driver","phones":[]}"#.to_owned(),
        format!(r#"{{"role":"driver","phone":"{A}","phones":["{A}"]}}"#),
    ] {
        assert!(matches!(of(&neither), Err(BadTrip::Phones(_))), "{neither}");
    }
    for twice in [format!(r#"["{A}","{A}"]"#), format!(r#"["{A}","{B}"]"#)] {
        assert_eq!(of(&format!(r#"{{"role":"driver","phones":{twice}}}"#)), Err(BadTrip::SamePhone));
    }
}

#[test]
fn what_costs_more_than_a_call_is_not_called() {
    let refused = order("T", A, "+870776123456").unwrap_err();
    assert!(matches!(refused, BadTrip::Costly { .. }), "{refused}");
    assert!(matches!(order("T", "+449098790879", B), Err(BadTrip::Costly { .. })));
}

#[test]
fn rules_come_from_the_request_else_from_the_city() {
    let plan: CityPlan = serde_json::from_str(
        r#"{"country":"44","numbers":[],"ring_seconds":30,"max_calls":9,"ends_in":7200}"#,
    )
    .unwrap();
    let city = request("T", A, B).order(&plan, |_| false, NOW).unwrap();
    assert_eq!(city.rules.ring_seconds.map(u16::from), Some(30));
    assert_eq!(city.rules.max_calls.map(u32::from), Some(9));
    assert_eq!((city.rules.callers, city.life.ends_by), ([true; 2], NOW.plus(7200)));
    let own = TripRequest {
        callers: Some(vec![Role::new("driver").unwrap()]),
        ring_seconds: Some(10),
        ends_in: Some(100),
        sliding: Some(true),
        ..request("T", A, B)
    };
    let own = own.order(&plan, |_| false, NOW).unwrap();
    assert_eq!((own.rules.callers, own.rules.ring_seconds.map(u16::from)), ([true, false], Some(10)));
    assert_eq!((own.life.ends_by, own.life.sliding), (NOW.plus(100), true));
    for (bad, part) in [
        (TripRequest { callers: Some(vec![]), ..request("T", A, B) }, "callers"),
        (TripRequest { callers: Some(vec![Role::new("x").unwrap()]), ..request("T", A, B) }, "callers"),
        (TripRequest { ends_in: Some(99), ..request("T", A, B) }, "ends_in"),
        (TripRequest { ring_seconds: Some(4), ..request("T", A, B) }, "ring_seconds"),
        (TripRequest { max_calls: Some(0), ..request("T", A, B) }, "max_calls"),
    ] {
        let text = bad.order(&plan, |_| false, NOW).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }
}

fn after(trip: &Trip, change: &Change, at: i64) -> Result<Trip, Unchanged> {
    change.apply(trip, NOW.plus(at)).map(|changed| changed.unwrap_or_else(|| trip.clone()))
}

#[test]
fn a_trip_closes_reopens_in_grace_and_is_over_after_it() {
    // Lives 100 s, grace 10 s, cooling 50 s.
    let trip = made(&order("T", A, B).unwrap());
    let closed = after(&trip, &Change::Close, 20).unwrap();
    assert_eq!(after(&closed, &Change::Close, 25).unwrap(), closed);
    assert!(!closed.connects(NOW.plus(21)));
    let again = after(&closed, &Change::Reopen { lives: None }, 29).unwrap();
    assert_eq!((again.life.state(NOW.plus(29)), again.life.expires_at), (TripState::Active, NOW.plus(129)));
    assert!(again.connects(NOW.plus(29)));
    let over = Err(Unchanged::Over(life::Over::Ended));
    assert_eq!(after(&closed, &Change::Reopen { lives: None }, 30), over);
    assert_eq!(after(&trip, &Change::Reopen { lives: Some(5) }, 10).unwrap(), trip, "it is active");
    let lost = Trip { lost: [false, true], ..closed };
    assert_eq!(after(&lost, &Change::Reopen { lives: None }, 29), Err(Unchanged::HandedOn));
}

#[test]
fn running_out_leaves_grace_and_cancelling_cuts_it() {
    let trip = made(&order("T", A, B).unwrap());
    let out = after(&trip, &Change::RunOut, 20).unwrap();
    assert!(out.connects(NOW.plus(29)) && !out.connects(NOW.plus(30)));
    let cancelled = after(&trip, &Change::Cancel, 20).unwrap();
    assert_eq!(cancelled.life.state(NOW.plus(20)), TripState::Cooling);
    assert_eq!(cancelled.life.held_until(), NOW.plus(70));
    let late = after(&out, &Change::Cancel, 25).unwrap();
    assert_eq!((late.life.state(NOW.plus(25)), late.life.held_until()), (TripState::Cooling, NOW.plus(75)));
    assert_eq!(after(&late, &Change::Cancel, 40).unwrap(), late);
    assert!(after(&cancelled, &Change::Reopen { lives: None }, 20).is_err());
}

#[test]
fn nothing_carries_a_trip_past_its_absolute_end() {
    let ends = TripRequest { ends_in: Some(150), sliding: Some(true), ..request("T", A, B) };
    let trip = made(&ends.order(&plan(), |_| false, NOW).unwrap());
    let extend = |lives| Change::Amend(Amendment { expires_in: Some(lives), ..Amendment::default() });
    assert_eq!(after(&trip, &extend(100), 50).unwrap().life.expires_at, NOW.plus(150));
    assert_eq!(after(&trip, &extend(101), 50), Err(Unchanged::Over(life::Over::PastEnd(NOW.plus(150)))));
    assert_eq!(trip.life.slid(NOW.plus(1)), None, "too little to be worth a write");
    assert_eq!(trip.life.slid(NOW.plus(30)), Some(NOW.plus(130)));
    assert_eq!(trip.life.slid(NOW.plus(90)), Some(NOW.plus(150)));
    let closed = after(&trip, &Change::Close, 60).unwrap();
    let again = after(&closed, &Change::Reopen { lives: None }, 61).unwrap();
    assert_eq!(
        (again.life.expires_at, again.life.lives),
        (NOW.plus(150), trip.life.lives),
        "as long as may be"
    );
    let past = Err(Unchanged::Over(life::Over::PastEnd(NOW.plus(150))));
    assert_eq!(after(&closed, &Change::Reopen { lives: Some(100) }, 61), past);
    let called = after(&trip, &Change::Called { calls: 3, expires_at: Some(NOW.plus(999)) }, 50).unwrap();
    assert_eq!((called.calls, called.life.expires_at), (3, NOW.plus(150)));
    assert_eq!(after(&called, &Change::Called { calls: 2, expires_at: None }, 50).unwrap().calls, 3);
    let out = after(&trip, &Change::RunOut, 95).unwrap();
    assert!(out.connects(NOW.plus(96)));
    assert_eq!(out.life.slid(NOW.plus(96)), None, "a call in grace makes no trip active again");
    let late = Change::Called { calls: 1, expires_at: Some(NOW.plus(140)) };
    assert_eq!(after(&out, &late, 96).unwrap().life, out.life);
    let closed = after(&trip, &Change::Close, 10).unwrap();
    let late = after(&closed, &Change::Called { calls: 1, expires_at: Some(NOW.plus(120)) }, 11).unwrap();
    assert_eq!(late.life, closed.life, "a call that was let through just before does not open it again");
}
