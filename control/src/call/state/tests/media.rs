//! Kinds of media, interfaces and families, as a call goes on.

use relay::program::message::{Family, Interface, StreamKind};

use super::*;

const SIX: &str = "m=audio 4000 RTP/AVP 8;c=IN IP6 2001:db8::7;";
const FAX: &str = "m=image 4000 udptl t38;";
const SRTP: &str = "m=audio 4000 RTP/SAVP 8;a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz;";

fn interfaces() -> [Interface; 2] {
    let interface = |name: &str, addresses: &[&str]| Interface {
        name: name.into(),
        addresses: addresses.iter().map(|a| (a.parse().unwrap(), a.parse().unwrap())).collect(),
    };
    [interface("inside", &["192.0.2.1"]), interface("outside", &["2001:db8::1", "198.51.100.1"])]
}

fn offer(media: &str, options: &Options, means: &Means<'_>) -> Result<Call, NgError> {
    let sdp = sdp(CALLER, media);
    Call::open(&names(), "cid", ("a", None), (sdp, options, means), None, NOW).map(|(call, _)| call)
}

fn families(call: &Call) -> Vec<[Family; 2]> {
    call.streams().iter().map(|stream| stream.legs.map(|leg| leg.place.family)).collect()
}

#[test]
fn each_leg_is_met_in_the_family_of_its_place() {
    let interfaces = interfaces();
    let means = Means { interfaces: &interfaces, ..MEANS };
    let plain = Options::default();
    assert_eq!(
        offer(SIX, &plain, &means).err(),
        Some(NgError::Family),
        "the default interface has IPv4 alone"
    );
    let mut call = offer(AUDIO, &plain, &means).unwrap();
    assert_eq!(families(&call), [[Family::Ip4; 2]]);
    let mut answer = |media: &str| call.answer(("a", "b"), (sdp(CALLEE, media), &plain, &means), NOW).err();
    assert_eq!(answer(SIX), Some(NgError::Family));
    let rtcp = format!("{AUDIO}a=rtcp:4001 IN IP6 2001:db8::7;");
    assert_eq!(answer(&rtcp), Some(NgError::Family));
    assert_eq!(answer(&SIX.replace("4000", "0")), None, "nothing is sent there");
    assert_eq!(answer(AUDIO), None);
    // A re-offer moves to an address that the ports of its leg cannot reach.
    let moved = call.offer(("a", Some("b")), (sdp(CALLER, SIX), &plain, &means), NOW);
    assert_eq!(moved.err(), Some(NgError::Family));
}

#[test]
fn a_line_that_is_refused_takes_no_interface() {
    let interfaces = interfaces();
    let means = Means { interfaces: &interfaces, ..MEANS };
    let media = format!("m=audio 4000 RTP/SAVP 8;{AUDIO}m=audio 0 RTP/AVP 8;");
    let call = offer(&media, &Options::default(), &means).unwrap();
    assert_eq!(call.streams().len(), 1);
}

#[test]
fn the_shown_address_must_be_of_the_legs_family_and_changes_the_version() {
    let interfaces = interfaces();
    let means = Means { interfaces: &interfaces, ..MEANS };
    let shown = |address: &str| Options { shown_as: address.parse().ok(), ..Options::default() };
    assert_eq!(offer(AUDIO, &shown("2001:db8::9"), &means).err(), Some(NgError::Family));
    let mut call = offer(AUDIO, &shown("203.0.113.9"), &means).unwrap();
    assert_eq!(call.shown_as(), [None, "203.0.113.9".parse().ok()]);
    let version = call.origin(Leg::Callee).version;
    let again = |call: &mut Call, options: &Options| {
        call.offer(("a", None), (sdp(CALLER, AUDIO), options, &means), NOW).unwrap();
        call.origin(Leg::Callee).version
    };
    assert_eq!(again(&mut call, &shown("203.0.113.9")), version);
    assert_eq!(again(&mut call, &Options::default()), version + 1);
}

