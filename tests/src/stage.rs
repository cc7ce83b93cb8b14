//! A POP with a SIP proxy in front, a city, and calls over it: what every test of a whole call starts from.

use crate::archive::{Archive, files};
use crate::audio::{Match, Stereo, find, found_in_pieces};
use crate::capture::{Capture, Wire};
use crate::deadline::{seconds, until};
use crate::kamailio::{Kamailio, Site};
use crate::leak::Canary;
use crate::pop::{Lane, Pop};
use crate::ports::Ports;
use crate::raw::line;
use crate::sipp::{Part, Phone};
use crate::speech::Speech;
use crate::trip::{Trip, city};

/// How far the archive's length may be from the media's, and its channels from each other, in milliseconds.
const TOLERANCE: i64 = 40;
/// Milliseconds from the last word to the end of a call, at most.
const HANG_UP: i64 = 4000;
/// Likeness of a channel to what was said on it, at least.
const SAME: f64 = 0.9;
/// How much of what was said must be found in pieces, where the whole is not the same: on a machine that stands still for
/// a moment phones send late, then all at once, and the archive follows what looks like their clock, by milliseconds.
const PIECES: f64 = 0.75;
/// Likeness of a channel to what was said on the other one, at most.
const OTHER: f64 = 0.3;

/// POP, proxy and voices.
#[derive(Debug)]
pub struct Stage {
    /// The SIP proxy.
    pub kamailio: Kamailio,
    /// The POP.
    pub pop: Pop,
    /// What callers say.
    pub caller: Speech,
    /// What callees say.
    pub callee: Speech,
}

/// Calls in progress.
#[derive(Debug)]
pub struct Calls {
    callers: Phone,
    callees: Phone,
    capture: Capture,
    count: usize,
}

impl Stage {
    /// Starts POP and proxy, and makes the city. Calls go out to the callee of the test.
    pub fn set(lane: Lane) -> Self {
        Self::with_site(lane, |_| Site::default())
    }

    /// The same, with the proxy of the site that `site` describes.
    pub fn with_site(lane: Lane, site: impl FnOnce(&Ports) -> Site) -> Self {
        Self::of(Pop::start(lane), site)
    }

    /// As [`Self::set`], on these ports.
    pub fn on(ports: Ports, lane: Lane) -> Self {
        Self::of(Pop::on(ports, lane), |_| Site::default())
    }

    fn of(pop: Pop, site: impl FnOnce(&Ports) -> Site) -> Self {
        city(&pop);
        let kamailio = Kamailio::start(&pop.ports, pop.folder(), &pop.token("proxy"), &site(&pop.ports));
        Self { kamailio, pop, caller: Speech::caller(), callee: Speech::callee() }
    }

    /// Starts one call per trip, driver to passenger, all at once.
    pub fn call(&self, trips: &[Trip]) -> Calls {
        let callee = Part::speaks("callee", &self.callee);
        let caller = Part::speaks("caller", &self.caller);
        self.start(trips, &caller, &callee)
    }

    /// Starts one call per trip in which both sides do as told.
    pub fn start(&self, trips: &[Trip], caller: &Part<'_>, callee: &Part<'_>) -> Calls {
        let (ports, folder) = (&self.pop.ports, self.pop.folder());
        let capture = Capture::start(ports, folder);
        let callees = Phone::answers(ports, folder, callee, &trips[0].passenger.phone, trips.len());
        let dials: Vec<_> = trips.iter().map(Trip::driver_dials).collect();
        let callers = Phone::calls(ports, folder, self.kamailio.address(), caller, &dials);
        Calls { callers, callees, capture, count: trips.len() }
    }

    /// The driver's phone calls, the passenger's refuses. Fails when either side learns the other's number; returns the
    /// number that the passenger's phone showed.
    #[track_caller]
    pub fn rings(&self, trip: &Trip) -> String {
        let (caller, callee) = (Part::with_code("rejected", 486), Part::with_code("refuses", 486));
        let wire = self.start(std::slice::from_ref(trip), &caller, &callee).finish();
        self.nobody_learns_the_other_number(&wire, trip);
        self.pop.wait_until_idle();
        let at_callee = wire.sip(self.pop.ports.callee());
        let invite = at_callee.iter().find(|m| m.starts_with("INVITE")).expect("the callee got an INVITE");
        let from = line(invite, "From: <sip:");
        from.trim_start_matches("From: <sip:").split('@').next().expect("a number").to_owned()
    }

