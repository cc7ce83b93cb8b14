//! What a business orders about its trips.

use std::sync::Arc;

use anyhow::{Result, ensure};
use control::masking::OpenIntentError;
use control::moment::Moment;
use control::name::Role;
use control::number::E164;
use control::store::AmendError;
use control::trip::life::Over;
use control::trip::{Amendment, Change, Unchanged};

use super::Model;
use crate::oracle::{Refused, may_call};
use crate::people::Phone;
use crate::steps::{Order, Ring, Typed, Which, Who};

impl Model {
    pub(super) async fn order(&mut self, which: Which, order: Order) -> Result<()> {
        let Some(index) = self.named(which) else { return Ok(()) };
        let id = self.oracle.trips[index].id.clone();
        let reply = self.site.masking.amend_trip(id, self.change(index, order), self.now()).await;
        let expected = self.oracle.order(index, order);
        if matches!((order, expected), (Order::Reopen(_), Ok(()))) {
            self.note("reopened");
        }
        self.agree(expected, reply)
    }

    /// The trip that an order is about.
    fn named(&self, which: Which) -> Option<usize> {
        self.oracle.pick(which).map(|index| self.oracle.current(index))
    }

    fn change(&self, index: usize, order: Order) -> Change {
        match order {
            Order::Amend { lives, callers, max_calls, record } => {
                let roles = &self.oracle.trips[index].roles;
                let listed = |callers| {
                    let may = roles.iter().zip(may_call(callers)).filter(|(_, may)| *may);
                    may.map(|(role, _): (&Role, bool)| role.clone()).collect()
                };
                Change::Amend(Amendment {
                    expires_in: lives,
                    record,
                    callers: callers.map(listed),
                    max_calls,
                    ..Amendment::default()
                })
            }
            Order::Close => Change::Close,
            Order::RunOut => Change::RunOut,
            Order::Cancel => Change::Cancel,
            Order::Reopen(lives) => Change::Reopen { lives },
        }
    }

    fn agree<T>(&self, expected: Result<(), Refused>, reply: Result<T, AmendError>) -> Result<()> {
        let is = match reply {
            Ok(_) => Ok(()),
            Err(AmendError::NoTrip(_)) => Err(Refused::NoTrip),
            Err(AmendError::Unchanged { why, .. }) => Err(match why {
                Unchanged::HandedOn => Refused::HandedOn,
                Unchanged::Over(Over::Ended) => Refused::Ended,
                Unchanged::Over(Over::PastEnd(_)) => Refused::PastEnd,
                other => anyhow::bail!("is refused: {other}"),
            }),
            Err(AmendError::Store(error)) => return Err(error.into()),
        };
        ensure!(is == expected, "the order was answered {is:?}, not {expected:?}");
        match expected {
            Err(Refused::HandedOn) => self.note("handed on"),
            Err(Refused::PastEnd) => self.note("past its end"),
            _ => {}
        }
        Ok(())
    }

    /// The answer to `one` comes after `two` was given and answered.
    pub(super) async fn race(&mut self, which: Which, one: Order, two: Order) -> Result<()> {
        let Some(index) = self.named(which) else { return Ok(()) };
        let id = self.oracle.trips[index].id.clone();
        let (masking, change, now) = (Arc::clone(&self.site.masking), self.change(index, one), self.now());
        let mut held = self.site.store.hold_next();
        let first = tokio::spawn(async move { masking.amend_trip(id, change, now).await });
        ensure!(held.answered().await, "the store was not asked");
        let expected = self.oracle.order(index, one);
        self.order(which, two).await?;
        held.release();
        self.note("overtaken");
        self.agree(expected, first.await?)
    }

    pub(super) async fn block(&mut self, which: Which, blocked: bool) -> Result<()> {
        let Some(index) = self.named(which) else { return Ok(()) };
        let id = self.oracle.trips[index].id.clone();
        let reply = self.site.masking.block_pair(id.clone(), blocked, self.now()).await;
        if let Ok(trip) = &reply {
            ensure!(trip.id == id, "the answer is about {}", trip.id);
        }
        let expected = self.oracle.block(index, blocked);
        self.agree(expected, reply)
    }

    pub(super) async fn erase(&mut self, handset: usize, form: usize) -> Result<()> {
        let person = E164::parse(Phone { handset, form }.text()).unwrap();
        let count = self.site.masking.erase(person, self.now()).await?;
        let expected = self.oracle.erase(handset);
        ensure!(count == expected, "{count} trips of the person, not {expected}");
        ensure!(!self.is_kept(handset).await?, "the number is still there");
        if count > 0 {
            self.note("erased");
        }
        Ok(())
    }

    pub(super) async fn intend(&mut self, which: Which, side: usize, calls: bool) -> Result<()> {
        let Some(index) = self.named(which) else { return Ok(()) };
        let trip = &self.oracle.trips[index];
        let (id, role) = (trip.id.clone(), trip.roles[side].clone());
        let reply = self.site.masking.open_intent(&id, &role, self.now());
        let is = reply.map(Moment::unix).map_err(|error| match error {
            OpenIntentError::NoTrip(_) => "no trip",
            OpenIntentError::NoRole(_) => "no role",
            OpenIntentError::Refused { .. } => "refused",
            OpenIntentError::Pending(_) => "pending",
        });
        let expected = self.oracle.intend(index, side);
        ensure!(is == expected, "the intent was answered {is:?}, not {expected:?}");
        if is.is_err() {
            return Ok(());
        }
        self.note("intent");
        let ring = Ring { trip: which, side, who: Who::Stranger, spelling: 0, pin: Typed::Nothing };
        if calls { self.ring(&ring).await } else { Ok(()) }
    }
}
