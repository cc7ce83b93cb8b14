//! A call through its offers, answers and time-outs, without sockets and clocks.

use std::net::IpAddr;

use proptest::prelude::*;
use relay::program::message::{LocalPorts, PayloadTypes};
use time::macros::datetime;

use super::super::label;
use super::*;
use crate::secret::Keys;

mod media;

const NOW: OffsetDateTime = datetime!(2026-11-22 12:00:00 UTC);
const CALLER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));
const CALLEE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 20));

fn text(address: IpAddr, media: &str) -> String {
    format!("v=0\r\no=x 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n{media}")
}

fn sdp(address: IpAddr, media: &str) -> Sdp {
    Sdp::parse(&text(address, &media.replace(';', "\r\n"))).unwrap()
}

const MEANS: Means<'_> = Means { interfaces: &[], srtp: false, packet_rate_multiple: 5 };

const AUDIO: &str = "m=audio 4000 RTP/AVP 8 101;a=rtpmap:101 telephone-event/8000;";

fn names() -> Names {
    Names { key: CallKey(1), id: Uuid::from_u128(2), sessions: [11, 22] }
}

fn opened(media: &str, options: &Options) -> (Call, String) {
    let (call, draft) =
        Call::open(&names(), "cid", ("a", None), (sdp(CALLER, media), options, &MEANS), None, NOW).unwrap();
    let text = shown(&call, &draft);
    (call, text)
}

fn ports(call: &Call) -> Vec<[LocalPorts; 2]> {
    let local = |rtp| LocalPorts { address: "198.51.100.1".parse().unwrap(), rtp, rtcp: rtp + 1 };
    (0..call.streams)
        .map(|n| u16::try_from(n * 4).unwrap())
        .map(|n| [local(30_000 + n), local(30_002 + n)])
        .collect()
}

fn shown(call: &Call, draft: &Draft) -> String {
    draft.write(call.origin(draft.towards), &ports(call)).unwrap()
}

fn answered(call: &mut Call, media: &str, options: &Options) -> String {
    let draft = call.answer(("a", "b"), (sdp(CALLEE, media), options, &MEANS), NOW).unwrap();
    shown(call, &draft)
}

fn reoffered(call: &mut Call, tags: (&str, &str), address: IpAddr, media: &str) -> String {
    let draft =
        call.offer((tags.0, Some(tags.1)), (sdp(address, media), &Options::default(), &MEANS), NOW).unwrap();
    shown(call, &draft)
}

fn remotes(call: &Call) -> [Option<String>; 2] {
    call.streams()[0].legs.map(|leg| leg.remote.map(|remote| format!("{} {}", remote.rtp, remote.rtcp)))
}

#[test]
fn offer_and_answer_make_a_stream() {
    let (mut call, offer) = opened(AUDIO, &Options::default());
    assert!(
        offer.contains("o=- 22 1 IN IP4 198.51.100.1\r\n")
            && offer.contains("m=audio 30002 RTP/AVP 8 101\r\n")
    );
    assert_eq!(remotes(&call), [Some("192.0.2.10:4000 192.0.2.10:4001".into()), None]);
    assert_eq!(call.answered_at, None);

    let answer = answered(&mut call, &AUDIO.replace("4000", "5000"), &Options::default());
    assert!(
        answer.contains("o=- 11 1 IN IP4 198.51.100.1\r\n")
            && answer.contains("m=audio 30000 RTP/AVP 8 101\r\n")
    );
    assert_eq!(remotes(&call)[1], Some("192.0.2.20:5000 192.0.2.20:5001".into()));
    assert_eq!(call.streams()[0].legs[0].tapped, PayloadTypes::NONE.with(8).with(101));
    assert!(call.answered_at.is_some() && !call.held());
}

#[test]
fn the_version_grows_with_the_content_only() {
    let (mut call, first) = opened(AUDIO, &Options::default());
    answered(&mut call, AUDIO, &Options::default());
    let again = reoffered(&mut call, ("a", "b"), CALLER, AUDIO);
    assert_eq!(first, again, "same content, same session, same version");
    let hold = reoffered(&mut call, ("a", "b"), CALLER, &format!("{AUDIO}a=sendonly;"));
    assert!(hold.contains("o=- 22 2 "), "{hold}");
}

