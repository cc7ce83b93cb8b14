//! A recording is paused in mid-call: by the business over HTTP, over a re-INVITE and a control that is killed; and by
//! the proxy over NG. What was said meanwhile is in no file.
#![allow(clippy::similar_names, reason = "caller and callee are the field's words")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::archive::Archive;
use tests::audio::{RATE, Stereo};
use tests::capture::Wire;
use tests::deadline::{seconds, until};
use tests::pop::Lane;
use tests::programs::{A_CALL, installed};
use tests::rtp::Packet;
use tests::sipp::Part;
use tests::stage::Stage;
use tests::trip::trip;

/// Packets of a callee's stream before the first pause: a second of talk.
const BEFORE: usize = 50;
/// How far a pause in the archive may be from the asking, in milliseconds.
const CLOSE: i64 = 100;
/// Speech has pauses of its own: somewhere in so many milliseconds something is heard.
const HEARD: i64 = 1_500;
/// Below this nothing is heard: -60 dB of full scale.
const SILENT: f64 = 0.001;

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    i64::try_from(since.as_millis()).expect("milliseconds")
}

/// What was asked, and when: between these times.
struct Asked(i64, i64);

fn timed<T>(ask: impl FnOnce() -> T) -> (T, Asked) {
    let before = now();
    let answer = ask();
    (answer, Asked(before, now()))
}

/// Lets time go by: what is tested is that nothing is recorded in it.
fn goes_by(time: Duration) {
    let began = now();
    until("time goes by", time + seconds(5), || {
        (now() - began >= i64::try_from(time.as_millis()).expect("milliseconds")).then_some(())
    });
}

/// One call over one POP.
struct Paused {
    stage: Stage,
    /// SIP Call-ID, as the proxy knows it.
    call_id: String,
    /// The call's id in the API.
    id: String,
}

impl Paused {
    fn ng(&self, command: &str) -> Value {
        let answer =
            tests::ng::ask(self.stage.pop.ports.ng(), &json!({"command": command, "call-id": self.call_id}));
        assert_eq!(answer["result"], "ok", "{command}: {answer}");
        answer
    }

    /// What the business is answered.
    fn api(&self, what: &str) -> Value {
        let path = format!("/v1/trips/T-1/recording/{what}");
        let answer = self.stage.pop.client("business").post(&path, &json!({})).expect(200).json();
        assert_eq!(answer["calls"].as_array().map(Vec::len), Some(1), "{answer}");
        assert_eq!(
            (&answer["calls"][0]["id"], &answer["calls"][0]["paused"]),
            (&json!(self.id), &json!(what == "pause"))
        );
        answer["calls"][0]["call"].clone()
    }

    /// Who has paused it, as the operator sees it.
    #[track_caller]
    fn paused_by(&self) -> Value {
        let call =
            self.stage.pop.client("operator").get(&format!("/v1/calls/{}", self.id)).expect(200).json();
        assert_eq!(call["recording"], true);
        let told = self.ng("query")["recording"]["call recording"].clone();
        assert_eq!(told, i64::from(call["paused"].is_null()), "NG and HTTP differ");
        call["paused"]["by"].clone()
    }
}

