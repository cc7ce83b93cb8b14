//! What the proxy asks of interfaces, families, kinds of media and sources, over NG and as the relay is told of it.

use control::live::LiveCalls;
use control::settings::{ControlSettings, SourceLearning, Srtp};
use relay::program::message::{Family, Learning, PayloadTypes, Place, StreamKind};
use serde_json::{Value as Json, json};

use crate::fake_relay::CARRIER;
use crate::site::{CANARY, Site, answer, delete, logs, offer, sdp};

fn with(mut request: Json, entries: Json) -> Json {
    for (key, value) in entries.as_object().unwrap() {
        request[key] = value.clone();
    }
    request
}

fn text(reply: &Json) -> &str {
    reply["sdp"].as_str().unwrap_or_else(|| panic!("{reply}"))
}

fn lines<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.starts_with(start)).collect()
}

/// Media sections after the usual head, with the number in every attribute.
fn session(address: &str, media: &str) -> String {
    let family = if address.contains(':') { "IP6" } else { "IP4" };
    let media = media.replace(';', "\r\n");
    format!(
        "v=0\r\no={CANARY} 1 1 IN {family} {address}\r\ns={CANARY}\r\nc=IN {family} {address}\r\nt=0 0\r\n{media}\r\n"
    )
}

#[tokio::test]
async fn ipv4_and_ipv6_are_bridged_by_interface_and_by_family() {
    let mut site = Site::new().await;
    let (four, six) = (sdp(4000), session("2001:db8::7", "m=audio 5000 RTP/AVP 8 101"));
    for (call_id, wish) in [
        ("direction", json!({"direction": ["default", "carrier"], "address-family": "IP6"})),
        ("names", json!({"from interface": "default", "to_interface": "carrier", "address family": "IP6"})),
        ("string", json!({"rtpp-flags": "direction=[default carrier] address-family=IP6"})),
        ("twice", json!({"rtpp-flags": "direction=default direction=carrier address-family=IP6"})),
    ] {
        let shown = site.proxy.ask(with(offer(call_id, 4000), wish)).await;
        let connection = format!("c=IN IP6 {CARRIER}");
        assert_eq!(lines(text(&shown), "c="), [connection.as_str()], "{call_id}");
        assert!(lines(text(&shown), "o=")[0].ends_with(&format!(" IN IP6 {CARRIER}")));
        let (_, held) = site.relay.call();
        let places = held.streams[0].legs.map(|leg| leg.place);
        assert_eq!(
            places,
            [Place { interface: 0, family: Family::Ip4 }, Place { interface: 1, family: Family::Ip6 }]
        );

        // Proxies repeat themselves in the answer: the places stay.
        let back = json!({"sdp": six, "direction": ["carrier", "default"], "address-family": "IP4"});
        let shown = site.proxy.ask(with(answer(call_id, 0), back)).await;
        assert_eq!(lines(text(&shown), "c="), ["c=IN IP4 127.0.0.1"]);
        let (_, held) = site.relay.call();
        assert_eq!(held.streams[0].legs.map(|leg| leg.place), places);
        assert_eq!(held.streams[0].legs[1].remote.unwrap().rtcp.to_string(), "[2001:db8::7]:5001");

        // The other side offers now, and a stream more: it lies beside the first.
        let more = json!({
            "sdp": session("2001:db8::7", "m=audio 5000 RTP/AVP 8;m=video 5002 RTP/AVP 96"),
            "from-tag": format!("to-{CANARY}"), "to-tag": format!("from-{CANARY}"),
        });
        let shown = site.proxy.ask(with(offer(call_id, 0), more)).await;
        assert_eq!(lines(text(&shown), "c="), ["c=IN IP4 127.0.0.1"; 2]);
        assert_eq!(site.relay.call().1.streams[1].legs.map(|leg| leg.place), places);
        site.proxy.ask(delete(call_id)).await;
    }
    // The other way round, without a word of families.
    let wish = json!({"sdp": six, "direction": ["carrier", "carrier"]});
    let shown = site.proxy.ask(with(offer("six", 0), wish)).await;
    assert_eq!(lines(text(&shown), "c="), [format!("c=IN IP6 {CARRIER}")]);
    let family = "Media address is of another family than the relay's";
    let reply = site.proxy.ask(with(answer("six", 0), json!({"sdp": four}))).await;
    assert_eq!(reply["error-reason"], family);
    assert_eq!(site.proxy.ask(with(answer("six", 0), json!({"sdp": six}))).await["result"], "ok");
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_answered_with_those_that_are() {
    let mut site = Site::new().await;
    for key in ["interface", "from-interface", "to-interface", "direction"] {
        let reply = site.proxy.ask(with(offer("i", 4000), json!({ key: CANARY }))).await;
        assert_eq!(
            reply,
            json!({"result": "error", "error-reason": "Unknown interface (the relay has: default, carrier)"})
        );
    }
    let reply = site.proxy.ask(with(offer("i", 4000), json!({"address-family": "IP6"}))).await;
    assert_eq!(reply["error-reason"], "Interface has no address of this address-family");
    assert_eq!((site.relay.state().opened, site.control.calls.list().len()), (0, 0));
    // Flags are names only where there are such interfaces.
    let flags = json!({"flags": ["internal", "external"]});
    assert_eq!(site.proxy.ask(with(offer("i", 4000), flags)).await["result"], "ok");
    assert!(!logs().contains(CANARY));
}

#[tokio::test]
async fn the_proxy_names_the_address_that_is_shown() {
    let mut site = Site::new().await;
    let wish = json!({"media-address": "198.51.100.9"});
    let first = site.proxy.ask(with(offer("a", 4000), wish.clone())).await;
    assert_eq!(lines(text(&first), "c="), ["c=IN IP4 198.51.100.9"]);
    assert!(lines(text(&first), "o=")[0].ends_with(" 1 IN IP4 198.51.100.9"));
    let back = site.proxy.ask(answer("a", 5000)).await;
    assert_eq!(lines(text(&back), "c="), ["c=IN IP4 127.0.0.1"]);
    assert_eq!(site.relay.call().1.streams[0].legs[0].remote.unwrap().rtp.to_string(), "127.0.0.1:4000");
    // Under that address too its ports are the relay's own.
    let into = session("198.51.100.9", "m=audio 30002 RTP/AVP 8");
    let reply = site.proxy.ask(with(offer("b", 0), json!({"sdp": into}))).await;
    assert_eq!(reply["error-reason"], "Media address is this host's own");
    let six = json!({"media-address": "2001:db8::9"});
    let reply = site.proxy.ask(with(offer("c", 4000), six)).await;
    assert_eq!(reply["error-reason"], "Media address is of another family than the relay's");
}

#[tokio::test]
async fn video_text_and_fax_are_relayed_and_only_speech_is_recorded() {
    let mut site = Site::new().await;
    site.route("m", true, 600);
    let media = |port: u16| {
        session(
            "127.0.0.1",
            &format!(
                "m=audio {port} RTP/AVP 8;a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level;\
                 a=extmap:2 urn:{CANARY};\
                 m=video {} RTP/AVPF 96;b=AS:2000;a=rtpmap:96 VP8/90000;a=rtcp-fb:96 nack pli;a=rtcp-fb:96 {CANARY};\
                 m=text {} RTP/AVP 98;a=rtpmap:98 t140/1000;\
                 m=image {} udptl t38;a=T38FaxVersion:0;a=T38MaxBitRate:{CANARY};a=T38FaxUdpEC:t38UDPRedundancy",
                port + 2,
                port + 4,
                port + 6
            ),
        )
    };
    let shown =
        site.proxy.ask(with(offer("m", 0), json!({"sdp": media(4000), "transport-protocol": ""}))).await;
    assert_eq!(
        text(&shown).split_once("t=0 0\r\n").unwrap().1,
        "m=audio 30002 RTP/AVP 8\r\nc=IN IP4 127.0.0.1\r\n\
         a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\na=rtcp:30003\r\n\
         m=video 30006 RTP/AVPF 96\r\nc=IN IP4 127.0.0.1\r\nb=AS:2000\r\na=rtpmap:96 VP8/90000\r\n\
         a=rtcp-fb:96 nack pli\r\na=rtcp:30007\r\n\
         m=text 30010 RTP/AVP 98\r\nc=IN IP4 127.0.0.1\r\na=rtpmap:98 t140/1000\r\na=rtcp:30011\r\n\
         m=image 30014 udptl t38\r\nc=IN IP4 127.0.0.1\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n"
    );
    let back =
        site.proxy.ask(with(answer("m", 0), json!({"sdp": media(5000), "transport-protocol": ""}))).await;
    assert_eq!(lines(text(&back), "m=").len(), 4);
    let (_, held) = site.relay.call();
    let what = |n: usize| {
        let stream = held.streams[n];
        let [caller, callee] = stream.legs;
        assert_eq!((caller.tapped, caller.packets_per_second), (callee.tapped, callee.packets_per_second));
        assert!(caller.remote.is_some() && callee.remote.is_some() && !stream.verbatim);
        (stream.kind, caller.tapped, caller.packets_per_second, caller.extensions.0, caller.clocks[0].hz)
    };
    let none = PayloadTypes::NONE;
    assert_eq!(what(0), (StreamKind::Rtp, none.with(8), 250, 0b10, 8000));
    assert_eq!(what(1), (StreamKind::Rtp, none, 2500, 0, 90_000));
    assert_eq!(what(2), (StreamKind::Rtp, none, 250, 0, 1000));
    assert_eq!(what(3), (StreamKind::Opaque, none, 500, 0, 0));
    let label = held.label.unwrap();
    assert_eq!(label["legs"][0]["codecs"].as_array().unwrap().len(), 1, "{label}");
    assert!(!label.to_string().contains(CANARY) && !logs().contains(CANARY));
}

#[tokio::test]
async fn audio_turns_into_fax_and_back_on_the_same_ports() {
    let mut site = Site::new().await;
    site.route("f", true, 600);
    site.call("f").await;
    let before = site.relay.call().1;
    let fax = |port: u16| session("127.0.0.1", &format!("m=image {port} udptl t38;a=T38FaxVersion:0"));
    let to = format!("to-{CANARY}");
    // The called fax machine asks for it.
    let tags = json!({"from-tag": to, "to-tag": format!("from-{CANARY}")});
    let shown = site.proxy.ask(with(with(offer("f", 0), tags.clone()), json!({"sdp": fax(5000)}))).await;
    assert_eq!(lines(text(&shown), "m="), ["m=image 30000 udptl t38"]);
    assert_eq!(site.relay.call().1.streams, before.streams, "until the answer it is speech");
    let shown = site.proxy.ask(with(with(answer("f", 0), tags), json!({"sdp": fax(4000)}))).await;
    assert_eq!(lines(text(&shown), "m="), ["m=image 30002 udptl t38"]);
    let held = site.relay.call().1;
    assert_eq!(
        (held.streams[0].kind, held.streams[0].legs[0].tapped),
        (StreamKind::Opaque, PayloadTypes::NONE)
    );
    assert_eq!(held.ports, before.ports);

    site.proxy.ask(with(offer("f", 4000), json!({"to-tag": to}))).await;
    site.proxy.ask(answer("f", 5000)).await;
    assert_eq!(site.relay.call().1.streams, before.streams);
}

#[tokio::test]
async fn srtp_passes_end_to_end_where_the_settings_say_so_and_nothing_is_recorded() {
    const KEY: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    let print = format!("a=fingerprint:sha-256 {}", ["4A"; 32].join(":"));
    let sdes = session("127.0.0.1", &format!("m=audio 4000 RTP/SAVP 8;{KEY};a=crypto:2 {CANARY}"));
    let dtls = session("127.0.0.1", &format!("m=audio 4000 UDP/TLS/RTP/SAVPF 8;{print};a=setup:actpass"));
    let plain = |request: Json, sdp: &str| with(request, json!({"sdp": sdp, "transport-protocol": ""}));
    let mut strict = Site::new().await;
    for sdp in [&sdes, &dtls] {
        let reply = strict.proxy.ask(plain(offer("s", 0), sdp)).await;
        assert_eq!(reply["error-reason"], "Unsupported media (RTP/AVP, RTP/AVPF and T.38 are relayed)");
    }

    let mut site = Site::with(ControlSettings { srtp: Srtp::Pass, ..ControlSettings::default() }).await;
    for (sdp, kind, key) in [(&sdes, StreamKind::Rtp, KEY), (&dtls, StreamKind::Opaque, &print)] {
        for request in [offer("s", 0), answer("s", 0)] {
            let shown = site.proxy.ask(plain(request, sdp)).await;
            assert!(text(&shown).contains(key) && !text(&shown).contains(CANARY), "{shown}");
        }
        let (_, held) = site.relay.call();
        let [caller, callee] = held.streams[0].legs;
        assert_eq!((held.streams[0].kind, held.streams[0].verbatim, held.label), (kind, true, None));
        assert_eq!((caller.tapped, callee.tapped), (PayloadTypes::NONE, PayloadTypes::NONE));
        site.proxy.ask(delete("s")).await;
    }
    // Whoever answers without encryption is not heard.
    site.proxy.ask(plain(offer("p", 0), &sdes)).await;
    let back = site.proxy.ask(answer("p", 5000)).await;
    assert_eq!(lines(text(&back), "m="), ["m=audio 0 RTP/SAVP 8 101"]);
    // Nothing is decrypted, and recorded calls are for all to hear who may.
    let reply =
        site.proxy.ask(with(plain(offer("d", 0), &sdes), json!({"transport-protocol": "RTP/AVP"}))).await;
    assert_eq!(reply["error-reason"], "Unsupported transport protocol (RTP/AVP and RTP/AVPF are relayed)");
    site.route("r", true, 600);
    let reply = site.proxy.ask(plain(offer("r", 0), &sdes)).await;
    assert_eq!(reply["error-reason"], "Unsupported media (encrypted, and the call is recorded)");
    let both = format!("{sdes}{}", "m=audio 4002 RTP/AVP 8\r\n");
    let shown = site.proxy.ask(plain(offer("r", 0), &both)).await;
    assert_eq!(lines(text(&shown), "m=").first(), Some(&"m=audio 0 RTP/SAVP 8"));
    assert!(!logs().contains("WVNfX19z") && !logs().contains("4A:4A"));
}

#[tokio::test]
async fn the_proxy_says_how_sources_are_taken() {
    let mut site =
        Site::with(ControlSettings { packet_rate_multiple: 0, ..ControlSettings::default() }).await;
    for (flags, learning, handover, asymmetric) in [
        (json!([]), Learning::Strict, false, false),
        (json!(["media handover"]), Learning::Strict, true, false),
        (json!(["asymmetric"]), Learning::Nat, false, true),
        (json!(["strict-source", "media-handover"]), Learning::Strict, false, false),
        (json!(["SIP-source-address", "strict-source"]), Learning::Nat, false, false),
    ] {
        site.proxy.ask(with(offer("s", 4000), json!({"flags": flags, "TOS": 184}))).await;
        let [caller, callee] = site.relay.call().1.streams[0].legs;
        assert_eq!(
            (caller.learning, caller.handover, caller.asymmetric),
            (learning, handover, asymmetric),
            "{flags}"
        );
        assert_eq!((callee.handover, caller.packets_per_second), (false, 0));
        assert_eq!(caller.events, PayloadTypes::NONE.with(101));
        site.proxy.ask(delete("s")).await;
    }
    let settings = ControlSettings { learning: SourceLearning::Nat, ..ControlSettings::default() };
    let mut site = Site::with(settings).await;
    site.proxy.ask(with(offer("n", 4000), json!({"flags": ["strict-source"]}))).await;
    assert_eq!(site.relay.call().1.streams[0].legs[0].learning, Learning::Strict);
}

#[tokio::test]
async fn media_is_sent_neither_to_this_hosts_own_ports_nor_where_the_relay_cannot() {
    let mut site = Site::new().await;
    let own = json!({"result": "error", "error-reason": "Media address is this host's own"});
    let family =
        json!({"result": "error", "error-reason": "Media address is of another family than the relay's"});
    let six = |mut request: Json| {
        request["sdp"] = sdp(4000).replace("c=IN IP4 127.0.0.1", "c=IN IP6 2001:db8::1").into();
        request
    };
    assert_eq!(site.proxy.ask(six(offer("six", 0))).await, family);
    assert_eq!((site.relay.state().opened, site.control.calls.list().len()), (0, 0));
    assert_eq!(site.proxy.ask(offer("http", 8090)).await, own);
    site.call("victim").await;
    let ports = site.relay.call().1.ports[0];
    for port in [ports[0].rtp, ports[0].rtcp, ports[1].rtp] {
        assert_eq!(site.proxy.ask(offer("into", port)).await, own);
    }
    site.proxy.ask(offer("answers", 4000)).await;
    assert_eq!(site.proxy.ask(answer("answers", ports[1].rtp)).await, own);
    assert_eq!(site.proxy.ask(six(answer("answers", 0))).await, family);
    site.proxy.ask(delete("victim")).await;
    assert_eq!(site.proxy.ask(answer("answers", ports[1].rtp)).await["result"], "ok", "it is free again");
}