#[test]
fn hold_keeps_the_ports_and_resume_too() {
    let (mut call, _) = opened(AUDIO, &Options::default());
    answered(&mut call, AUDIO, &Options::default());
    for (offer, answer, held) in [
        (format!("{AUDIO}a=inactive;"), format!("{AUDIO}a=inactive;"), true),
        (AUDIO.to_owned(), AUDIO.to_owned(), false),
        (AUDIO.replace("4000", "0"), AUDIO.replace("4000", "0"), true),
        (AUDIO.to_owned(), AUDIO.to_owned(), false),
    ] {
        // The callee holds: it offers, the caller answers.
        let out = reoffered(&mut call, ("b", "a"), CALLEE, &offer);
        let port = if offer.contains(" 0 ") { 0 } else { 30_000 };
        assert!(out.contains(&format!("m=audio {port} RTP/AVP")), "{out}");
        let draft =
            call.answer(("b", "a"), (sdp(CALLER, &answer), &Options::default(), &MEANS), NOW).unwrap();
        let port = if offer.contains(" 0 ") { 0 } else { 30_002 };
        assert!(shown(&call, &draft).contains(&format!("m=audio {port} RTP/AVP")));
        assert_eq!(call.held(), held, "{offer}");
        assert_eq!(call.streams().len(), 1);
    }
}

#[test]
fn hold_by_address_sends_nothing_to_the_holder() {
    let (mut call, _) = opened(AUDIO, &Options::default());
    answered(&mut call, AUDIO, &Options::default());
    let out = reoffered(&mut call, ("a", "b"), "0.0.0.0".parse().unwrap(), AUDIO);
    assert!(out.contains("m=audio 30002 RTP/AVP 8 101\r\nc=IN IP4 0.0.0.0\r\n"), "{out}");
    answered(&mut call, &format!("{AUDIO}a=recvonly;"), &Options::default());
    assert_eq!(remotes(&call), [None, Some("192.0.2.20:4000 192.0.2.20:4001".into())]);
    assert!(call.held());
}

#[test]
fn a_reoffer_counts_from_its_answer_on() {
    let (mut call, _) = opened(AUDIO, &Options::default());
    answered(&mut call, AUDIO, &Options::default());
    let before = remotes(&call);
    reoffered(&mut call, ("a", "b"), CALLER, &AUDIO.replace("4000", "6000"));
    assert_eq!(remotes(&call), before, "until the answer the old addresses hold (RFC 3264 section 8.3.1)");
    answered(&mut call, AUDIO, &Options::default());
    assert_eq!(remotes(&call)[0], Some("192.0.2.10:6000 192.0.2.10:6001".into()));
}

#[test]
fn a_first_offer_that_is_tried_again_counts_at_once() {
    let (mut call, _) = opened(AUDIO, &Options::default());
    let again = sdp(CALLER, &AUDIO.replace("4000", "6000"));
    call.offer(("a", None), (again, &Options::default(), &MEANS), NOW).unwrap();
    assert_eq!(remotes(&call)[0], Some("192.0.2.10:6000 192.0.2.10:6001".into()));
}

#[test]
fn what_cannot_be_relayed_is_refused_in_its_place() {
    let media = format!(
        "m=video 4002 RTP/SAVP 96;{AUDIO}m=application 4004 UDP/BFCP *;{}",
        AUDIO.replace("4000", "4006")
    );
    let (mut call, offer) = opened(&media, &Options::default());
    let lines: Vec<_> = offer.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/SAVP 96",
            "m=audio 30002 RTP/AVP 8 101",
            "m=application 0 UDP/BFCP *",
            "m=audio 30006 RTP/AVP 8 101"
        ]
    );
    assert_eq!(call.streams().len(), 2);
    // The answer leaves off its last lines: the offerer gets them refused.
    let answer = answered(&mut call, &format!("m=video 0 RTP/SAVP 96;{AUDIO}"), &Options::default());
    let lines: Vec<_> = answer.lines().filter(|l| l.starts_with("m=")).collect();
    assert_eq!(
        lines,
        [
            "m=video 0 RTP/SAVP 96",
            "m=audio 30000 RTP/AVP 8 101",
            "m=application 0 UDP/BFCP *",
            "m=audio 0 RTP/AVP 8"
        ]
    );
    assert!(call.streams()[0].legs[0].remote.is_some() && call.streams()[1].legs[0].remote.is_none());
}

