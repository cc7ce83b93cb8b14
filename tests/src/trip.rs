//! Cities and trips, set up over control's HTTP API as a business back end does.

use serde_json::{Value, json};

use crate::pop::Pop;
use crate::sipp::Dials;

/// A trip whose driver and passenger can call each other.
#[derive(Debug, Clone)]
pub struct Trip {
    /// The business's key.
    pub name: String,
    /// The driver: the caller in these tests.
    pub driver: Party,
    /// The passenger: the callee in these tests.
    pub passenger: Party,
}

/// One party.
#[derive(Debug, Clone)]
pub struct Party {
    /// Its own number, E.164.
    pub phone: String,
    /// The pool number that it dials, E.164.
    pub dial: String,
}

impl Trip {
    /// What the driver's phone dials.
    pub fn driver_dials(&self) -> Dials {
        Dials { own: self.driver.phone.clone(), dial: self.driver.dial.clone() }
    }

    /// The same trip as the caller's when the passenger calls the driver.
    #[must_use]
    pub fn called_back(&self) -> Self {
        Self { name: self.name.clone(), driver: self.passenger.clone(), passenger: self.driver.clone() }
    }
}

/// The pool numbers of the city of the tests.
pub fn pool() -> Vec<String> {
    (1..=8).map(|n| format!("+44207946{n:04}")).collect()
}

/// Makes the city of the tests.
#[track_caller]
pub fn city(pop: &Pop) {
    let plan = json!({"country": "44", "numbers": pool(), "record": true});
    let reply = pop.client("operator").put("/v1/cities/london", &plan);
    assert!((200..300).contains(&reply.status), "PUT city: {} {}", reply.status, reply.body);
}

/// Makes the trip `name` of two parties whose numbers end in `n`.
#[track_caller]
pub fn trip(pop: &Pop, name: &str, n: u32) -> Trip {
    trip_with(pop, name, n, &json!({}))
}

/// The same, with `more` in the request, or other values than the usual.
#[track_caller]
pub fn trip_with(pop: &Pop, name: &str, n: u32, more: &Value) -> Trip {
    let made = pop.client("business").post("/v1/trips", &wish(name, n, more)).expect(201).json();
    let dial = |role: &str| {
        let parties = made["parties"].as_array().cloned().unwrap_or_default();
        let party = parties.into_iter().find(|p| p["role"] == role).unwrap_or(Value::Null);
        party["dial"].as_str().unwrap_or_else(|| panic!("no dial number of the {role}: {made}")).to_owned()
    };
    let (driver_dials, passenger_dials) = (dial("driver"), dial("passenger"));
    let [driver, passenger] = phones(n);
    Trip {
        name: name.to_owned(),
        driver: Party { phone: driver, dial: driver_dials },
        passenger: Party { phone: passenger, dial: passenger_dials },
    }
}

/// The body of a request for the trip `name` of two parties whose numbers end in `n`, with `more` in it.
pub fn wish(name: &str, n: u32, more: &Value) -> Value {
    let [driver, passenger] = phones(n);
    let mut wish = json!({
        "trip": name, "city": "london", "record": true, "expires_in": 7200, "grace": 0,
        "parties": [{"role": "driver", "phone": driver}, {"role": "passenger", "phone": passenger}]
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        wish[key] = value.clone();
    }
    wish
}

/// The numbers of driver and passenger that end in `n`.
pub fn phones(n: u32) -> [String; 2] {
    [format!("+44770090{n:04}"), format!("+44770091{n:04}")]
}

/// Closes the trip.
#[track_caller]
pub fn close(pop: &Pop, trip: &Trip) {
    let reply = pop.client("business").post(&format!("/v1/trips/{}/close", trip.name), &json!({}));
    assert!((200..300).contains(&reply.status), "close: {} {}", reply.status, reply.body);
}