    /// Lets somebody call who must be refused with `code`; returns what was on the wire.
    pub fn refused(&self, dials: crate::sipp::Dials, code: u16) -> Wire {
        let (ports, folder) = (&self.pop.ports, self.pop.folder());
        let capture = Capture::start(ports, folder);
        let part = Part::with_code("rejected", code);
        Phone::calls(ports, folder, self.kamailio.address(), &part, &[dials]).finish();
        capture.finish()
    }

    /// Fails unless both directions of all `count` calls, the first ones of this POP, arrived complete, in order and
    /// unchanged. Packets that the capture itself lost may be missing in it; the relay must have forwarded them.
    #[track_caller]
    pub fn both_directions_complete(&self, wire: &Wire, count: usize) {
        if wire.lost > 0 {
            eprintln!(
                "tcpdump lost {} packets: completeness is judged by the relay's counters too",
                wire.lost
            );
        }
        let ports = &self.pop.ports;
        let (caller, callee, relay) = (ports.caller_media(), ports.callee_media(), ports.media());
        let mut missing = 0;
        for (what, from, to, speech) in [
            ("sent by a caller", caller, relay, &self.caller),
            ("received by a callee", relay, callee, &self.caller),
            ("sent by a callee", callee, relay, &self.callee),
            ("received by a caller", relay, caller, &self.callee),
        ] {
            let streams = wire.streams(from, to);
            assert_eq!(streams.len(), count, "streams {what}: {:?}", streams.keys());
            for (ports, packets) in &streams {
                // In order, with none changed: those that are missing are counted below.
                let mut said = speech.payloads();
                let same = packets.iter().all(|p| said.any(|payload| payload == p.payload));
                assert!(same, "payloads {what} {ports:?} differ from the speech");
                let absent = speech.payloads().count() - packets.len();
                assert!(absent as u64 <= wire.lost, "{absent} packets {what} {ports:?} are missing");
                missing += absent as u64;
            }
        }
        assert!(
            missing <= wire.lost,
            "{missing} packets are missing, of which the capture lost {}",
            wire.lost
        );
        let said = (self.caller.payloads().count() + self.callee.payloads().count()) * count;
        assert_eq!(self.pop.forwarded(), said as u64, "packets that the relay forwarded");
    }

    /// Fails when either side's real number is in anything that the other side received.
    #[track_caller]
    pub fn nobody_learns_the_other_number(&self, wire: &Wire, trip: &Trip) {
        let ports = &self.pop.ports;
        let (driver, passenger) = (Canary::new(&trip.driver.phone), Canary::new(&trip.passenger.phone));
        let at_callee = wire.received_at(ports.callee(), ports.callee_media());
        let at_caller = wire.received_at(ports.caller(), ports.caller_media());
        assert!(!at_callee.is_empty() && !at_caller.is_empty(), "nothing was captured");
        for datagram in at_callee {
            driver.absent_from("what the callee received", datagram);
        }
        for datagram in at_caller {
            passenger.absent_from("what the caller received", datagram);
        }
    }

    /// Fails when a party's number is in a log, in the metrics, or in anything on disk.
    #[track_caller]
    pub fn nothing_keeps_the_numbers(&self, trip: &Trip) {
        let metrics = self.pop.client("operator").get("/metrics").expect(200).body;
        for phone in [&trip.driver.phone, &trip.passenger.phone] {
            let canary = Canary::new(phone);
            canary.absent_from("a log of ours", self.pop.logs().as_bytes());
            canary.absent_from("the proxy's log", self.kamailio.log().as_bytes());
            canary.absent_from("/metrics", metrics.as_bytes());
            for file in files(&self.pop.state()) {
                let name = file.display().to_string();
                canary.absent_from(&name, name.as_bytes());
                let found = canary.found_in(&std::fs::read(&file).unwrap_or_default());
                assert!(found.is_empty(), "{name} holds a number: {}", found.join(", "));
            }
        }
    }

