use super::*;

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
    assert_eq!(at(19), ("active", true));
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

#[test]
fn the_view_has_the_contracts_shape() {
    let order = order("T-1001", A, B).unwrap();
    let party = |index: usize, dial: &str, pin: &str| Party {
        role: order.parties[index].0.clone(),
        phone: order.parties[index].1.clone(),
        dial: PoolNumber::parse(dial).unwrap(),
        pin: Pin::from_digits(pin).unwrap(),
    };
    let trip = Trip {
        id: order.id.clone(),
        city: order.city.clone(),
        version: 17,
        record: order.record,
        max_seconds: order.max_seconds,
        life: order.life,
        parties: [party(0, "+442079460001", "48213"), party(1, "+442079460002", "90517")],
    };
    let shown = serde_json::to_value(trip.view(NOW)).unwrap();
    let want = serde_json::json!({"trip":"T-1001","state":"active","version":17,"expires_at":"1970-01-01T00:18:20Z",
        "parties":[{"role":"driver","dial":"+442079460001","pin":"48213"},
                   {"role":"passenger","dial":"+442079460002","pin":"90517"}]});
    assert_eq!(shown, want);
    assert!(!format!("{trip:?} {}", serde_json::to_string(&trip.detail(NOW, 0)).unwrap()).contains("0900"));
    assert!(!format!("{trip:?}").contains("48213"), "a PIN is not printed");
}

#[test]
fn pins_have_their_length() {
    for length in 5..=9 {
        assert_eq!(Pin::random(length).unwrap().reveal().len(), length as usize);
    }
}