#[test]
fn an_offer_with_nothing_to_relay_is_refused() {
    let open = |media: &str, options: &Options| {
        Call::open(&names(), "cid", ("a", None), (sdp(CALLER, media), options, &MEANS), None, NOW).err()
    };
    let plain = Options::default();
    assert_eq!(open("m=audio 4000 RTP/SAVP 8;", &plain), Some(NgError::Unsupported));
    assert_eq!(open("m=audio 0 RTP/AVP 8;", &plain), Some(NgError::Unsupported));
    let options = Options { transport: Some(Transport::Other), ..Options::default() };
    assert_eq!(open(AUDIO, &options), Some(NgError::Transport));
    let (mut call, _) = opened(AUDIO, &plain);
    answered(&mut call, AUDIO, &plain);
    let slides = sdp(CALLER, "m=application 4004 UDP/BFCP *;");
    assert_eq!(call.offer(("a", Some("b")), (slides, &plain, &MEANS), NOW).err(), Some(NgError::Unsupported));
}

#[test]
fn an_answer_must_fit_its_offer() {
    let (mut call, _) = opened(AUDIO, &Options::default());
    let two = sdp(CALLEE, &format!("{AUDIO}{AUDIO}"));
    assert_eq!(call.answer(("a", "b"), (two, &Options::default(), &MEANS), NOW).err(), Some(NgError::BadSdp));
    let one = || sdp(CALLEE, AUDIO);
    assert_eq!(
        call.answer(("x", "y"), (one(), &Options::default(), &MEANS), NOW).err(),
        Some(NgError::Dialogue)
    );
    answered(&mut call, AUDIO, &Options::default());
    assert_eq!(
        call.answer(("b", "a"), (one(), &Options::default(), &MEANS), NOW).err(),
        Some(NgError::Dialogue)
    );
    // The 200 of another destination comes too late.
    assert_eq!(
        call.answer(("a", "c"), (one(), &Options::default(), &MEANS), NOW).err(),
        Some(NgError::Dialogue)
    );
}

#[test]
fn protocols_are_bridged_and_the_answer_speaks_the_offers() {
    let avpf = AUDIO.replace("RTP/AVP", "RTP/AVPF") + "a=rtcp-fb:* ccm fir;";
    let options = Options { transport: Some(Transport::Profile(Profile::Avp)), ..Options::default() };
    let (mut call, offer) = opened(&avpf, &options);
    assert!(offer.contains("m=audio 30002 RTP/AVP 8 101\r\n") && !offer.contains("rtcp-fb"), "{offer}");
    let answer = answered(&mut call, AUDIO, &Options::default());
    assert!(answer.contains("m=audio 30000 RTP/AVPF 8 101\r\n"));
}

#[test]
fn rtcp_mux_follows_the_parties_and_the_proxys_wishes() {
    let mux = format!("{AUDIO}a=rtcp-mux;");
    let wish = |set: fn(&mut Options)| {
        let mut options = Options::default();
        set(&mut options);
        options
    };
    let none = Options::default();
    for (offer, answer, options, shown, legs) in [
        (&mux[..], &mux[..], &none, true, [true, true]),
        (&mux, AUDIO, &none, true, [false, false]),
        (AUDIO, AUDIO, &none, false, [false, false]),
        (&mux, AUDIO, &wish(|o| (o.mux_demux, o.mux_accept) = (true, true)), false, [true, false]),
        (AUDIO, &mux, &wish(|o| o.mux_offer = true), true, [false, true]),
        (&mux, &mux, &wish(|o| o.mux_reject = true), true, [false, true]),
    ] {
        let (mut call, out) = opened(offer, options);
        assert_eq!(out.contains("a=rtcp-mux"), shown);
        let back = answered(&mut call, answer, &none);
        assert_eq!(call.streams()[0].legs.map(|leg| leg.rtcp_mux), legs, "{offer} {answer} {options:?}");
        assert_eq!(back.contains("a=rtcp-mux"), legs[0]);
        for (leg, mux) in call.streams()[0].legs.iter().zip(legs) {
            assert_eq!(leg.remote.map(|r| r.rtp == r.rtcp), Some(mux));
        }
    }
}

