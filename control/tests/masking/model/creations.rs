//! Trips that are asked for, and who is given which number.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use control::city::NumberState;
use control::masking::OpenTripError;
use control::name::{Role, TripId};
use control::number::PoolNumber;
use control::store::CreateError;
use control::trip::Trip as Made;
use serde_json::{Value, json};

use super::{Model, name, plan};
use crate::oracle::{Choice, Trip, may_call};
use crate::people::Phone;
use crate::steps::{CITIES, Which, Wish};

/// A request, and what it means.
#[derive(Clone)]
struct Request {
    id: TripId,
    content: Value,
    city: usize,
    people: [Vec<Phone>; 2],
    roles: [Role; 2],
}

impl Model {
    pub(super) async fn create(&mut self, wish: &Wish) -> Result<()> {
        let request = self.request(wish);
        self.ask_for(request).await
    }

    pub(super) async fn repeat(&mut self, which: Which) -> Result<()> {
        let Some(index) = self.oracle.pick(which) else { return Ok(()) };
        let trip = &self.oracle.trips[index];
        let request = Request {
            id: trip.id.clone(),
            content: trip.content.clone(),
            city: trip.city,
            people: trip.asked.clone(),
            roles: trip.roles.clone(),
        };
        self.ask_for(request).await
    }

    fn request(&self, wish: &Wish) -> Request {
        let mut forms = wish.forms;
        let mut phone = |handset: &usize| {
            forms = forms.rotate_right(1);
            Phone { handset: *handset, form: forms & 1 }
        };
        let [first, second] = wish.phones;
        let mut people = [&wish.handsets[..first], &wish.handsets[first..first + second]]
            .map(|handsets| handsets.iter().map(&mut phone).collect::<Vec<_>>());
        let pair = wish.pair_of.and_then(|(which, swapped)| Some((self.oracle.pick(which)?, swapped)));
        let mut city = wish.city;
        if let Some((pair, swapped)) = pair {
            let trip = &self.oracle.trips[pair];
            (people, city) = (trip.asked.clone(), trip.city);
            if swapped {
                people.reverse();
                people.iter_mut().for_each(|phones| phones.reverse());
            }
        }
        let roles = ["driver", "passenger"];
        let party = |party: usize| {
            let phones: Vec<_> = people[party].iter().map(|phone| phone.text()).collect();
            match phones.as_slice() {
                [one] => json!({"role": roles[party], "phone": one}),
                several => json!({"role": roles[party], "phones": several}),
            }
        };
        let id = TripId::new(&format!("T-{}", wish.id)).unwrap();
        let mut content = json!({
            "trip": id, "city": CITIES[city], "expires_in": wish.lives, "grace": wish.grace,
            "sliding": wish.sliding, "parties": [party(0), party(1)],
        });
        let callers = match wish.callers {
            1 => Some(json!(["driver"])),
            2 => Some(json!(["passenger"])),
            _ => None,
        };
        let more = [
            ("ends_in", wish.ends_in.map(Value::from)),
            ("callers", callers),
            ("max_calls", wish.max_calls.map(Value::from)),
            ("record", wish.record.map(Value::from)),
        ];
        for (key, value) in more {
            if let Some(value) = value {
                content[key] = value;
            }
        }
        Request { id, content, city, people, roles: roles.map(|role| Role::new(role).unwrap()) }
    }

    async fn ask_for(&mut self, request: Request) -> Result<()> {
        if self.is_exhausted(&request).await? {
            // As many as are said to be enough.
            self.spare += 1;
            let spare = PoolNumber::try_from(442_079_461_000 + self.spare).unwrap();
            self.add_number(request.city, spare, NumberState::Active).await?;
            ensure!(!self.is_exhausted(&request).await?, "what would be enough is not");
            self.add_number(request.city, spare, NumberState::Draining).await?;
        }
        Ok(())
    }

