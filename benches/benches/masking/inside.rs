//! Route decisions inside the process, one after the other.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use control::masking::Masking;
use control::moment::Moment;
use control::route::{Decision, Outcome, Question, Reason, RouteBook};
use control::secret::Keys;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::fill;
use super::people::{self, Dice, People};
use super::table::{self, Times};

/// Control's masking half, loaded.
pub struct Loaded {
    runtime: Runtime,
    masking: Arc<Masking>,
}

/// What is asked about.
#[derive(Clone, Copy)]
enum Asked {
    /// A party of a live trip.
    Party,
    /// A party of a trip that was closed.
    Closed,
    /// Nobody: the store is asked too.
    Stranger,
}

impl Loaded {
    /// Loads `state`.
    pub fn load(state: &Path) -> Result<Self> {
        let runtime = fill::runtime()?;
        let masking = runtime.block_on(fill::masking(state))?;
        Ok(Self { runtime, masking })
    }

    /// The pool numbers that the driver and the passenger of each trip dial, as integers; 0 where there is no trip.
    pub fn dials(&self, people: People) -> Vec<[u64; 2]> {
        let (directory, now) = (self.masking.directory(), Moment::now());
        let of = |trip| {
            let trip = directory.trip(&people::trip_id(trip), now);
            trip.map_or([0; 2], |trip| trip.parties.each_ref().map(|party| party.dial.to_integer()))
        };
        (0..people.all()).map(of).collect()
    }

    /// Times decisions about who is known, who was, and who is not; then what of it the journal is.
    pub fn measure(&self, state: &Path, people: People, decisions: u32) -> Result<()> {
        table::head();
        let dials = self.dials(people);
        let mut dice = Dice(1);
        let mut ask = |what: &str, decisions: u32, choose: &mut dyn FnMut(&mut Dice) -> Asked| {
            let mut times = Times::begin(what, std::process::id());
            for turn in 0..decisions {
                let asked = choose(&mut dice);
                let question = question(people, &dials, asked, &mut dice, turn);
                let began = Instant::now();
                let routing = self.runtime.block_on(self.masking.route(&question, Moment::now()));
                times.add(began.elapsed());
                check(asked, &routing.decision);
            }
            times.end();
        };
        let few = (decisions / 10).max(1);
        ask("to warm up", few, &mut |_| Asked::Party);
        ask("decision: party of a live trip", decisions, &mut |_| Asked::Party);
        ask("decision: trip closed", few, &mut |_| Asked::Closed);
        ask("decision: unknown caller, store asked", few, &mut |_| Asked::Stranger);
        ask("decision: 98 % live, 1 % closed, 1 % unknown", decisions, &mut |dice| match dice.below(100) {
            0 => Asked::Closed,
            1 => Asked::Stranger,
            _ => Asked::Party,
        });
        self.measure_book(state, people, &dials, decisions)
    }

    /// The book alone, with its journal and without.
    fn measure_book(&self, state: &Path, people: People, dials: &[[u64; 2]], decisions: u32) -> Result<()> {
        let question = question(people, dials, Asked::Party, &mut Dice(7), 0);
        let now = Moment::now();
        let routing = self.runtime.block_on(self.masking.route(&question, now));
        let Decision::Connect(connect) = routing.decision else { anyhow::bail!("no trip connects") };
        let keys = Arc::new(Keys::open_or_make(state)?);
        let aside = tempfile::tempdir_in(state)?;
        let with = RouteBook::open(aside.path(), Arc::clone(&keys), now)?;
        for (what, book) in [
            ("of which: decision remembered in book and journal", with),
            ("of which: decision remembered in a book without journal", RouteBook::new(keys)),
        ] {
            let mut times = Times::begin(what, std::process::id());
            for turn in 0..decisions {
                let (call, outcome) = (call_id(turn), Outcome::Connect(connect.routed.clone()));
                let began = Instant::now();
                book.remember(&call, outcome, now);
                times.add(began.elapsed());
            }
            times.end();
        }
        Ok(())
    }
}

fn call_id(turn: u32) -> String {
    format!("{:016x}@192.0.2.1", people::mixed(turn.into()))
}

fn question(people: People, dials: &[[u64; 2]], asked: Asked, dice: &mut Dice, turn: u32) -> Question {
    let trip = match asked {
        Asked::Party | Asked::Stranger => dice.below(people.trips),
        Asked::Closed => people.trips + dice.below(people.closed()),
    };
    let (index, party) = (usize::try_from(trip).unwrap(), usize::try_from(dice.below(2)).unwrap());
    let (phone, dial) = (people.phones(trip)[party], dials[index][party]);
    let phone = if matches!(asked, Asked::Stranger) { phone + 50_000_000 } else { phone };
    let call_id = Zeroizing::new(call_id(turn));
    let from = Zeroizing::new(format!("sip:+{phone}@198.51.100.7;user=phone"));
    let to = Zeroizing::new(format!("sip:+{dial}@203.0.113.9;user=phone"));
    Question { call_id, from, to, trunk: None, pin: None, verstat: None }
}

fn check(asked: Asked, decision: &Decision) {
    let right = match asked {
        Asked::Party => matches!(decision, Decision::Connect(_)),
        Asked::Closed => matches!(decision, Decision::Reject(Reason::TripEnded)),
        Asked::Stranger => matches!(decision, Decision::Reject(Reason::UnknownCaller)),
    };
    assert!(right, "not what was to be decided: {decision:?}");
}
