//! Recordings paused and resumed: by the business and the operator over HTTP, by the proxy over NG.
//!
//! On control's runtime, in the call's turn. The relay does it and keeps it, and a re-offer leaves it as it is. A
//! pause stands in the call's blob before the tap is told of it, and until after the tap was told of its end. So
//! wherever control is killed in between, a new one finds every pause in the blobs, and tells the taps again
//! ([`Calls::pause_again`]): in doubt nothing is recorded.
//!
//! Whether a call is recorded at all is not the proxy's to say: who is recorded was told so by the trip's policy. Nor
//! does it throw recordings away. An offer, answer or delete that asks for it is done all the same, and warned.

use std::sync::Arc;

use relay::program::Client;
use relay::program::client::ClientError;
use relay::program::message::{Refusal, Request as Ask};
use time::OffsetDateTime;
use uuid::Uuid;

use super::desk::{Calls, refused};
use super::label;
use super::registry::{Entry, Live};
use super::state::{Call, Pause};
use crate::live::{Asker, PauseError, Recorded};
use crate::name::TripId;
use crate::ng::error::NgError;
use crate::ng::flags::Record;
use crate::ng::message::{Request, ok};
use crate::ng::value::Value;
use crate::secret::hex;

/// What is asked for, and by whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// To pause; else to resume.
    pub paused: bool,
    /// Who asks.
    pub by: Asker,
}

impl Calls {
    /// NG's `start`, `stop` and `pause recording`.
    pub(super) async fn tap(&self, request: &Request, paused: bool) -> Result<Value, NgError> {
        let call_id = request.call_id()?;
        if request.options.discard {
            return Err(NgError::Discard);
        }
        let client = self.link.client_soon().await?;
        let entry = self.registry.find(call_id).ok_or(NgError::UnknownCall)?;
        let _turn = entry.turn.lock().await;
        let live = entry.live().ok_or(NgError::UnknownCall)?;
        self.tap_call(&client, &entry, live, Wish { paused, by: Asker::Proxy }).await?;
        Ok(ok())
    }

    /// See [`crate::live::LiveCalls::pause_call`].
    pub(super) async fn tap_id(&self, id: Uuid, wish: Wish) -> Result<Recorded, PauseError> {
        let client = self.link.client_soon().await.map_err(|_| PauseError::Relay)?;
        let is_it = |entry: &Arc<Entry>| entry.look(|live| live.call.id == id) == Some(true);
        let entry = self.registry.entries().into_iter().find(is_it).ok_or(PauseError::NoCall)?;
        let _turn = entry.turn.lock().await;
        let live = entry.live().ok_or(PauseError::NoCall)?;
        self.tap_call(&client, &entry, live, wish).await.map_err(|error| match error {
            NgError::UnknownCall => PauseError::NoCall,
            NgError::NotRecorded => PauseError::NotRecorded,
            _ => PauseError::Relay,
        })
    }

    /// See [`crate::live::LiveCalls::pause_trip`].
    pub(super) async fn tap_trip(&self, trip: &TripId, wish: Wish) -> Result<Vec<Recorded>, PauseError> {
        let client = self.link.client_soon().await.map_err(|_| PauseError::Relay)?;
        let of_trip =
            |call: &Call| call.terms.as_ref().is_some_and(|terms| terms.record && terms.trip == *trip);
        // Whose a call is that is being opened is known when the relay has answered: those come last.
        let mut entries: Vec<(bool, Arc<Entry>)> = Vec::new();
        for entry in self.registry.entries() {
            match entry.look(|live| of_trip(&live.call)) {
                Some(true) => entries.push((false, entry)),
                Some(false) => {}
                None => entries.push((true, entry)),
            }
        }
        entries.sort_by_key(|(opening, _)| *opening);
        let (mut done, mut failed) = (Vec::new(), false);
        for (_, entry) in entries {
            let _turn = entry.turn.lock().await;
            let Some(live) = entry.live().filter(|live| of_trip(&live.call)) else { continue };
            match self.tap_call(&client, &entry, live, wish).await {
                Ok(recorded) => done.push(recorded),
                // It ended meanwhile.
                Err(NgError::UnknownCall) => {}
                Err(_) => failed = true,
            }
        }
        // A UUID v7 begins with its time.
        done.sort_by_key(|recorded| recorded.id);
        if failed { Err(PauseError::Relay) } else { Ok(done) }
    }