#[test]
fn learning_is_strict_unless_the_proxy_knows_better() {
    use relay::program::message::Learning;
    let nat = Options { learning: Some(Learning::Nat), ..Options::default() };
    assert_eq!(opened(AUDIO, &Options::default()).0.streams()[0].legs[0].learning, Learning::Strict);
    assert_eq!(opened(AUDIO, &nat).0.streams()[0].legs[0].learning, Learning::Nat);
    let nat = Options { address: Some("203.0.113.5".parse().unwrap()), ..Options::default() };
    assert_eq!(remotes(&opened(AUDIO, &nat).0)[0], Some("203.0.113.5:4000 203.0.113.5:4001".into()));
}

const TIMES: Times = Times {
    offer: Duration::seconds(180),
    silence: Duration::seconds(60),
    silent: Duration::hours(1),
    longest: Duration::ZERO,
};

#[test]
fn a_deleted_call_waits_for_the_offer_that_keeps_it_and_the_longest_of_all_calls_ends_any() {
    let options = Options::default();
    let (mut call, _) = opened(AUDIO, &options);
    answered(&mut call, AUDIO, &options);
    let after = |seconds| NOW + Duration::seconds(seconds);
    let times = Times { longest: Duration::seconds(500), ..TIMES };
    call.delete_at = Some(after(30));
    assert_eq!(
        (call.overdue(after(29), &times), call.overdue(after(30), &times)),
        (None, Some(Ended::Hangup))
    );
    call.offer(("a", Some("b")), (sdp(CALLER, AUDIO), &options, &MEANS), after(29)).unwrap();
    assert_eq!(call.overdue(after(499), &times), None);
    assert_eq!(call.overdue(after(500), &times), Some(Ended::Limit));
    assert_eq!(call.overdue(after(500), &TIMES), None);
}

#[test]
fn time_ends_a_call_for_a_reason() {
    let terms = Terms {
        trip: TripId::new("T-1").unwrap(),
        city: City::new("london").unwrap(),
        roles: [Role::new("driver").unwrap(), Role::new("passenger").unwrap()],
        record: true,
        max_seconds: 600,
    };
    let options = Options::default();
    let (mut call, _) =
        Call::open(&names(), "cid", ("a", None), (sdp(CALLER, AUDIO), &options, &MEANS), Some(terms), NOW)
            .unwrap();
    let after = |seconds| NOW + Duration::seconds(seconds);
    assert_eq!(call.overdue(after(179), &TIMES), None);
    assert_eq!(call.overdue(after(180), &TIMES), Some(Ended::Unanswered));
    assert!(!call.silent_too_long(1000, after(1000), &TIMES), "ringing is silent");

    call.answer(("a", "b"), (sdp(CALLEE, AUDIO), &options, &MEANS), after(100)).unwrap();
    assert_eq!(call.overdue(after(699), &TIMES), None);
    assert_eq!(call.overdue(after(700), &TIMES), Some(Ended::Limit));
    assert!(!call.silent_too_long(150, after(150), &TIMES), "it has had 50 seconds to speak");
    assert!(call.silent_too_long(61, after(161), &TIMES));

    call.offer(("a", Some("b")), (sdp(CALLER, &format!("{AUDIO}a=inactive;")), &options, &MEANS), after(200))
        .unwrap();
    call.answer(("a", "b"), (sdp(CALLEE, &format!("{AUDIO}a=inactive;")), &options, &MEANS), after(200))
        .unwrap();
    assert!(
        !call.silent_too_long(3000, after(3000), &TIMES) && call.silent_too_long(3700, after(3900), &TIMES)
    );
}

