//! Calls, and whom they reach.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use control::masking::Routing;
use control::route::{Connect, Decision, Question};
use serde_json::json;

use super::{Model, Slow};
use crate::oracle::{Call, Verdict};
use crate::people::{Caller, spelled};
use crate::steps::{Order, Ring, Typed, Which, Who};

/// A look-up in the store has 50 ms.
const PATIENCE: Duration = Duration::from_millis(45);

impl Model {
    pub(super) async fn ring(&mut self, ring: &Ring) -> Result<()> {
        let Some(index) = self.oracle.pick(ring.trip) else { return Ok(()) };
        let trip = &self.oracle.trips[index];
        let phones = |party: usize| &trip.asked[party];
        let caller = match ring.who {
            Who::Party(phone) => Caller::Handset(phones(ring.side)[phone % phones(ring.side).len()].handset),
            Who::Other => Caller::Handset(phones(1 - ring.side)[0].handset),
            Who::Anybody(handset) => Caller::Handset(handset),
            Who::Stranger => Caller::Stranger,
            Who::Withheld => Caller::Withheld,
            Who::Named => Caller::Named,
        };
        let pin = match ring.pin {
            Typed::Nothing => None,
            Typed::Right => Some(trip.pins[ring.side].clone()),
            Typed::OfOther => Some(trip.pins[1 - ring.side].clone()),
            Typed::Wrong(n) => Some(format!("{:05}", u32::from(n) * 257)),
            Typed::Nonsense => Some("12#".to_owned()),
        };
        let number = trip.dials[ring.side];
        self.calls += 1;
        self.call(Call { id: self.calls, caller, number, pin }, ring.spelling).await
    }

    /// The proxy did not get the last answer.
    pub(super) async fn again(&mut self) -> Result<()> {
        match self.last.clone() {
            Some((call, spelling)) => self.call(call, spelling).await,
            None => Ok(()),
        }
    }

    async fn call(&mut self, call: Call, spelling: u8) -> Result<()> {
        let routing = self.asked(&call, spelling).await?;
        let verdict = self.oracle.route(&call);
        self.last = Some((call.clone(), spelling));
        if let Some(connect) = self.check(&call, &routing, &verdict).await? {
            self.call_back(&connect, &verdict, spelling).await?;
        }
        Ok(())
    }

    async fn asked(&self, call: &Call, spelling: u8) -> Result<Routing> {
        let begun = Instant::now();
        let routing = self.site.masking.route(&question(call, spelling), self.now()).await;
        ensure!(begun.elapsed() < PATIENCE, Slow);
        Ok(routing)
    }

    /// Whether what became of the call is what the list says; answers what connects.
    async fn check(&mut self, call: &Call, routing: &Routing, verdict: &Verdict) -> Result<Option<Connect>> {
        let connect = match &routing.decision {
            Decision::Reject(reason) => {
                ensure!(verdict.refuse.contains(reason), "{call:?}: refused as {reason:?}, not {verdict:?}");
                self.note(reason.as_str());
                self.oracle.refused(call.id);
                return Ok(None);
            }
            Decision::Connect(connect) => connect,
        };
        let Some((index, party)) = verdict.connect else {
            bail!("{call:?}: reaches somebody in {}, not {verdict:?}", connect.routed.trip);
        };
        let trip = &self.oracle.trips[index];
        let (routed, callee) = (&connect.routed, trip.people[1 - party][0]);
        ensure!(routed.trip == trip.id, "{call:?}: in {}, not {}", routed.trip, trip.id);
        ensure!(*connect.callee.reveal() == callee.text(), "{call:?}: another is called in {}", trip.id);
        ensure!(connect.shown == trip.dials[1 - party], "{call:?}: {} is shown", connect.shown);
        let roles = (&routed.caller_role, &routed.callee_role);
        ensure!(roles == (&trip.roles[party], &trip.roles[1 - party]), "{call:?}: as {roles:?}");
        ensure!(routed.record == trip.record, "{call:?}: recorded {}", routed.record);
        self.note(match (call.caller, &call.pin) {
            (Caller::Handset(handset), _) if self.oracle.holder(call.number, handset).is_some() => "connect",
            (_, Some(_)) => "connect by pin",
            _ => "connect by intent",
        });
        self.oracle.connected(index, call.id);
        self.site.settle().await;
        Ok(Some(connect.clone()))
    }

    /// Whoever was called dials what it saw.
    async fn call_back(&mut self, connect: &Connect, verdict: &Verdict, spelling: u8) -> Result<()> {
        let Some((index, party)) = verdict.connect else { return Ok(()) };
        let handset = self.oracle.trips[index].people[1 - party][0].handset;
        let holder = self.oracle.holder(connect.shown, handset);
        ensure!(holder == Some((index, 1 - party)), "a call back would be one of {holder:?}");
        self.calls += 1;
        let back =
            Call { id: self.calls, caller: Caller::Handset(handset), number: connect.shown, pin: None };
        let routing = self.asked(&back, spelling.wrapping_mul(7)).await?;
        let verdict = self.oracle.route(&back);
        if self.check(&back, &routing, &verdict).await?.is_some() {
            self.note("called back");
        }
        Ok(())
    }

    /// While a right PIN is looked up, the trip changes: the decision knows of it.
    pub(super) async fn race_pin(&mut self, which: Which, side: usize, order: Order) -> Result<()> {
        let Some(index) = self.oracle.pick(which).filter(|_| !self.oracle.is_vague()) else { return Ok(()) };
        let trip = &self.oracle.trips[index];
        let (number, pin) = (trip.dials[side], trip.pins[side].clone());
        self.calls += 1;
        let call = Call { id: self.calls, caller: Caller::Withheld, number, pin: Some(pin.clone()) };
        let (masking, asked, now) = (Arc::clone(&self.site.masking), question(&call, 0), self.now());
        let begun = Instant::now();
        let mut held = self.site.store.hold_next();
        let mut routing = tokio::spawn(async move { masking.route(&asked, now).await });
        let found = self.oracle.with_pin(number, &pin);
        let mut verdict = self.oracle.route(&call);
        let routing = tokio::select! {
            answered = held.answered() => {
                ensure!(answered, Slow);
                self.order(which, order).await?;
                held.release();
                self.note("overtaken by pin");
                if let Some((trip, party)) = found {
                    verdict = self.oracle.lets(trip, party, call.id);
                }
                routing.await?
            }
            routing = &mut routing => {
                self.site.store.hold_none();
                routing?
            }
        };
        ensure!(begun.elapsed() < PATIENCE, Slow);
        drop(self.check(&call, &routing, &verdict).await?);
        Ok(())
    }
}

fn question(call: &Call, spelling: u8) -> Question {
    let to = spelled(&call.number.to_string(), spelling / 6);
    let from = call.caller.address(spelling);
    let mut question = json!({"call_id": format!("call-{}@192.0.2.1", call.id), "from": from, "to": to});
    if let Some(pin) = &call.pin {
        question["pin"] = json!(pin);
    }
    serde_json::from_value(question).unwrap()
}