    /// Pauses or resumes a call whose turn the caller holds.
    async fn tap_call(
        &self,
        client: &Client,
        entry: &Arc<Entry>,
        mut live: Live,
        wish: Wish,
    ) -> Result<Recorded, NgError> {
        if !live.call.recorded() {
            return Err(NgError::NotRecorded);
        }
        let (key, id, was) = (live.call.key, live.call.id, live.call.pause);
        live.call.pause = wish.paused.then(|| was.unwrap_or_else(|| wish.begins()));
        let tap = Ask::Tap { call: key, paused: wish.paused };
        let kept = Ask::Update {
            call: key,
            blob: Some(self.seal(&live.call)?),
            label: None,
            streams: live.call.streams(),
        };
        let asks = match (was.is_some(), wish.paused) {
            (false, true) => vec![kept, tap],
            (true, false) => vec![tap, kept],
            // It is so already; the tap is told once more.
            _ => vec![tap],
        };
        for ask in asks {
            client.ask(ask).await.map_err(|e| refused(&live.call, &e))?;
        }
        let call = hex(&label::pseudonym(&self.keys, &live.call.call_id));
        if was.is_some() != wish.paused {
            tracing::info!(call = %key, %id, pseudonym = call, by = ?wish.by, "{}", wish.done());
        }
        self.registry.put(entry, live);
        Ok(Recorded { id, call, paused: wish.paused })
    }

    /// Tells the taps of all calls that are paused: after a connection to the relay was made.
    pub(super) async fn pause_again(&self, client: &Client) {
        let paused = |entry: &Arc<Entry>| entry.look(|live| live.call.pause.map(|_| live.call.key)).flatten();
        for entry in self.registry.entries() {
            if paused(&entry).is_none() {
                continue;
            }
            let _turn = entry.turn.lock().await;
            let Some(call) = paused(&entry) else { continue };
            match client.ask(Ask::Tap { call, paused: true }).await {
                Ok(_) | Err(ClientError::Refused(Refusal::UnknownCall)) => {}
                Err(e) => tracing::warn!(%call, "its recording is not paused again: {e}"),
            }
        }
    }

    /// A reply, with what was passed over of its request.
    pub(super) fn warned(&self, request: &Request, reply: Value) -> Value {
        match self.passed_over(request) {
            Some(warning) => reply.with("warning", warning.to_string()),
            None => reply,
        }
    }

    /// What a request for a call asks of its recording that is not the proxy's to decide.
    pub(super) fn passed_over(&self, request: &Request) -> Option<NgError> {
        let options = &request.options;
        if options.record.is_none() && !options.discard {
            return None;
        }
        let entry = self.registry.find(request.call_id.as_deref()?)?;
        let (id, recorded) = entry.look(|live| (live.call.id, live.call.recorded()))?;
        let warning = match (recorded, options.record) {
            (true, _) if options.discard => NgError::Discard,
            (true, Some(Record::No)) => NgError::Recorded,
            (false, Some(Record::Yes)) => NgError::NotRecorded,
            _ => return None,
        };
        tracing::info!(%id, command = request.command.label(), "passed over what it asks of the recording: {warning}");
        Some(warning)
    }
}

impl Wish {
    fn begins(self) -> Pause {
        Pause { by: self.by, since: OffsetDateTime::now_utc() }
    }

    const fn done(self) -> &'static str {
        if self.paused { "recording paused" } else { "recording resumed" }
    }
}
