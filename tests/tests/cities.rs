//! A city as a file: opened, and one of its numbers drained, while control runs.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use serde_json::{Value, json};
use tests::deadline::{seconds, until};
use tests::pop::{Lane, Pop};
use tests::programs::{A_CALL, installed};
use tests::stage::Stage;
use tests::trip::trip_with;

/// The plan as control has it, once `ready`.
fn leeds(pop: &Pop, what: &str, ready: impl Fn(&Value) -> bool) {
    let operator = pop.client("operator");
    until(what, seconds(20), || {
        let reply = operator.get("/v1/cities/leeds");
        (reply.status == 200 && ready(&reply.json())).then_some(())
    });
}

#[test]
fn a_city_is_a_file_and_draining_a_number_is_an_edit() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let folder = stage.pop.folder().join("cities");
    let write = |numbers: &[String], draining: &[String]| {
        let text = format!("country = \"44\"\nnumbers = {numbers:?}\ndraining = {draining:?}\n");
        std::fs::write(folder.join("leeds.toml"), text)
    };
    let pool: Vec<_> = (1..=4).map(|n| format!("+44113496{n:04}")).collect();
    assert!(std::fs::create_dir(&folder).and_then(|()| write(&pool, &[])).is_ok());
    leeds(&stage.pop, "the city is open", |_| true);
    let there = json!({"city": "leeds"});
    let trip = trip_with(&stage.pop, "T-1", 1, &there);
    assert!(pool.contains(&trip.driver.dial) && pool.contains(&trip.passenger.dial), "{trip:?}");
    assert_eq!(stage.rings(&trip), trip.passenger.dial, "what the passenger's phone showed");

    let (drained, kept): (Vec<_>, Vec<_>) = pool.into_iter().partition(|number| *number == trip.driver.dial);
    assert!(write(&kept, &drained).is_ok());
    leeds(&stage.pop, "the number is drained", |plan| plan["draining"] == json!(drained));
    for n in 2..=7 {
        let other = trip_with(&stage.pop, &format!("T-{n}"), n, &there);
        for party in [&other.driver, &other.passenger] {
            assert!(kept.contains(&party.dial), "{} was given out, which is draining", party.dial);
        }
    }
    assert_eq!(stage.rings(&trip), trip.passenger.dial, "what the passenger's phone showed");
}