#[test]
fn what_is_said_in_a_pause_is_in_no_file() {
    if !installed(&A_CALL) {
        return;
    }
    let stage = Stage::set(Lane::Chosen);
    let trip = trip(&stage.pop, "T-1", 1);
    let path = "/v1/trips/T-1/recording/pause";
    assert_eq!(stage.pop.client("business").post(path, &json!({})).status, 409, "there is no call yet");
    let (caller, callee) =
        (Part::speaks("reinvites", &stage.caller), Part::speaks("reinvited", &stage.callee));
    let call = stage.start(std::slice::from_ref(&trip), &caller, &callee);
    call.wait_for_media(&stage, BEFORE);
    call.wait_for_media_to_callers(&stage, BEFORE);
    let listed = tests::ng::ask(stage.pop.ports.ng(), &json!({"command": "list"}));
    let live = stage.pop.client("operator").get("/v1/calls").expect(200).json();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let (call_id, id) = (text(&listed["calls"][0]), text(&live["calls"][0]["id"]));
    let mut paused = Paused { stage, call_id, id };

    // The business pauses; the caller offers again; control is killed.
    let (pseudonym, first) = timed(|| paused.api("pause"));
    let signalled = paused.ng("query")["last signal"].clone();
    until("the caller offers again", seconds(15), || {
        (paused.ng("query")["last signal"] != signalled).then_some(())
    });
    assert_eq!(paused.paused_by(), "business", "after the re-INVITE");
    paused.stage.pop.kill_control();
    paused.stage.pop.start_control();
    assert_eq!(paused.paused_by(), "business", "after a new control");
    goes_by(Duration::from_millis(500));
    let (_, first_end) = timed(|| paused.api("resume"));
    assert_eq!(paused.paused_by(), Value::Null);
    goes_by(Duration::from_millis(1500));
    // The proxy does.
    let (_, second) = timed(|| paused.ng("pause recording"));
    assert_eq!(paused.paused_by(), "proxy");
    goes_by(Duration::from_millis(1500));
    let (_, second_end) = timed(|| paused.ng("start recording"));
    let wire = call.finish();

    let Paused { stage, id, .. } = paused;
    let archives = Archive::of_trip(&stage.pop, &trip.name, 1);
    let archive = &archives[0];
    assert_eq!((&archive.manifest["recording"], &archive.manifest["call"]), (&json!(id), &pseudonym));
    assert!(archive.gaps().is_empty(), "a pause is no gap: {:?}", archive.gaps());
    let invites = wire.sip(stage.pop.ports.callee()).iter().filter(|m| m.starts_with("INVITE")).count();
    assert_eq!(invites, 2, "INVITEs at the callee");
    silent_in_the_pauses_alone(&stage, archive, &wire, &[(first, first_end), (second, second_end)]);
    archive.holds_and_tells_changes();
    let log = stage.pop.logs();
    let said = |what: &str| {
        let pseudonym = pseudonym.as_str().expect("text");
        log.lines().filter(|line| line.contains(pseudonym) && line.contains(what)).count()
    };
    for (what, times) in
        [("recording paused", 2), ("recording resumed", 2), ("by=Business", 2), ("by=Proxy", 2)]
    {
        assert_eq!(said(what), times, "{what} in the log");
    }
    stage.nobody_learns_the_other_number(&wire, &trip);
    stage.pop.wait_until_idle();
    stage.nothing_keeps_the_numbers(&trip);
}

/// Fails unless the archive's pauses are those that were asked for, its audio is silent there and nowhere else for long,
/// and its packets are those of the rest.
#[track_caller]
fn silent_in_the_pauses_alone(stage: &Stage, archive: &Archive, wire: &Wire, asked: &[(Asked, Asked)]) {
    let ports = &stage.pop.ports;
    let sides = [ports.caller_media(), ports.callee_media()].map(|media| wire.streams(media, ports.media()));
    let packets = |side: usize| sides[side].values().flatten();
    let start = (0..2).flat_map(packets).map(|p| p.at / 1000).min().expect("packets");
    let spans: Vec<(i64, i64)> = archive.manifest["pauses"]
        .as_array()
        .expect("the manifest lists pauses")
        .iter()
        .map(|span| (span["from_ms"].as_i64().expect("from"), span["to_ms"].as_i64().expect("to")))
        .collect();
    assert_eq!(spans.len(), asked.len(), "pauses: {spans:?}");
    let stereo = Stereo::decode(&archive.audio(), stage.pop.folder());
    let loudest = |channel: &[f64], from: i64, to: i64| {
        let at = |ms: i64| usize::try_from(ms).expect("milliseconds") * RATE / 1000;
        channel[at(from)..at(to)].iter().fold(0.0, |most: f64, sample| most.max(sample.abs()))
    };
    for ((from, to), (pause, resume)) in spans.iter().zip(asked) {
        let close = |ms: i64, asked: &Asked| ms >= asked.0 - start - CLOSE && ms <= asked.1 - start + CLOSE;
        assert!(
            close(*from, pause) && close(*to, resume),
            "{from}-{to} is not when it was asked for, from {start} on"
        );
        for (name, channel) in [("left", &stereo.left), ("right", &stereo.right)] {
            let inside = loudest(channel, from + CLOSE, to - CLOSE);
            assert!(inside < SILENT, "{name} is heard in the pause {from}-{to}: {inside}");
            for (when, from, to) in [("before", (from - HEARD).max(0), *from), ("after", *to, to + HEARD)] {
                assert!(
                    loudest(channel, from, to) > 10.0 * SILENT,
                    "{name} is silent {when} the pause, {from}-{to}"
                );
            }
        }
    }
    for (side, name) in [(0, "left"), (1, "right")] {
        let outside = |packet: &&Packet<'_>, by: i64| {
            let ms = packet.at / 1000;
            !asked.iter().any(|(pause, resume)| ms > pause.1 + by && ms < resume.0 - by)
        };
        let (least, most) = (
            packets(side).filter(|p| outside(p, -CLOSE)).count(),
            packets(side).filter(|p| outside(p, CLOSE)).count(),
        );
        let captured = usize::try_from(archive.number(&format!("/{name}/packets"))).expect("packets");
        assert!((least..=most).contains(&captured), "{captured} packets of {name}, said: {least} to {most}");
    }
}
