//! What the proxy asks, done: offers, answers and deletes become requests to the relay.
//!
//! Runs on control's runtime, any number of requests at once, those for one call one after the other. Logs name
//! a call by its key in the relay and its id; Call-ID and tags stay out of them.

use std::sync::Arc;
use std::time::Instant;

use relay::program::Client;
use relay::program::client::ClientError;
use relay::program::message::{CallKey, Learning, Refusal, Reply, Request as Ask};
use time::OffsetDateTime;
use uuid::Uuid;

use super::dialogue::Scope;
use super::draft::Draft;
use super::dtmf::Digits;
use super::fence::Fence;
use super::label;
use super::link::Link;
use super::means::Means;
use super::registry::{Entry, Live, Registry};
use super::report::report;
use super::state::{Call, Ended, Names, Terms, Times};
use crate::moment::Moment;
use crate::ng::counts::Counts;
use crate::ng::error::NgError;
use crate::ng::flags::Options;
use crate::ng::message::{Command, Request, ok};
use crate::ng::value::Value;
use crate::quality::journal::Records;
use crate::quality::tally::Tally;
use crate::route::{Claim, RouteBook};
use crate::sdp::Sdp;
use crate::secret::Keys;
use crate::settings::{ControlSettings, Dtmf, Srtp, UnroutedOffers};
use crate::store::{RecordingEntry, Store};

/// Longest list of Call-IDs, in bytes: it must fit into one datagram.
const LONGEST_LIST: usize = 48 * 1024;
/// Tries to note a recording in the store, the pause between them doubling from one second.
const NOTE_TRIES: u32 = 8;

/// What the settings say about calls.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// What becomes of an offer that no route decision announced.
    pub unrouted: UnroutedOffers,
    /// After how long calls end by themselves.
    pub times: Times,
    /// How long a call goes on after its delete.
    pub delete_delay: time::Duration,
    /// Where packets may come from when the proxy says nothing about it.
    pub learning: Learning,
    /// Whether SRTP between the parties may pass.
    pub srtp: bool,
    /// How many times the packets that were negotiated are let through; 0 for no limit.
    pub packet_rate_multiple: u32,
    /// Telephone events are kept from the other party until the proxy says otherwise.
    pub block_dtmf: bool,
}

/// The live calls, and how requests change them.
pub struct Calls {
    pub(super) keys: Arc<Keys>,
    pub(super) book: Arc<RouteBook>,
    store: Arc<dyn Store>,
    pub(super) policy: Policy,
    fence: Fence,
    pub(super) registry: Registry,
    pub(super) link: Link,
    /// What the NG server counts.
    pub ng: Counts,
    pub(super) ended: super::live::EndedCounts,
    /// How the calls sounded that ended.
    pub(super) tally: Tally,
    /// Where their records go.
    pub(super) records: Records,
    pub(super) digits: Digits,
}

impl Calls {
    /// No calls yet, and no relay: [`super::Calls::attach`] finds one.
    pub fn new(
        settings: &ControlSettings,
        keys: Arc<Keys>,
        book: Arc<RouteBook>,
        store: Arc<dyn Store>,
        records: Records,
    ) -> Arc<Self> {
        let policy = Policy {
            unrouted: settings.unrouted_offers,
            times: Times {
                offer: time::Duration::seconds(settings.offer_timeout_seconds.into()),
                silence: time::Duration::seconds(settings.timeout_seconds.into()),
                silent: time::Duration::seconds(settings.silent_timeout_seconds.into()),
                longest: time::Duration::seconds(settings.final_timeout_seconds.into()),
            },
            delete_delay: time::Duration::seconds(settings.delete_delay_seconds.into()),
            learning: settings.learning.into(),
            srtp: settings.srtp == Srtp::Pass,
            packet_rate_multiple: settings.packet_rate_multiple,
            block_dtmf: settings.dtmf == Dtmf::Block,
        };
        Arc::new(Self {
            keys,
            book,
            store,
            policy,
            fence: Fence::new(vec![settings.ng, settings.http]),
            registry: Registry::default(),
            link: Link::default(),
            ng: Counts::default(),
            ended: super::live::EndedCounts::default(),
            tally: Tally::default(),
            records,
            digits: Digits::new(&settings.dtmf_notify),
        })
    }

