//! A call: what each offer, answer and second makes of it.
//!
//! Pure: messages and times in, the next state and a [`Draft`] of the SDP for the other leg out. The caller of
//! these functions works on a copy and keeps it only when the relay has taken the change. All of a [`Call`] is
//! sealed into the blob that the relay keeps, so that a new control can go on with it.

use std::net::IpAddr;

use relay::program::message::{CallKey, Leg, MAX_STREAMS, Place, Stream};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::dialogue::Dialogue;
use super::draft::{Draft, Shown};
use super::dtmf::Blocks;
use super::line::{Line, MuxOffer, Side};
use super::means::Means;
use crate::live::Asker;
use crate::name::{City, Role, TripId};
use crate::ng::error::NgError;
use crate::ng::flags::{Options, Transport};
use crate::route::Routed;
use crate::sdp::write::{Mux, Origin};
use crate::sdp::{Carriage, Media, Profile, Sdp};

/// After how long a call ends by itself; the settings' `…_timeout_seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Offered and not answered.
    pub offer: Duration,
    /// Answered, media may flow both ways, and no packet comes.
    pub silence: Duration,
    /// On hold without a packet. On hold is whoever cannot both speak and listen: many phones send nothing while they
    /// hold with `sendonly`.
    pub silent: Duration,
    /// From the answer, whatever happens; zero for never.
    pub longest: Duration,
}

/// What a call inherits from its route decision.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The trip.
    pub trip: TripId,
    /// Its city.
    pub city: City,
    /// Caller's and callee's role.
    pub roles: [Role; 2],
    /// Whether the call is recorded.
    pub record: bool,
    /// Longest duration from the answer on, in seconds; 0 for no limit.
    pub max_seconds: u32,
}

impl From<Routed> for Terms {
    fn from(routed: Routed) -> Self {
        let Routed { trip, city, caller_role, callee_role, record, max_seconds } = routed;
        Self { trip, city, roles: [caller_role, callee_role], record, max_seconds }
    }
}

/// Why a call ended, as the recording's label and the metrics say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ended {
    /// The proxy said so.
    Hangup,
    /// It never was answered: given up by the proxy, or waited too long.
    Unanswered,
    /// No media for too long.
    Silence,
    /// It reached the longest duration that its route decision allowed.
    Limit,
    /// The relay that carried it is gone.
    Lost,
}

impl Ended {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Hangup, Self::Unanswered, Self::Silence, Self::Limit, Self::Lost];

    /// The reason as one word.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hangup => "hangup",
            Self::Unanswered => "unanswered",
            Self::Silence => "silence",
            Self::Limit => "limit",
            Self::Lost => "lost",
        }
    }
}

/// A live call.
#[derive(Clone, Serialize, Deserialize)]
#[allow(clippy::struct_field_names, reason = "Call-ID is the field's word")]
pub struct Call {
    /// Its name in the relay.
    pub key: CallKey,
    /// Its name in control's answers, and the recording's.
    pub id: Uuid,
    /// SIP Call-ID.
    pub call_id: String,
    /// Who is who.
    pub dialogue: Dialogue,
    /// When the first offer came.
    #[serde(with = "time::serde::rfc3339")]
    pub offered_at: OffsetDateTime,
    /// When the first answer came.
    #[serde(with = "time::serde::rfc3339::option")]
    pub answered_at: Option<OffsetDateTime>,
    /// When the last offer or answer came.
    #[serde(with = "time::serde::rfc3339")]
    pub signalled_at: OffsetDateTime,
    /// What the route decision said; none for a call without.
    pub terms: Option<Terms>,
    /// The pause of its recording, while there is one.
    #[serde(default)]
    pub pause: Option<Pause>,
    /// The proxy has deleted it, and it goes on until then in case an offer or answer follows.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub delete_at: Option<OffsetDateTime>,
    /// Whose telephone events are kept from the other party.
    #[serde(default)]
    pub blocks: Blocks,
    /// The m-lines.
    pub lines: Vec<Line>,
    /// Any answer was seen, provisional ones too: from now on an offer waits for its answer to count.
    settled: bool,
    /// How many streams the relay has.
    streams: usize,
    /// The address that each leg was shown instead of the relay's (`media-address`): caller, callee.
    #[serde(default)]
    shown_as: [Option<IpAddr>; 2],
    /// The last offer.
    offer: Offer,
    /// What each leg was shown: caller, callee.
    shown: [Edition; 2],
}