    /// Makes the trip, unless there is no number for it.
    async fn is_exhausted(&mut self, request: &Request) -> Result<bool> {
        let wanted = serde_json::from_value(request.content.clone())?;
        let reply = self.site.masking.open_trip(&wanted, self.now()).await;
        if let Some(index) = self.oracle.by_id(&request.id) {
            let known = &mut self.oracle.trips[index];
            if known.content != request.content {
                ensure!(
                    matches!(&reply, Err(OpenTripError::Create(CreateError::Conflict(id))) if *id == request.id),
                    "a trip has the id: {reply:?}"
                );
                self.note("conflict");
                return Ok(false);
            }
            let opened = reply.context("the same request again")?;
            let is = numbers(&opened.trip);
            ensure!(
                !opened.new && is == (known.dials, known.pins.clone()),
                "the same request, another answer"
            );
            known.loaded = true;
            self.note("created again");
            return Ok(false);
        }
        match reply {
            Ok(opened) => {
                ensure!(opened.new, "a trip that nobody knows is known");
                self.judge(request, &opened.trip, opened.continues.as_ref())?;
                Ok(false)
            }
            Err(OpenTripError::Create(CreateError::Exhausted { city, role, exhausted })) => {
                self.note("exhausted");
                let have = self.oracle.cities[request.city].active().len();
                ensure!(city == name(request.city), "exhausted is {city}");
                ensure!((exhausted.have, exhausted.enough) == (have, have + 1), "{exhausted}");
                ensure!(self.oracle.continuable(request.city, &request.people).is_empty(), "may go on");
                let first = self.oracle.choice(request.city, &request.people[0], None);
                let side = usize::from(first != Choice::Exhausted);
                let choice = self.oracle.choice(request.city, &request.people[side], None);
                ensure!(
                    choice == Choice::Exhausted && role == request.roles[side],
                    "{role} may have {choice:?}"
                );
                Ok(true)
            }
            Err(error) => bail!("is refused: {error}"),
        }
    }

    async fn add_number(&mut self, city: usize, number: PoolNumber, state: NumberState) -> Result<()> {
        self.oracle.cities[city].numbers.insert(number, state);
        self.site.masking.put_city(name(city), plan(&self.oracle.cities[city])).await?;
        Ok(())
    }

    fn judge(&mut self, request: &Request, made: &Made, continues: Option<&TripId>) -> Result<()> {
        let (dials, pins) = numbers(made);
        let oracle = &self.oracle;
        let going_on = oracle.continuable(request.city, &request.people);
        if going_on.is_empty() {
            ensure!(continues.is_none(), "goes on with {continues:?}, which is not in grace");
            let mut other = None;
            for (dial, people) in dials.iter().zip(&request.people) {
                let choice = oracle.choice(request.city, people, other);
                let fits = matches!(&choice, Choice::OneOf(numbers) if numbers.contains(dial));
                ensure!(fits, "{dial} was given; right is {choice:?}");
                other = Some(*dial);
            }
        } else {
            let before = going_on.iter().find(|(trip, _)| Some(&oracle.trips[*trip].id) == continues);
            ensure!(
                before.is_some_and(|(_, theirs)| *theirs == dials),
                "the same pair: {continues:?}, {dials:?}"
            );
            self.note("continued");
        }
        self.note("created");
        let own = self.oracle.cities[request.city].numbers.keys().copied().collect::<BTreeSet<_>>();
        for (dial, people) in dials.iter().zip(&request.people) {
            let rung = if self.oracle.held(*dial, people) > self.oracle.now && continues.is_none() {
                "tombstone"
            } else if own.contains(dial) {
                "own number"
            } else {
                "neighbour's number"
            };
            self.note(rung);
        }
        if self.oracle.trips.iter().any(|trip| trip.id == request.id) {
            self.note("id used again");
        }
        let trip = self.listed(request, dials, pins);
        ensure!(made.life.expires_at.unix() == trip.expires, "it runs out at another time");
        self.oracle.made(trip);
        Ok(())
    }

    /// The trip as the list has it: what was asked for, what was given, and the city's policy.
    fn listed(&self, request: &Request, dials: [PoolNumber; 2], pins: [String; 2]) -> Trip {
        let now = self.oracle.now;
        let integer = |key: &str| request.content.get(key).and_then(Value::as_i64);
        let lives = integer("expires_in").unwrap();
        let callers = match request.content.get("callers").and_then(|list| list[0].as_str()) {
            Some("driver") => 1,
            Some(_) => 2,
            None => 0,
        };
        Trip {
            id: request.id.clone(),
            city: request.city,
            content: request.content.clone(),
            asked: request.people.clone(),
            people: request.people.clone(),
            roles: request.roles.clone(),
            dials,
            pins,
            expires: now + lives,
            ends_by: now + integer("ends_in").unwrap_or(2_592_000),
            closed: None,
            lives,
            grace: integer("grace").unwrap(),
            cooling: self.oracle.cities[request.city].cooling.into(),
            sliding: request.content["sliding"] == true,
            callers: may_call(callers),
            record: request.content.get("record") != Some(&Value::Bool(false)),
            max_calls: integer("max_calls").and_then(|most| u32::try_from(most).ok()),
            counted: 0,
            calls: 0,
            lost: [false; 2],
            purged: false,
            loaded: true,
        }
    }
}

fn numbers(trip: &Made) -> ([PoolNumber; 2], [String; 2]) {
    let pins = trip.parties.each_ref().map(|party| party.pin.reveal().to_string());
    (trip.parties.each_ref().map(|party| party.dial), pins)
}
