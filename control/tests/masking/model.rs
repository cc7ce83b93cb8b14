//! The model test: the real thing and the list side by side, and what they must agree on.
//!
//! `BAUTA_MODEL_CASES` is how many lives of a site are tried, `BAUTA_MODEL_SEED` where the dice begin.

mod changes;
mod creations;
mod routes;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::{Result, ensure};
use control::city::{CityPlan, NumberState};
use control::moment::Moment;
use control::name::City as CityName;
use control::number::E164;
use control::store::{Page, Store};
use control::trip::TripState;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::json;

use crate::oracle::{Call, City, Oracle, Phase};
use crate::people::HANDSETS;
use crate::site::Site;
use crate::steps::{CITIES, Step, number, steps};

const CASES: u32 = 600;
const START: i64 = 1_800_000_000;

/// How often something happened, over all cases.
type Seen = Rc<RefCell<BTreeMap<String, u64>>>;

/// What must have happened at least once, or the dice are loaded.
const WORTH_SEEING: [&str; 30] = [
    "connect",
    "connect by pin",
    "connect by intent",
    "called back",
    "no_trip",
    "trip_ended",
    "unknown_caller",
    "withheld",
    "blocked",
    "direction",
    "limit",
    "number_suspended",
    "pin_wrong",
    "pin_locked",
    "created",
    "created again",
    "conflict",
    "continued",
    "own number",
    "neighbour's number",
    "tombstone",
    "exhausted",
    "id used again",
    "erased",
    "reopened",
    "handed on",
    "past its end",
    "intent",
    "overtaken",
    "overtaken by pin",
];

/// The machine was too slow for a look-up in the store, which has 50 ms: what follows from that is not the model's.
#[derive(Debug, thiserror::Error)]
#[error("too slow")]
struct Slow;

struct Model {
    site: Site,
    oracle: Oracle,
    seen: Seen,
    calls: u32,
    last: Option<(Call, u8)>,
    spare: u64,
}

#[test]
fn no_call_ever_reaches_a_party_outside_its_trip() {
    let of = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let cases = of("BAUTA_MODEL_CASES").map_or(CASES, |cases| u32::try_from(cases).unwrap());
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&of("BAUTA_MODEL_SEED").unwrap_or(3).to_be_bytes());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let seen = Seen::default();
    let outcome = runner.run(&steps(), |steps| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(live(&steps, &seen)) {
            Err(error) if error.is::<Slow>() => {
                note(&seen, "slow");
                Ok(())
            }
            outcome => outcome.map_err(|error| TestCaseError::fail(format!("{error:#}"))),
        }
    });
    eprintln!("{:#?}", seen.borrow());
    match outcome {
        Err(TestError::Fail(why, steps)) => {
            let steps: Vec<_> = steps.iter().map(|step| format!("  {step:?}")).collect();
            panic!("{why}\nthe shortest life with that:\n{}", steps.join("\n"));
        }
        outcome => outcome.unwrap(),
    }
    let seen = seen.borrow();
    let missing: Vec<_> = WORTH_SEEING.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(missing.is_empty() || cases < CASES, "never happened: {missing:?}");
    assert!(seen.get("slow").is_none_or(|slow| *slow < u64::from(cases / 2)), "the machine is too slow");
}

fn note(seen: &Seen, what: &str) {
    *seen.borrow_mut().entry(what.to_owned()).or_default() += 1;
}

/// One life of a site.
async fn live(steps: &[Step], seen: &Seen) -> Result<()> {
    let mut model = Model {
        site: Site::start(Moment::from_unix(START)).await,
        oracle: Oracle::new(START, (0..CITIES.len()).map(|_| City::default()).collect()),
        seen: Rc::clone(seen),
        calls: 0,
        last: None,
        spare: 0,
    };
    model.city(0, 0b00_0011, 0b010, 30).await?;
    model.city(1, 0b00_0100, 0b101, 0).await?;
    model.city(2, 0b01_1000, 0, 200).await?;
    for (at, step) in steps.iter().enumerate() {
        let now = model.oracle.now - START;
        model.step(step).await.map_err(|e| e.context(format!("step {at} at {now} s: {step:?}")))?;
        model.oracle.check_unique()?;
    }
    model.audit().await
}

impl Model {
    fn now(&self) -> Moment {
        Moment::from_unix(self.oracle.now)
    }

    fn note(&self, what: &str) {
        note(&self.seen, what);
    }