/// A pause of the recording that lasts.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Pause {
    /// Who asked for it first.
    pub by: Asker,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// An offer, which counts from its answer on.
#[derive(Clone, Serialize, Deserialize)]
struct Offer {
    by: Leg,
    lines: Vec<(Side, MuxOffer)>,
    /// It has no final answer yet.
    #[serde(default)]
    pending: bool,
}

/// The description that a leg was shown last.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Edition {
    session: u64,
    version: u64,
    digest: u64,
}

/// What names a new call.
pub struct Names {
    /// For the relay.
    pub key: CallKey,
    /// For everyone else.
    pub id: Uuid,
    /// Session ids of the descriptions that caller and callee will be shown.
    pub sessions: [u64; 2],
}

impl Call {
    /// A new call out of its first offer.
    pub fn open(
        names: &Names,
        call_id: &str,
        tags: (&str, Option<&str>),
        (sdp, options, means): (Sdp, &Options, &Means<'_>),
        terms: Option<Terms>,
        now: OffsetDateTime,
    ) -> Result<(Self, Draft), NgError> {
        let (dialogue, by) = Dialogue::new(tags.0, tags.1);
        let mut call = Self {
            key: names.key,
            id: names.id,
            call_id: call_id.to_owned(),
            dialogue,
            offered_at: now,
            answered_at: None,
            signalled_at: now,
            terms,
            pause: None,
            delete_at: None,
            blocks: Blocks::default(),
            lines: Vec::new(),
            settled: false,
            streams: 0,
            shown_as: [None; 2],
            offer: Offer { by, lines: Vec::new(), pending: true },
            shown: names.sessions.map(|session| Edition { session, version: 0, digest: 0 }),
        };
        let draft = call.offered(by, (sdp, options, means), now)?;
        Ok((call, draft))
    }

    /// A further offer: tried again, or changing the call.
    pub fn offer(
        &mut self,
        (from, to): (&str, Option<&str>),
        (sdp, options, means): (Sdp, &Options, &Means<'_>),
        now: OffsetDateTime,
    ) -> Result<Draft, NgError> {
        let by = self.dialogue.offers(from, to, self.settled)?;
        self.offered(by, (sdp, options, means), now)
    }

    fn offered(
        &mut self,
        by: Leg,
        (sdp, options, means): (Sdp, &Options, &Means<'_>),
        now: OffsetDateTime,
    ) -> Result<Draft, NgError> {
        let sealed = means.srtp && !self.recorded();
        let (mut lines, mut shown, mut unbridged) = (Vec::new(), Vec::new(), false);
        for (index, media) in sdp.media.iter().enumerate() {
            let mut side = Side::of(media, options, means);
            side.on &= sealed || !side.carriage.sealed();
            let protocol = bridged(media, options);
            unbridged |= side.on && protocol.is_none();
            side.on &= protocol.is_some();
            if index >= self.lines.len() {
                self.lines.push(Line::new(media));
            }
            let known = self.lines.get(index).is_some_and(|line| line.stream.is_some());
            let new = side.on && !known && self.streams < MAX_STREAMS;
            let places = new.then(|| self.places(by, media, (options, means))).transpose()?;
            let Some(line) = self.lines.get_mut(index) else { continue };
            line.describe(media);
            if let Some(places) = places {
                (line.stream, line.places) = (Some(self.streams), places);
                self.streams += 1;
            }
            side.on &= line.stream.is_some();
            if !side.is_reached_from(line.place(by)) {
                return Err(NgError::Family);
            }
            let rtcp = side.carriage != Carriage::Fax;
            let mux = MuxOffer {
                offered: rtcp && media.mux,
                shown: rtcp && (options.mux_offer || (media.mux && !options.mux_demux)),
                accept: options.mux_accept,
                reject: options.mux_reject,
            };
            shown.push(Shown {
                stream: line.stream.filter(|_| side.on),
                protocol: protocol.filter(|_| side.on).unwrap_or(&media.protocol).to_owned(),
                mux: if mux.shown { Mux::Offered } else { Mux::No },
            });
            lines.push((side, mux));
        }
        // A re-offer may switch every stream off (port 0), a first offer must have one to carry.
        let any = lines.iter().any(|(side, _)| side.on);
        let all_off =
            self.settled && sdp.media.iter().any(|media| media.port == 0 && media.carriage().is_some());
        if !any && !all_off {
            let encrypted = means.srtp && sdp.media.iter().any(Media::relayable);
            return Err(match (unbridged, encrypted) {
                (true, _) => NgError::Transport,
                (false, true) => NgError::Encrypted,
                (false, false) => NgError::Unsupported,
            });
        }
        self.offer = Offer { by, lines, pending: true };
        self.blocks_dtmf(by, options);
        self.signalled_at = now;
        self.delete_at = None;
        if !self.settled {
            self.apply_offer();
        }
        self.draft(by.other(), sdp, shown, options)
    }

    /// Where the ports of a new stream lie, towards caller and callee.
    fn places(
        &self,
        by: Leg,
        media: &Media,
        (options, means): (&Options, &Means<'_>),
    ) -> Result<[Place; 2], NgError> {
        let swap = |[a, b]: [Place; 2]| if by == Leg::Caller { [a, b] } else { [b, a] };
        let before = self.lines.iter().find(|line| line.stream.is_some()).map(|line| swap(line.places));
        let own = media.receives_at(options.address).map(|(rtp, _)| rtp.ip()).or(media.address);
        means.places(options, own, before).map(swap)
    }

    /// An answer, of the leg that `to` names.
    pub fn answer(
        &mut self,
        (from, to): (&str, &str),
        (mut sdp, options, means): (Sdp, &Options, &Means<'_>),
        now: OffsetDateTime,
    ) -> Result<Draft, NgError> {
        let by = self.dialogue.answers(from, to, self.offer.pending)?;
        if by == self.offer.by {
            return Err(NgError::Dialogue);
        }
        // RFC 3264 section 6: as many m-lines as the offer. Some leave off what they refuse.
        if sdp.media.len() > self.offer.lines.len() {
            return Err(NgError::BadSdp);
        }
        for line in self.lines.iter().take(self.offer.lines.len()).skip(sdp.media.len()) {
            sdp.media.push(Media::refusing(&line.kind, &line.protocol, &line.format));
        }
        self.apply_offer();
        let mut shown = Vec::new();
        for ((line, media), (_, mux)) in self.lines.iter_mut().zip(&sdp.media).zip(&self.offer.lines) {
            let answerer_muxes = mux.shown && media.mux;
            let offerer_muxes =
                mux.offered && !mux.reject && (answerer_muxes || mux.accept || options.mux_accept);
            let mut side = Side::of(media, options, means);
            let offered = line.side(by.other());
            side.on &= offered.on && offered.carriage == side.carriage && media.kind == line.kind;
            if !side.is_reached_from(line.place(by)) {
                return Err(NgError::Family);
            }
            side.mux = answerer_muxes;
            let on = side.on;
            *line.side_mut(by) = side;
            let offerer = line.side_mut(by.other());
            offerer.on = on;
            offerer.mux = offerer_muxes;
            shown.push(Shown {
                stream: line.stream.filter(|_| on),
                protocol: line.protocol.clone(),
                mux: if offerer_muxes { Mux::Agreed } else { Mux::No },
            });
        }
        self.settled = true;
        self.blocks_dtmf(by, options);
        self.signalled_at = now;
        self.delete_at = None;
        if !options.provisional {
            self.answered_at.get_or_insert(now);
            self.offer.pending = false;
            self.dialogue.bind(from, to);
        }
        self.draft(by.other(), sdp, shown, options)
    }

    /// Lets the last offer count. Lines that it left out are off.
    fn apply_offer(&mut self) {
        let by = self.offer.by;
        for (index, line) in self.lines.iter_mut().enumerate() {
            let side = self.offer.lines.get(index).map(|(side, _)| side.clone()).unwrap_or_default();
            if !side.on && self.settled {
                line.side_mut(by.other()).on = false;
            }
            *line.side_mut(by) = side;
        }
    }

    fn draft(
        &mut self,
        towards: Leg,
        sdp: Sdp,
        shown: Vec<Shown>,
        options: &Options,
    ) -> Result<Draft, NgError> {
        let instead = options.shown_as;
        let lines = self.lines.iter().filter(|line| line.stream.is_some());
        let fits = |address| lines.map(|line| line.place(towards)).all(|place| place.family.fits(address));
        if instead.is_some_and(|address| !fits(address)) {
            return Err(NgError::Family);
        }
        let [caller, callee] = &mut self.shown_as;
        *(if towards == Leg::Caller { caller } else { callee }) = instead;
        let draft = Draft::new(towards, sdp, shown, instead);
        let digest = draft.digest();
        let [caller, callee] = &mut self.shown;
        let edition = if towards == Leg::Caller { caller } else { callee };
        if edition.version == 0 || edition.digest != digest {
            edition.version += 1;
            edition.digest = digest;
        }
        Ok(draft)
    }

    /// The addresses that caller and callee were shown instead of the relay's.
    pub const fn shown_as(&self) -> [Option<IpAddr>; 2] {
        self.shown_as
    }

    /// The `o=` of what a leg is shown now.
    pub const fn origin(&self, leg: Leg) -> Origin {
        let [caller, callee] = &self.shown;
        let Edition { session, version, .. } = if matches!(leg, Leg::Caller) { *caller } else { *callee };
        Origin { session, version }
    }

    /// The relay's streams, in their order.
    pub fn streams(&self) -> Vec<Stream> {
        let line = |n| self.lines.iter().find(|line| line.stream == Some(n));
        let mut streams: Vec<Stream> =
            (0..self.streams).map(|n| line(n).map(Line::to_stream).unwrap_or_default()).collect();
        self.blocks.apply(&mut streams);
        streams
    }

    /// Blocks a party's telephone events when its offer or answer says so; nothing of it says that they pass again.
    const fn blocks_dtmf(&mut self, by: Leg, options: &Options) {
        if options.block_dtmf {
            self.blocks.set(Some(by), true);
        }
    }

    /// Why it ends when the proxy deletes it.
    pub const fn given_up(&self) -> Ended {
        if self.answered_at.is_some() { Ended::Hangup } else { Ended::Unanswered }
    }

    /// Whether the recorder shall get it.
    pub fn recorded(&self) -> bool {
        self.terms.as_ref().is_some_and(|terms| terms.record)
    }

    /// Whether it is on hold: answered, and media does not flow both ways.
    pub fn held(&self) -> bool {
        self.settled && !self.lines.iter().any(Line::flows)
    }

    /// Why it must end now, if it must: deleted a while ago, not answered in time, or at its longest duration.
    pub fn overdue(&self, now: OffsetDateTime, times: &Times) -> Option<Ended> {
        if self.delete_at.is_some_and(|at| now >= at) {
            return Some(self.given_up());
        }
        let Some(answered) = self.answered_at else {
            return (now - self.signalled_at >= times.offer).then_some(Ended::Unanswered);
        };
        let allowed = self.terms.as_ref().map_or(0, |terms| terms.max_seconds);
        let over = |longest: Duration| longest.is_positive() && now - answered >= longest;
        (over(Duration::seconds(allowed.into())) || over(times.longest)).then_some(Ended::Limit)
    }

    /// Whether a silence of `seconds` ends it. Counts from the last offer or answer at the earliest: a call that
    /// comes off hold, or was just answered, has had no chance to speak.
    pub fn silent_too_long(&self, seconds: u32, now: OffsetDateTime, times: &Times) -> bool {
        let longest = if self.held() { times.silent } else { times.silence };
        let silence = Duration::seconds(seconds.into()).min(now - self.signalled_at);
        self.answered_at.is_some() && silence >= longest
    }
}

/// The protocol to show of an m-line: what the proxy asks for, when only feedback is to come or go; none when what it
/// asks for is not known, or takes or gives encryption.
fn bridged<'a>(media: &'a Media, options: &Options) -> Option<&'a str> {
    let (Some(own), Some(transport)) = (Profile::read(&media.protocol), options.transport) else {
        return Some(&media.protocol);
    };
    match transport {
        Transport::Profile(profile) => (profile.security() == own.security()).then(|| profile.name()),
        Transport::Other => None,
    }
}

#[cfg(test)]
mod tests;