#[test]
fn a_slot_changes_its_kind_with_the_answer() {
    let (mut call, _) = opened(AUDIO, &Options::default());
    answered(&mut call, AUDIO, &Options::default());
    let kind = |call: &Call| call.streams()[0].kind;
    reoffered(&mut call, ("a", "b"), CALLER, FAX);
    assert_eq!((kind(&call), call.lines[0].media()), (StreamKind::Rtp, "audio"), "it may yet be refused");
    // Who does not understand it answers with what it had: no fax, and no speech either.
    let back = answered(&mut call, AUDIO, &Options::default());
    assert!(back.contains("m=audio 0 udptl "), "{back}");
    assert_eq!(remotes(&call), [None, None]);
    reoffered(&mut call, ("a", "b"), CALLER, FAX);
    let back = answered(&mut call, FAX, &Options::default());
    assert!(
        back.contains("m=image 30000 udptl t38\r\nc=IN IP4 198.51.100.1\r\n") && !back.contains("rtcp"),
        "{back}"
    );
    assert_eq!((kind(&call), call.lines[0].is_tapped()), (StreamKind::Opaque, false));
    assert_eq!(call.lines[0].media(), "image");
    assert!(!call.held(), "a fax is no hold");
}

#[test]
fn rtcp_mux_is_nothing_to_a_fax() {
    let wish = Options { mux_offer: true, mux_accept: true, ..Options::default() };
    let (mut call, out) = opened(&format!("{FAX}a=rtcp-mux;"), &wish);
    assert!(!out.contains("rtcp"), "{out}");
    answered(&mut call, &format!("{FAX}a=rtcp-mux;"), &wish);
    assert_eq!(call.streams()[0].legs.map(|leg| leg.rtcp_mux), [false, false]);
}

#[test]
fn srtp_passes_where_it_may_and_both_speak_it() {
    let pass = Means { srtp: true, ..MEANS };
    let plain = Options::default();
    assert_eq!(offer(SRTP, &plain, &MEANS).err(), Some(NgError::Unsupported));
    let mut call = offer(SRTP, &plain, &pass).unwrap();
    call.answer(("a", "b"), (sdp(CALLEE, SRTP), &plain, &pass), NOW).unwrap();
    assert!(call.streams()[0].verbatim && remotes(&call).iter().all(Option::is_some));
    let mut call = offer(SRTP, &plain, &pass).unwrap();
    call.answer(("a", "b"), (sdp(CALLEE, AUDIO), &plain, &pass), NOW).unwrap();
    assert_eq!(remotes(&call), [None, None], "one half in the clear is none");
    // And the other way round: who was asked in the clear cannot answer encrypted.
    let mut call = offer(AUDIO, &plain, &pass).unwrap();
    call.answer(("a", "b"), (sdp(CALLEE, SRTP), &plain, &pass), NOW).unwrap();
    assert_eq!(remotes(&call), [None, None]);
    let feedback = Options { transport: Some(Transport::Profile(Profile::Savpf)), ..Options::default() };
    assert!(offer(SRTP, &feedback, &pass).is_ok());
    let clear = Options { transport: Some(Transport::Profile(Profile::Avp)), ..Options::default() };
    assert_eq!(offer(SRTP, &clear, &pass).err(), Some(NgError::Transport));
    assert_eq!(offer(AUDIO, &feedback, &pass).err(), Some(NgError::Transport));
    // Of an offer that leaves the choice, what can be had.
    let call = offer(&format!("{SRTP}{AUDIO}"), &clear, &pass).unwrap();
    assert_eq!(call.lines.iter().map(|line| line.stream).collect::<Vec<_>>(), [None, Some(0)]);
}

#[test]
fn a_line_of_an_older_blob_is_speech_on_the_default_interface() {
    let (mut call, _) = opened(AUDIO, &Options::default());
    answered(&mut call, AUDIO, &Options::default());
    let mut json = serde_json::to_value(&call).unwrap();
    json.as_object_mut().unwrap().remove("shown_as");
    let line = json["lines"][0].as_object_mut().unwrap();
    line.remove("places");
    for side in line["legs"].as_array_mut().unwrap() {
        for new in ["carriage", "extensions", "handover", "asymmetric", "packets_per_second"] {
            side.as_object_mut().unwrap().remove(new).unwrap();
        }
    }
    let old: Call = serde_json::from_value(json).unwrap();
    let stream = old.streams()[0];
    assert_eq!((stream.kind, stream.legs[0].place.family), (StreamKind::Rtp, Family::Any));
    assert_eq!(stream.legs[0].tapped, call.streams()[0].legs[0].tapped);
}