    async fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Create(wish) => self.create(wish).await,
            Step::Repeat(which) => self.repeat(*which).await,
            Step::Change(which, order) => self.order(*which, *order).await,
            Step::Block(which, blocked) => self.block(*which, *blocked).await,
            Step::Erase(handset, form) => self.erase(*handset, *form).await,
            Step::City(city, numbers, neighbours, cooling) => {
                self.city(*city, *numbers, *neighbours, *cooling).await
            }
            Step::Number(which, state) => self.number(*which, *state).await,
            Step::Intent(which, side, calls) => self.intend(*which, *side, *calls).await,
            Step::Call(ring, times) => {
                for _ in 0..*times {
                    self.ring(ring).await?;
                }
                Ok(())
            }
            Step::Again => self.again().await,
            Step::Sweep => {
                self.site.masking.sweep(self.now()).await;
                self.oracle.sweep();
                Ok(())
            }
            Step::Restart => {
                self.site.settle().await;
                self.site.restart(self.now()).await;
                self.oracle.restart();
                self.audit().await
            }
            Step::Wait(seconds) => {
                if *seconds < 0 {
                    // How long a Call-ID is remembered then is no matter of trips.
                    self.last = None;
                }
                self.oracle.set_clock(self.oracle.now + seconds);
                Ok(())
            }
            Step::Race(which, one, two) => self.race(*which, *one, *two).await,
            Step::RacePin(which, side, order) => self.race_pin(*which, *side, *order).await,
        }
    }

    /// Makes a city anew.
    async fn city(&mut self, city: usize, numbers: u8, neighbours: u8, cooling: u32) -> Result<()> {
        let bit = |bits: u8, n: usize| bits >> n & 1 == 1;
        let numbers = (0..6).filter(|n| bit(numbers, *n)).map(|n| (number(n), NumberState::Active));
        let neighbours = (0..CITIES.len()).filter(|n| *n != city && bit(neighbours, *n));
        let wanted = City { numbers: numbers.collect(), neighbours: neighbours.collect(), cooling };
        let others = self.oracle.cities.iter().enumerate().filter(|(other, _)| *other != city);
        let taken = others.flat_map(|(_, city)| city.numbers.keys()).any(|n| wanted.numbers.contains_key(n));
        let put = self.site.masking.put_city(name(city), plan(&wanted)).await;
        ensure!(put.is_err() == taken, "the city {city} was answered {put:?}");
        if !taken {
            self.oracle.cities[city] = wanted;
        }
        Ok(())
    }

    /// Changes what a number is used for, if a city has it.
    async fn number(&mut self, which: usize, state: NumberState) -> Result<()> {
        let number = number(which);
        let owner = self.oracle.cities.iter().position(|city| city.numbers.contains_key(&number));
        let Some(city) = owner else { return Ok(()) };
        self.site.masking.set_number(name(city), number, state).await?;
        self.oracle.cities[city].numbers.insert(number, state);
        Ok(())
    }

    /// What the store has is what the list has.
    async fn audit(&self) -> Result<()> {
        let page = Page { limit: 10_000, ..Page::default() };
        let stored = self.site.store.page(page, self.now()).await?;
        let there: Vec<usize> =
            (0..self.oracle.trips.len()).filter(|trip| self.oracle.is_there(*trip)).collect();
        let ids: BTreeSet<_> = there.iter().map(|trip| self.oracle.trips[*trip].id.clone()).collect();
        ensure!(
            stored.iter().map(|trip| trip.id.clone()).collect::<BTreeSet<_>>() == ids,
            "other trips are kept"
        );
        for index in there {
            let known = &self.oracle.trips[index];
            let trip = stored.iter().find(|trip| trip.id == known.id).unwrap();
            let state = match known.phase(self.oracle.now) {
                Phase::Active => TripState::Active,
                Phase::Grace => TripState::Grace,
                Phase::Cooling => TripState::Cooling,
                Phase::Over => TripState::Purged,
            };
            let is =
                (trip.life.state(self.now()), trip.lost, trip.parties.each_ref().map(|party| party.dial));
            ensure!(
                is == (state, known.lost, known.dials),
                "{}: {is:?}, not {state:?} {:?}",
                known.id,
                known.lost
            );
            ensure!(
                trip.life.held_until().unix() == known.until(),
                "{}: is held until another time",
                known.id
            );
            // Whose calls end anyhow is not asked whether it is blocked.
            let ended = known.people.iter().any(Vec::is_empty) || known.lost != [false; 2];
            let blocked = self.oracle.blocked(index);
            ensure!(ended || trip.blocked == blocked, "{}: blocked {}", known.id, trip.blocked);
            for (party, people) in trip.parties.iter().zip(&known.people) {
                let phones: Vec<_> =
                    party.phones.all().iter().map(|phone| phone.reveal().to_string()).collect();
                ensure!(phones.iter().eq(people.iter().map(|p| p.text())), "{}: other phones", known.id);
            }
        }
        Ok(())
    }

    /// Whether the store holds a handset's number anywhere.
    async fn is_kept(&self, handset: usize) -> Result<bool> {
        let page = Page { limit: 10_000, ..Page::default() };
        let all = self.site.store.page(page, Moment::from_unix(i64::MIN)).await?;
        let phones = all.iter().flat_map(|trip| &trip.parties).flat_map(|party| party.phones.all());
        Ok(phones.map(E164::reveal).any(|text| HANDSETS[handset].contains(&text.as_str())))
    }
}

fn name(city: usize) -> CityName {
    CityName::new(CITIES[city]).unwrap()
}

/// A city as an operator writes it.
fn plan(city: &City) -> CityPlan {
    let of = |state| -> Vec<String> {
        city.numbers.iter().filter(|(_, s)| **s == state).map(|(number, _)| number.to_string()).collect()
    };
    let neighbours: Vec<_> = city.neighbours.iter().map(|n| CITIES[*n]).collect();
    serde_json::from_value(json!({
        "country": "44", "numbers": of(NumberState::Active), "reserved": of(NumberState::Reserved),
        "draining": of(NumberState::Draining), "suspended": of(NumberState::Suspended),
        "neighbours": neighbours, "cooling": city.cooling,
    }))
    .unwrap()
}