    /// Keeps connected to the relay at `socket`, and tells of keys, for ever.
    pub async fn attach(self: Arc<Self>, socket: std::path::PathBuf) {
        tokio::join!(super::link::run(Arc::clone(&self), socket), self.digits.notices.run());
    }

    /// Does what is asked; the reply is the whole dictionary.
    pub async fn handle(self: &Arc<Self>, request: &Request) -> Result<Value, NgError> {
        match request.command {
            Command::Ping => Ok(Value::dict([("result", "pong".into())])),
            Command::Offer => self.offer(request).await.map(|reply| self.warned(request, reply)),
            Command::Answer => self.answer(request).await.map(|reply| self.warned(request, reply)),
            Command::Delete => {
                let warning = self.passed_over(request);
                let reply = self.delete(request).await?;
                Ok(match warning {
                    Some(warning) => reply.with("warning", warning.to_string()),
                    None => reply,
                })
            }
            Command::Query => self.query(request).await,
            Command::List => Ok(self.list(request.limit)),
            Command::StartRecording => self.tap(request, false).await,
            Command::PauseRecording => self.tap(request, true).await,
            Command::BlockDtmf => self.block_dtmf(request, true).await,
            Command::UnblockDtmf => self.block_dtmf(request, false).await,
        }
    }

    async fn offer(&self, request: &Request) -> Result<Value, NgError> {
        let (sdp, call_id) = (body(request)?, request.call_id()?);
        let from = request.from_tag.as_deref().ok_or(NgError::NoFromTag)?;
        let tags = (from, request.to_tag.as_deref());
        let sdp = parse(sdp)?;
        let client = self.link.client_soon().await?;
        self.check(&sdp, request, &client)?;
        loop {
            let entry = self.registry.enter(call_id);
            let _turn = entry.turn.lock().await;
            if !self.registry.stands(call_id, &entry) {
                continue;
            }
            let Some(live) = entry.live() else {
                let opened = self.open(&client, &entry, call_id, tags, (sdp, request)).await;
                if opened.is_err() {
                    self.registry.leave(call_id, &entry);
                }
                return opened;
            };
            let mut call = live.call;
            let (options, means) = (self.options(request), self.means(&client));
            let draft = call.offer(tags, (sdp, &options, &means), OffsetDateTime::now_utc())?;
            request.via_branch.iter().for_each(|branch| call.dialogue.branch(branch));
            return self.update(&client, &entry, call, &draft).await;
        }
    }

    /// Refuses addresses that nothing may be sent to.
    fn check(&self, sdp: &Sdp, request: &Request, client: &Client) -> Result<(), NgError> {
        let given = |address| self.registry.gave(address);
        self.fence.check(sdp, &request.options, client.interfaces(), given)
    }

    /// What the request asks for, and where it says nothing, the settings.
    fn options(&self, request: &Request) -> Options {
        let strict = request.options.strict_source.then_some(Learning::Strict);
        let learning = request.options.learning.or(strict).unwrap_or(self.policy.learning);
        Options { learning: Some(learning), ..request.options.clone() }
    }