    /// Fails unless the archive sounds like the call: each voice on its own channel, at its time, none missing.
    /// `wire` has this call alone.
    #[track_caller]
    pub fn sounds_like_the_call(&self, archive: &Archive, wire: &Wire) {
        let ports = &self.pop.ports;
        let span = |media| {
            let streams = wire.streams(media, ports.media());
            let times: Vec<i64> = streams.values().flatten().map(|p| p.at).collect();
            (*times.iter().min().expect("packets") / 1000, *times.iter().max().expect("packets") / 1000 + 20)
        };
        let (caller, callee) = (span(ports.caller_media()), span(ports.callee_media()));
        let stereo = Stereo::decode(&archive.audio(), self.pop.folder());
        let media = caller.1.max(callee.1) - caller.0.min(callee.0);
        let length = stereo.milliseconds();
        // It lasts until the call ends, which is a while after its parties fell silent.
        let long = (media - TOLERANCE..=media + HANG_UP).contains(&length);
        assert!(long, "the archive is {length} ms long, its media {media} ms");
        let stated = i64::try_from(archive.number("/duration_ms")).expect("milliseconds");
        assert!((stated - length).abs() <= TOLERANCE, "duration_ms is {stated}, the audio {length} ms");

        let (left, right) = self.each_voice_on_its_channel(&stereo);
        let (heard, sent) = (right - left, callee.0 - caller.0);
        assert!(
            (heard - sent).abs() <= TOLERANCE,
            "the callee began {sent} ms after the caller, heard: {heard} ms"
        );
    }

    /// Fails unless left is the caller and right the callee; returns where they begin, in milliseconds.
    #[track_caller]
    pub fn each_voice_on_its_channel(&self, stereo: &Stereo) -> (i64, i64) {
        let (caller, callee) = (self.caller.samples(), self.callee.samples());
        let (left, right) = (find(&caller, &stereo.left), find(&callee, &stereo.right));
        let is = |voice: &[f64], channel: &[f64], found: Match| {
            found.likeness > SAME || found_in_pieces(voice, channel, found.at, TOLERANCE, SAME) > PIECES
        };
        assert!(is(&caller, &stereo.left, left), "left is not the caller: {left:?}");
        assert!(is(&callee, &stereo.right, right), "right is not the callee: {right:?}");
        let (left_other, right_other) = (find(&callee, &stereo.left), find(&caller, &stereo.right));
        assert!(left_other.likeness < OTHER, "left holds the callee: {left_other:?}");
        assert!(right_other.likeness < OTHER, "right holds the caller: {right_other:?}");
        (left.at, right.at)
    }
}

impl Calls {
    /// Waits until every callee has received `packets` packets.
    #[track_caller]
    pub fn wait_for_media(&self, stage: &Stage, packets: usize) {
        self.wait_for_media_at(stage, stage.pop.ports.callee_media(), packets);
    }

    /// Waits until every caller has received `packets` packets.
    #[track_caller]
    pub fn wait_for_media_to_callers(&self, stage: &Stage, packets: usize) {
        self.wait_for_media_at(stage, stage.pop.ports.caller_media(), packets);
    }

    #[track_caller]
    fn wait_for_media_at(&self, stage: &Stage, party: (u16, u16), packets: usize) {
        let relay = stage.pop.ports.media();
        until("media flows", seconds(20), || {
            let wire = self.capture.so_far();
            let streams = wire.streams(relay, party);
            (streams.len() == self.count && streams.values().all(|s| s.len() >= packets)).then_some(())
        });
    }

    /// Waits for the end of all calls; fails unless they went as their scenarios say. Returns what was on the wire.
    #[track_caller]
    pub fn finish(mut self) -> Wire {
        self.callers.finish();
        self.callees.finish();
        self.capture.finish()
    }
}
