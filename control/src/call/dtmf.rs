//! Telephone events (RFC 4733) of calls: kept from the other party on the proxy's word, and told to the site's IVR.
//!
//! On control's runtime. Who is blocked stands in the call's blob; the relay blocks. Digits are card numbers and PINs: they
//! pass through here from the relay to [`notice`], which sends them to the one address that the settings name, and go to
//! no log, no metric and no other answer.

pub(super) mod notice;

use std::sync::atomic::{AtomicU64, Ordering};

use relay::program::message::{Event, Leg, Request as Ask, Stream};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::desk::{Calls, refused};
use crate::metrics::{Kind, Text};
use crate::ng::error::NgError;
use crate::ng::message::{Request, ok};
use crate::ng::value::Value;
use notice::{Notice, Notices};

const EVENTS: &str = "bauta_telephone_events_total";

/// Whose events are kept from the other party. That of the whole call and those of its parties are set one by one: who
/// lifts the one leaves the others, as the incumbent has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    call: bool,
    legs: [bool; 2],
}

impl Blocks {
    /// Blocks or unblocks a party's events; without a party, those of the call.
    pub const fn set(&mut self, party: Option<Leg>, blocked: bool) {
        let [caller, callee] = &mut self.legs;
        match party {
            None => self.call = blocked,
            Some(Leg::Caller) => *caller = blocked,
            Some(Leg::Callee) => *callee = blocked,
        }
    }

    /// Tells the relay's streams.
    pub fn apply(self, streams: &mut [Stream]) {
        for (leg, blocked) in streams.iter_mut().flat_map(|stream| stream.legs.iter_mut().zip(self.legs)) {
            leg.block_events = self.call || blocked;
        }
    }
}

/// Keys that the relay told of, by leg, and where they go.
pub struct Digits {
    told: [AtomicU64; 2],
    pub(super) notices: Notices,
}

impl Digits {
    /// They go to `receiver` (`HOST:PORT`), or with an empty one nowhere.
    pub fn new(receiver: &str) -> Self {
        Self { told: Default::default(), notices: Notices::new(receiver) }
    }

    /// Writes the families.
    pub fn write(&self, text: &mut Text) {
        text.family(EVENTS, Kind::Counter, "Keys that parties pressed, as telephone events.");
        for (leg, told) in ["caller", "callee"].into_iter().zip(&self.told) {
            text.sample(EVENTS, &[("leg", leg)], told.load(Ordering::Relaxed));
        }
        self.notices.write(text);
    }
}

impl Calls {
    /// NG's `block DTMF` and `unblock DTMF`: of the call, or with the flag `directional` of the party of `from-tag`. With
    /// the flag `all`, unblocking lifts the blocks of parties too.
    pub(super) async fn block_dtmf(&self, request: &Request, blocked: bool) -> Result<Value, NgError> {
        let call_id = request.call_id()?;
        if request.options.selects {
            return Err(NgError::Selection);
        }
        let client = self.link.client_soon().await?;
        let entry = self.registry.find(call_id).ok_or(NgError::UnknownCall)?;
        let _turn = entry.turn.lock().await;
        let mut live = entry.live().ok_or(NgError::UnknownCall)?;
        let call = &mut live.call;
        let options = &request.options;
        match request.from_tag.as_deref() {
            _ if options.all && !blocked => call.blocks = Blocks::default(),
            Some(tag) if options.directional && !options.all => {
                call.blocks.set(Some(call.dialogue.leg(tag).ok_or(NgError::UnknownTag)?), blocked);
            }
            _ => call.blocks.set(None, blocked),
        }
        let update = Ask::Update {
            call: call.key,
            blob: Some(self.seal(call)?),
            label: None,
            streams: call.streams(),
        };
        client.ask(update).await.map_err(|e| refused(&live.call, &e))?;
        tracing::info!(call = %live.call.key, id = %live.call.id, "{}", request.command.label());
        self.registry.put(&entry, live);
        Ok(ok())
    }

    /// The relay tells of a key.
    pub(super) fn pressed(&self, told: &Event) {
        let Event::Digit { call, leg, event, duration_ms, volume } = told else { return };
        if let Some(count) = self.digits.told.get(*leg as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !self.digits.notices.wanted() {
            return;
        }
        let Some(entry) = self.registry.find_key(*call) else { return };
        let notice = entry.look(|live| {
            let dialogue = &live.call.dialogue;
            let tags = Leg::BOTH.into_iter().flat_map(|leg| dialogue.tags(leg)).map(String::as_str);
            let notice = Notice {
                callid: &live.call.call_id,
                source_tag: dialogue.tags(*leg).last().map_or("", String::as_str),
                tags: tags.collect(),
                kind: "DTMF",
                timestamp: OffsetDateTime::now_utc().unix_timestamp(),
                event: event.0,
                duration: *duration_ms,
                volume: *volume,
            };
            notice.to_json()
        });
        notice.into_iter().for_each(|notice| self.digits.notices.send(notice));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_lifts_the_block_of_the_call_leaves_that_of_a_party() {
        let blocked = |blocks: Blocks| {
            let mut streams = [Stream::default(); 2];
            blocks.apply(&mut streams);
            assert_eq!(streams[0], streams[1]);
            streams[0].legs.map(|leg| leg.block_events)
        };
        let mut blocks = Blocks::default();
        assert_eq!(blocked(blocks), [false, false]);
        blocks.set(None, true);
        blocks.set(Some(Leg::Callee), true);
        assert_eq!(blocked(blocks), [true, true]);
        blocks.set(None, false);
        assert_eq!(blocked(blocks), [false, true]);
        blocks.set(Some(Leg::Callee), false);
        assert_eq!(blocked(blocks), [false, false]);
    }
}