    /// What there is to carry media with.
    fn means<'a>(&self, client: &'a Client) -> Means<'a> {
        let Policy { srtp, packet_rate_multiple, .. } = self.policy;
        Means { interfaces: client.interfaces(), srtp, packet_rate_multiple }
    }

    async fn open(
        &self,
        client: &Client,
        entry: &Arc<Entry>,
        call_id: &str,
        tags: (&str, Option<&str>),
        (sdp, request): (Sdp, &Request),
    ) -> Result<Value, NgError> {
        let terms = self.terms(call_id, tags.1.is_some())?;
        let offered = sdp.clone();
        let now = OffsetDateTime::now_utc();
        let (options, means) = (self.options(request), self.means(client));
        let (mut call, draft) = Call::open(&names()?, call_id, tags, (sdp, &options, &means), terms, now)?;
        call.blocks.set(None, self.policy.block_dtmf);
        request.via_branch.iter().for_each(|branch| call.dialogue.branch(branch));
        let ask = Ask::Open {
            call: call.key,
            blob: self.seal(&call)?,
            max_seconds: call.terms.as_ref().map_or(0, |terms| terms.max_seconds),
            label: label::label(&call, &self.keys, None),
            streams: call.streams(),
        };
        let reply = client.ask(ask).await.map_err(|e| refused(&call, &e))?;
        let trip = call.terms.as_ref().map_or("", |terms| terms.trip.as_str());
        tracing::info!(call = %call.key, id = %call.id, trip, recorded = call.recorded(), "offer");
        self.book.used(call_id, Moment::now());
        let done = self.taken(entry, call, &draft, reply);
        // The ports that it was just given are no place for its media either.
        let checked = self.check(&offered, request, client);
        if let Err(e) = checked.and(done.as_ref().map(drop).map_err(NgError::clone)) {
            if let Some(live) = entry.live() {
                self.close(entry, &live, Ended::Unanswered).await;
                self.book.released(call_id, Moment::now());
            }
            return Err(e);
        }
        done
    }

    async fn answer(&self, request: &Request) -> Result<Value, NgError> {
        let (sdp, call_id) = (body(request)?, request.call_id()?);
        let from = request.from_tag.as_deref().ok_or(NgError::NoFromTag)?;
        let to = request.to_tag.as_deref().ok_or(NgError::NoToTag)?;
        let sdp = parse(sdp)?;
        let client = self.link.client_soon().await?;
        self.check(&sdp, request, &client)?;
        let entry = self.registry.find(call_id).ok_or(NgError::UnknownCall)?;
        let _turn = entry.turn.lock().await;
        let mut call = entry.live().ok_or(NgError::UnknownCall)?.call;
        let was_answered = call.answered_at.is_some();
        let (options, means) = (self.options(request), self.means(&client));
        let draft = call.answer((from, to), (sdp, &options, &means), OffsetDateTime::now_utc())?;
        let (id, key, answered) = (call.id, call.key, call.answered_at.is_some() && !was_answered);
        let reply = self.update(&client, &entry, call, &draft).await?;
        if answered {
            tracing::info!(call = %key, %id, "answer");
            entry.live().iter().for_each(|live| self.note_recording(&live.call));
        }
        Ok(reply)
    }

    async fn update(
        &self,
        client: &Client,
        entry: &Arc<Entry>,
        call: Call,
        draft: &Draft,
    ) -> Result<Value, NgError> {
        match client.ask(self.to_update(&call)?).await {
            Ok(reply) => self.taken(entry, call, draft, reply),
            Err(e) => {
                if matches!(e, ClientError::Refused(Refusal::UnknownCall)) {
                    self.registry.leave(&call.call_id, entry);
                    self.forget(&Live { call: call.clone(), ports: Vec::new() }, Ended::Lost);
                }
                Err(refused(&call, &e))
            }
        }
    }

    fn to_update(&self, call: &Call) -> Result<Ask, NgError> {
        Ok(Ask::Update {
            call: call.key,
            blob: Some(self.seal(call)?),
            label: label::label(call, &self.keys, None),
            streams: call.streams(),
        })
    }

    /// The relay has taken the new state: now it counts.
    fn taken(&self, entry: &Arc<Entry>, call: Call, draft: &Draft, reply: Reply) -> Result<Value, NgError> {
        let Reply::Opened(ports) = reply else { return Err(NgError::Internal) };
        let sdp = draft.write(call.origin(draft.towards), &ports);
        let key = call.key;
        self.registry.put(entry, Live { call, ports });
        let sdp = sdp.ok_or_else(|| {
            tracing::error!(call = %key, "the relay gave fewer ports than streams");
            NgError::Internal
        })?;
        Ok(ok().with("sdp", sdp))
    }

    /// What a call that is opened now inherits. An offer inside a dialog (`in_dialog`) opens a call only when its route
    /// decision still waits for its first offer: else that call has been, and must not go on without its limits.
    fn terms(&self, call_id: &str, in_dialog: bool) -> Result<Option<Terms>, NgError> {
        match (self.book.claim(call_id, in_dialog, Moment::now()), self.policy.unrouted) {
            (Claim::Opens(routed), _) => Ok(Some(routed.into())),
            (Claim::Refused, _) => Err(NgError::Refused),
            (Claim::Spent, _) => Err(NgError::UnknownCall),
            (Claim::Unknown, _) if in_dialog => Err(NgError::UnknownCall),
            (Claim::Unknown, UnroutedOffers::Relay) => Ok(None),
            (Claim::Unknown, UnroutedOffers::Refuse) => Err(NgError::NotRouted),
        }
    }

    pub(super) fn seal(&self, call: &Call) -> Result<Vec<u8>, NgError> {
        label::seal(call, &self.keys).map_err(|e| {
            tracing::error!(call = %call.key, "the call's state cannot be sealed: {e}");
            NgError::Internal
        })
    }

    async fn delete(&self, request: &Request) -> Result<Value, NgError> {
        let call_id = request.call_id()?;
        let relay = self.link.client_soon().await;
        if let Some(entry) = self.registry.find(call_id) {
            let _turn = entry.turn.lock().await;
            if let Some(mut live) = entry.live() {
                let mut scope =
                    live.call.dialogue.delete(request.from_tag.as_deref(), request.to_tag.as_deref());
                let branch = request.via_branch.as_deref();
                if scope == Scope::Call && branch.is_some_and(|branch| live.call.dialogue.ends_branch(branch))
                {
                    scope = Scope::Branch;
                }
                match scope {
                    Scope::Nothing => return nothing_deleted(request),
                    Scope::Branch => {
                        self.keep(&entry, live).await;
                        return Ok(ok());
                    }
                    Scope::Call => {}
                }
                let delay = request.options.delete_delay.map(|s| time::Duration::seconds(s.into()));
                let delay = delay.unwrap_or(self.policy.delete_delay);
                // While the relay is away its blob cannot say so, and what it says is taken when it is back.
                if delay.is_positive() && relay.is_ok() {
                    live.call.delete_at.get_or_insert(OffsetDateTime::now_utc() + delay);
                    self.keep(&entry, live).await;
                    return if request.options.fast { Ok(ok()) } else { self.query(request).await };
                }
                let why = live.call.given_up();
                if why == Ended::Unanswered {
                    self.book.released(call_id, Moment::now());
                }
                let figures = self.close(&entry, &live, why).await;
                return Ok(if request.options.fast { ok() } else { figures.with("result", "ok") });
            }
        }
        match self.registry.remembered(call_id, Instant::now()) {
            Some(figures) if !request.options.fast => Ok(figures.with("result", "ok")),
            Some(_) => Ok(ok()),
            None if relay.is_err() => {
                self.link.delete_later(call_id);
                Ok(ok())
            }
            None => nothing_deleted(request),
        }
    }

    /// Keeps that one destination of a forked call is given up, or that a call is to end soon, here and in the relay's
    /// blob. It is so whatever the relay says: at worst a new control does not know, and other time-outs end the call.
    async fn keep(&self, entry: &Arc<Entry>, live: Live) {
        let (key, ask) = (live.call.key, self.to_update(&live.call));
        self.registry.put(entry, live);
        let told = async { self.link.client()?.ask(ask?).await.map_err(|e| NgError::from(&e)) };
        if let Err(e) = told.await {
            tracing::warn!(call = %key, "{e}");
        }
    }

    /// Ends a call whose turn the caller holds: at once, or, while the relay is away, when it is back.
    pub(super) async fn close(&self, entry: &Arc<Entry>, live: &Live, why: Ended) -> Value {
        let (call, now) = (&live.call, OffsetDateTime::now_utc());
        let label = label::label(call, &self.keys, Some((why, now)));
        let closed = match self.link.client() {
            Ok(client) => client.ask(Ask::Close { call: call.key, label: label.clone() }).await,
            Err(_) => Err(ClientError::Gone("not connected".into())),
        };
        let counters = match closed {
            Ok(Reply::Closed(counters)) => Some(counters),
            Ok(_) | Err(ClientError::Refused(Refusal::UnknownCall)) => None,
            Err(e) => {
                tracing::warn!(call = %call.key, "the call is closed when the relay is back: {e}");
                self.link.close_later(call.key, label);
                None
            }
        };
        self.registry.leave(&call.call_id, entry);
        let figures = report(live, counters.as_ref(), now.unix_timestamp());
        self.registry.remember(&call.call_id, &figures, Instant::now());
        self.count_end(call, why);
        self.note_end(call, why, counters.as_ref(), now);
        figures
    }

    /// Takes leave of a call that the relay does not have.
    pub(super) fn forget(&self, live: &Live, why: Ended) {
        if why == Ended::Lost {
            self.book.ended(&live.call.call_id, Moment::now());
        }
        let now = OffsetDateTime::now_utc();
        let figures = report(live, None, now.unix_timestamp());
        self.registry.remember(&live.call.call_id, &figures, Instant::now());
        self.count_end(&live.call, why);
        self.note_end(&live.call, why, None, now);
    }

    fn count_end(&self, call: &Call, why: Ended) {
        self.ended.count(why);
        let trip = call.terms.as_ref().map_or("", |terms| terms.trip.as_str());
        tracing::info!(call = %call.key, id = %call.id, trip, why = why.label(), "end");
    }

    async fn query(&self, request: &Request) -> Result<Value, NgError> {
        let call_id = request.call_id()?;
        let client = self.link.client_soon().await?;
        let entry = self.registry.find(call_id).ok_or(NgError::UnknownCall)?;
        let live = entry.live().ok_or(NgError::UnknownCall)?;
        let reply =
            client.ask(Ask::Read { call: live.call.key }).await.map_err(|e| refused(&live.call, &e))?;
        let Reply::Counters(counters) = reply else { return Err(NgError::Internal) };
        let now = OffsetDateTime::now_utc().unix_timestamp();
        Ok(report(&live, Some(&counters), now).with("result", "ok"))
    }

    fn list(&self, limit: usize) -> Value {
        let mut bytes = 0;
        let calls = self.registry.look(|live| live.call.call_id.clone()).into_iter().take(limit);
        let calls = calls.take_while(|call_id| {
            bytes += call_id.len() + 8;
            bytes <= LONGEST_LIST
        });
        ok().with("calls", calls.map(Value::from).collect::<Vec<_>>())
    }

    /// Tells the store that an answered call's recording exists, again and again until it is on disk.
    pub(super) fn note_recording(&self, call: &Call) {
        if !call.recorded() {
            return;
        }
        let (id, store) = (call.id, Arc::clone(&self.store));
        let entry = RecordingEntry {
            id,
            trip: call.terms.as_ref().map(|terms| terms.trip.clone()),
            call: label::pseudonym(&self.keys, &call.call_id),
            started_at: Moment::from_unix(call.offered_at.unix_timestamp()),
        };
        tokio::spawn(async move {
            for n in 0..NOTE_TRIES {
                match store.recording_started(entry.clone()).await {
                    Ok(()) => return,
                    Err(e) => tracing::warn!(%id, "the recording is not noted yet: {e}"),
                }
                tokio::time::sleep(std::time::Duration::from_secs(1 << n)).await;
            }
            tracing::error!(%id, "the recording is in the archive but not in the store: its trip will not list it");
        });
    }
}

fn body(request: &Request) -> Result<&str, NgError> {
    request.sdp.as_deref().ok_or(NgError::NoSdp)
}

fn parse(text: &str) -> Result<Sdp, NgError> {
    Sdp::parse(text).map_err(|e| {
        tracing::info!("SDP refused: {e}");
        e.into()
    })
}

fn nothing_deleted(request: &Request) -> Result<Value, NgError> {
    let reason = NgError::NothingDeleted;
    if request.options.fatal { Err(reason) } else { Ok(ok().with("warning", reason.to_string())) }
}

/// Logs why the relay did not do it.
pub(super) fn refused(call: &Call, error: &ClientError) -> NgError {
    tracing::warn!(call = %call.key, "{error}");
    NgError::from(error)
}

/// Random names for a new call.
fn names() -> Result<Names, NgError> {
    let random = || {
        getrandom::u64().map_err(|e| {
            tracing::error!("the system gives no random bytes: {e}");
            NgError::Internal
        })
    };
    // RFC 8866 section 5.2: numeric; kept positive for those who read it as a signed number.
    let session = || random().map(|n| n >> 2);
    Ok(Names { key: CallKey(random()?), id: Uuid::now_v7(), sessions: [session()?, session()?] })
}