#[test]
fn a_provisional_answer_lets_media_flow_and_does_not_count() {
    let (mut call, _) = opened(AUDIO, &Options::default());
    answered(&mut call, AUDIO, &Options { provisional: true, ..Options::default() });
    assert!(remotes(&call)[1].is_some() && call.answered_at.is_none());
    assert!(!call.silent_too_long(5000, NOW + Duration::seconds(5000), &TIMES), "it rings");
    assert_eq!(call.overdue(NOW + Duration::hours(1), &TIMES), Some(Ended::Unanswered));
    // Another destination takes the call; the last 1xx of the first one changes nothing any more.
    let other = || (sdp(CALLEE, &AUDIO.replace("4000", "7000")), Options::default());
    let (taken, final_) = other();
    call.answer(("a", "c"), (taken, &final_, &MEANS), NOW).unwrap();
    assert_eq!(remotes(&call)[1], Some("192.0.2.20:7000 192.0.2.20:7001".into()));
    let late = call.answer(("a", "b"), (sdp(CALLEE, AUDIO), &Options::default(), &MEANS), NOW);
    assert_eq!(late.err(), Some(NgError::Dialogue));
    assert!(call.answered_at.is_some());
}

#[test]
fn a_late_offer_comes_from_the_callee() {
    let options = Options::default();
    let (mut call, draft) =
        Call::open(&names(), "cid", ("b", Some("a")), (sdp(CALLEE, AUDIO), &options, &MEANS), None, NOW)
            .unwrap();
    assert!(shown(&call, &draft).contains("m=audio 30000 "));
    let draft = call.answer(("b", "a"), (sdp(CALLER, AUDIO), &options, &MEANS), NOW).unwrap();
    assert!(shown(&call, &draft).contains("m=audio 30002 "));
    let [caller, callee] = remotes(&call);
    assert!(caller.unwrap().starts_with("192.0.2.10:") && callee.unwrap().starts_with("192.0.2.20:"));
}

#[test]
fn a_call_comes_out_of_its_blob_as_it_went_in() {
    let state = tempfile::tempdir().unwrap();
    let keys = Keys::open_or_make(state.path()).unwrap();
    let (mut call, _) = opened(AUDIO, &Options::default());
    answered(&mut call, AUDIO, &Options::default());
    let sealed = label::seal(&call, &keys).unwrap();
    let mut back = label::open(&sealed, &keys).unwrap();
    assert_eq!(serde_json::to_value(&call).unwrap(), serde_json::to_value(&back).unwrap());
    assert_eq!(back.streams(), call.streams());
    let out = reoffered(&mut back, ("b", "a"), CALLEE, AUDIO);
    assert!(out.contains("o=- 11 1 ") && out.contains("m=audio 30000 "));
    assert!(label::open(&sealed[1..], &keys).is_err() && label::open(b"", &keys).is_err());
    // RFC 3339 has no negative years: what cannot be written whole is not sealed at all.
    back.signalled_at = datetime!(-1-01-01 00:00 UTC);
    assert!(matches!(label::seal(&back, &keys), Err(label::SealError::Unwritable)));
}

proptest! {
    /// Whatever is offered and answered, streams are never taken away and stay within the relay's limits.
    #[test]
    fn streams_only_grow(steps in prop::collection::vec((any::<bool>(), any::<bool>(), prop::collection::vec(0..5usize, 1..12)), 1..12)) {
        let kinds = [AUDIO, "m=audio 0 RTP/AVP 0;", "m=video 4000 RTP/SAVP 96;", "m=audio 4000 RTP/AVP 0;a=inactive;", "m=image 9 udptl t38;"];
        let (mut call, _) = opened(AUDIO, &Options::default());
        for (offer, caller, lines) in steps {
            let media: String = lines.iter().map(|n| kinds[*n]).collect();
            let (tags, address) = if caller { (("a", "b"), CALLER) } else { (("b", "a"), CALLEE) };
            let before = call.streams().len();
            let mut next = call.clone();
            let options = Options::default();
            let draft = if offer {
                next.offer((tags.0, Some(tags.1)), (sdp(address, &media), &options, &MEANS), NOW)
            } else {
                next.answer(tags, (sdp(address, &media), &options, &MEANS), NOW)
            };
            if let Ok(draft) = draft {
                let shown_lines = shown(&next, &draft).matches("m=").count();
                prop_assert!(shown_lines >= lines.len());
                prop_assert!(next.streams().len() >= before && next.streams().len() <= MAX_STREAMS);
                call = next;
            }
        }
    }
}
