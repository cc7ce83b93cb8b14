//! What one party is shown of the other: the exact text, and that nothing else is in it, whatever came in.

use proptest::prelude::*;
use regex_lite::Regex;

use super::*;

const ORIGIN: Origin = Origin { session: 77, version: 3 };
const LOCAL: Local =
    Local { address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), rtp: 30_000, rtcp: 30_001 };

fn written(text: &str, mux: Mux) -> String {
    let sdp = Sdp::parse(text).unwrap();
    let section = |media| {
        let local = Media::relayable(media).then_some(LOCAL);
        Section { media, protocol: &media.protocol, local, mux }
    };
    let sections: Vec<_> = sdp.media.iter().map(section).collect();
    sdp.write(ORIGIN, LOCAL.address, &sections)
}

#[test]
fn shows_the_media_and_nothing_of_the_party() {
    let text = "v=0\r\no=+447700900001 4477009 1 IN IP4 10.0.0.7\r\ns=call of +447700900001\r\n\
        i=447700900001\r\nu=http://x/447700900001\r\ne=447700900001@x\r\np=+44 7700 900001\r\n\
        c=IN IP4 10.0.0.7\r\nb=AS:80\r\nt=4477009 447700900001\r\nr=447700900001\r\nk=clear:447700900001\r\n\
        a=tool:447700900001\r\na=sendonly\r\n\
        m=audio 4000 RTP/AVP 8 101\r\ni=447700900001\r\nc=IN IP4 10.0.0.7\r\nb=AS:64\r\na=rtpmap:8 PCMA/8000\r\n\
        a=X-who:447700900001\r\na=fmtp:101 0-15\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n\
        a=candidate:1 1 UDP 1 10.0.0.7 4000 typ host\r\na=rtcp:4001 IN IP4 10.0.0.7\r\n\
        m=image 4002 udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:447700900001\r\na=rtcp-mux\r\n";
    assert_eq!(
        written(text, Mux::No),
        "v=0\r\no=- 77 3 IN IP4 192.0.2.1\r\ns=-\r\nb=AS:80\r\nt=0 0\r\na=sendonly\r\n\
         m=audio 30000 RTP/AVP 8 101\r\nc=IN IP4 192.0.2.1\r\nb=AS:64\r\na=rtpmap:8 PCMA/8000\r\n\
         a=fmtp:101 0-15\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na=rtcp:30001\r\n\
         m=image 30000 udptl t38\r\nc=IN IP4 192.0.2.1\r\na=T38FaxVersion:0\r\n"
    );
}

#[test]
fn rtcp_mux_follows() {
    let text = "v=0\r\nc=IN IP4 10.0.0.7\r\nm=audio 4000 RTP/AVP 8\r\na=rtcp-mux\r\n";
    assert!(written(text, Mux::No).ends_with("a=rtcp:30001\r\n"));
    assert!(written(text, Mux::Offered).ends_with("a=rtcp:30001\r\na=rtcp-mux\r\n"));
    assert!(written(text, Mux::Agreed).ends_with("a=rtcp:30000\r\na=rtcp-mux\r\n"));
}

#[test]
fn hold_in_the_old_way_is_passed_on() {
    let text = "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 8\r\n";
    assert!(written(text, Mux::No).contains("m=audio 30000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n"));
}

#[test]
fn the_digest_tells_changes_apart() {
    let digest = |text: &str| {
        let sdp = Sdp::parse(text).unwrap();
        let media = &sdp.media[0];
        sdp.digest(&[Section { media, protocol: &media.protocol, local: Some(LOCAL), mux: Mux::No }])
    };
    let text = "v=0\r\no=a 1 1 IN IP4 10.0.0.7\r\nc=IN IP4 10.0.0.7\r\nm=audio 4000 RTP/AVP 8 0\r\n";
    assert_eq!(digest(text), digest(&text.replace("o=a 1 1", "o=b 2 2").replace("4000", "5000")));
    assert_ne!(digest(text), digest(&text.replace("8 0", "8")));
    assert_ne!(digest(text), digest(&format!("{text}a=sendonly\r\n")));
}

#[test]
fn feedback_goes_with_the_profile_that_has_it() {
    let text =
        "v=0\r\nc=IN IP4 10.0.0.7\r\nm=video 4000 RTP/AVPF 96\r\na=rtcp-fb:96 nack pli\r\na=rtcp-rsize\r\n";
    let shown = |profile: Profile| {
        let sdp = Sdp::parse(text).unwrap();
        let section =
            Section { media: &sdp.media[0], protocol: profile.name(), local: Some(LOCAL), mux: Mux::No };
        sdp.write(ORIGIN, LOCAL.address, &[section])
    };
    assert!(shown(Profile::Avpf).contains("a=rtcp-fb:96 nack pli\r\na=rtcp-rsize\r\n"));
    assert!(!shown(Profile::Avp).contains("a=rtcp-"));
}

#[test]
fn keys_and_fingerprints_pass_in_the_lines_that_need_them() {
    let print = format!("a=fingerprint:sha-1 {}\r\n", ["0A"; 20].join(":"));
    let key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
    let text = format!(
        "v=0\r\nc=IN IP4 10.0.0.7\r\n{print}a=setup:active\r\nm=audio 4000 RTP/SAVP 8\r\n{key}\
         m=audio 4002 UDP/TLS/RTP/SAVP 8\r\na=setup:actpass\r\nm=audio 4004 RTP/AVP 8\r\n{key}{print}"
    );
    assert_eq!(
        written(&text, Mux::No).split_once("m=").unwrap().1,
        format!(
            "audio 30000 RTP/SAVP 8\r\nc=IN IP4 192.0.2.1\r\n{key}a=rtcp:30001\r\n\
             m=audio 30000 UDP/TLS/RTP/SAVP 8\r\nc=IN IP4 192.0.2.1\r\na=setup:actpass\r\n{print}a=rtcp:30001\r\n\
             m=audio 30000 RTP/AVP 8\r\nc=IN IP4 192.0.2.1\r\na=rtcp:30001\r\n"
        )
    );
}

#[test]
fn ipv6_is_written_as_such() {
    let sdp = Sdp::parse("v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 8\r\n").unwrap();
    let local = Local { address: "2001:db8::1".parse().unwrap(), ..LOCAL };
    let section = Section { media: &sdp.media[0], protocol: "RTP/AVP", local: Some(local), mux: Mux::No };
    let text = sdp.write(ORIGIN, local.address, &[section]);
    assert!(
        text.contains("o=- 77 3 IN IP6 2001:db8::1\r\n") && text.contains("\r\nc=IN IP6 ::\r\n"),
        "{text}"
    );
}

/// Every line that may be written, each with its values. Told apart from the code on purpose: what passes is said
/// twice.
const ALLOWED: &[&str] = &[
    "v=0",
    "o=- 77 3 IN IP4 192\\.0\\.2\\.1",
    "s=-",
    "t=0 0",
    "c=IN IP4 (192\\.0\\.2\\.1|0\\.0\\.0\\.0)",
    "b=(CT|AS|TIAS|RS|RR):[0-9]{1,6}",
    "m=(audio|video|text|application|message|image) (0|30000) [A-Za-z/]{1,32} (\\*|t38|webrtc-datachannel|[0-9]{1,3}( [0-9]{1,3})*)",
    "a=(sendrecv|sendonly|recvonly|inactive|rtcp-rsize|rtcp-mux)",
    "a=rtcp:3000[01]",
    "a=rtpmap:[0-9]{1,3} [A-Za-z0-9_.+-]{1,32}/[0-9]{1,7}(/[0-9]{1,3})?",
    "a=fmtp:[0-9]{1,3} [ -~]+",
    "a=(ptime|maxptime):[0-9]{1,5}",
    "a=silenceSupp:(on|off) - - - -",
    "a=rtcp-fb:(\\*|[0-9]{1,3}) [A-Za-z ,-]*",
    "a=(curr|des|conf|content):[A-Za-z ,-]*",
    "a=extmap:[0-9]{1,2}(/(sendrecv|sendonly|recvonly|inactive))? (urn:3gpp:video-orientation|urn:ietf:params:rtp-hdrext:toffset|urn:ietf:params:rtp-hdrext:ssrc-audio-level( vad=(on|off))?|http://www\\.webrtc\\.org/experiments/rtp-hdrext/abs-send-time)",
    "a=crypto:[0-9]{1,4} [A-Z0-9_]+ inline:[A-Za-z0-9+/]{38,62}={0,2}(\\|2\\^[0-9]{1,2})?(\\|[0-9]{1,5}:[0-9]{1,3})?( [A-Z_]+(=[0-9A-Z_]{1,8})?)*",
    "a=fingerprint:sha-(1|224|256|384|512) [0-9A-F]{2}(:[0-9A-F]{2})+",
    "a=setup:(active|passive|actpass|holdconn)",
    "a=T38(FaxVersion|MaxBitRate|FaxMaxBuffer|FaxMaxDatagram|FaxMaxIFP):[0-9]{1,5}",
    "a=T38Fax(FillBitRemoval|TranscodingMMR|TranscodingJBIG)(:[01])?",
    "a=T38FaxRateManagement:(localTCF|transferredTCF)",
    "a=T38FaxUdpEC:t38UDP(NoEC|Redundancy|FEC)",
];

/// A party's number, in the spellings that it may come in.
const CANARIES: [&str; 4] = ["447700900001", "+44 7700 900001", "4477-009-00001", "(44)7700.900001"];

/// A line of SDP: anything, or one that is known, its value whole, cut, followed by a number, or replaced by one.
fn line() -> impl Strategy<Value = String> {
    const LINES: &[&str] = &[
        "m=audio 4000 RTP/AVP 8 101",
        "m=audio 4000 RTP/AVPF 8 96",
        "m=video 4000 RTP/AVP 96",
        "m=text 4000 RTP/AVP 98",
        "m=audio 4000 RTP/SAVP 8",
        "m=audio 4000 UDP/TLS/RTP/SAVPF 8",
        "m=image 4000 udptl t38",
        "m=application 9 UDP/BFCP *",
        "m=audio 0 RTP/AVP 8",
        "c=IN IP4 10.0.0.7",
        "c=IN IP4 0.0.0.0",
        "b=AS:64",
        "b=TIAS:64000",
        "o=x 1 1 IN IP4 10.0.0.7",
        "s=x",
        "i=x",
        "u=x",
        "e=x",
        "p=x",
        "t=0 0",
        "r=0",
        "z=0",
        "k=clear:x",
        "a=sendonly",
        "a=inactive",
        "a=rtcp-mux",
        "a=rtcp:4001",
        "a=rtcp-rsize",
        "a=rtpmap:8 PCMA/8000",
        "a=rtpmap:96 opus/48000/2",
        "a=fmtp:101 0-15",
        "a=ptime:20",
        "a=maxptime:40",
        "a=silenceSupp:off - - - -",
        "a=rtcp-fb:96 nack pli",
        "a=rtcp-fb:* ccm fir",
        "a=curr:qos local none",
        "a=content:main",
        "a=extmap:1 urn:3gpp:video-orientation",
        "a=extmap:2/sendonly urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 WSH=64",
        "a=fingerprint:sha-1 0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A",
        "a=setup:actpass",
        "a=T38FaxVersion:0",
        "a=T38MaxBitRate:14400",
        "a=T38FaxRateManagement:transferredTCF",
        "a=T38FaxMaxBuffer:2000",
        "a=T38FaxMaxDatagram:400",
        "a=T38FaxUdpEC:t38UDPRedundancy",
        "a=T38FaxFillBitRemoval:0",
        "a=candidate:1 1 UDP 1 10.0.0.7 4000 typ host",
        "a=ice-ufrag:x",
        "a=ssrc:1 cname:x",
        "a=mid:x",
        "a=label:x",
        "a=msid:x",
        "a=X-phone:x",
        "a=group:BUNDLE x",
        "a=tool:x",
    ];
    (
        prop::sample::select(LINES),
        prop::sample::select(&CANARIES[..]),
        0..8_usize,
        any::<prop::sample::Index>(),
        "[ -~]{0,12}",
    )
        .prop_map(|(line, canary, how, at, noise)| {
            let at = 2 + at.index(line.len() - 1);
            let (head, tail) = line.split_at(at.min(line.len()));
            let name = line.find(':').map_or(2, |colon| colon + 1);
            match how {
                0 => format!("{head}{canary}{tail}"),
                1 => format!("{}{canary}", &line[..name]),
                2 => format!("{line} {canary}"),
                3 => format!("{head}{noise}{tail}"),
                4 => format!("{head}{noise}"),
                _ => line.to_owned(),
            }
        })
}

/// An m-line of every kind, with what it needs to be relayed.
const SECTIONS: &[&str] = &[
    "m=audio 4000 RTP/AVP 8 96 101",
    "m=video 4000 RTP/AVPF 96",
    "m=audio 4000 RTP/SAVP 8 96\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz",
    "m=audio 4000 UDP/TLS/RTP/SAVPF 8 96\r\na=fingerprint:sha-1 0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A:0A",
    "m=image 4000 udptl t38",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever is read: what is written of it holds only lines that are known, and no number.
    #[test]
    fn nothing_is_written_that_is_not_allowed(
        above in prop::collection::vec(line(), 0..6),
        below in prop::collection::vec((prop::sample::select(SECTIONS), prop::collection::vec(line(), 0..12)), 1..4),
        mux: bool,
    ) {
        const HEAD: &str = "v=0\r\nc=IN IP4 10.0.0.7\r\n";
        const MEDIA: &str = "m=audio 4000 RTP/AVP 8\r\n";
        // A line that is no SDP refuses all of it: without such lines there is something to see.
        let sound = |lines: &[String]| -> String {
            let lines = lines.iter().map(|line| format!("{line}\r\n"));
            lines.filter(|line| Sdp::parse(&format!("{HEAD}{MEDIA}{line}")).is_ok()).collect()
        };
        let below: String = below.iter().map(|(head, lines)| format!("{head}\r\n") + &sound(lines)).collect();
        let text = format!("{HEAD}{}{below}", sound(&above));
        prop_assume!(Sdp::parse(&text).is_ok());
        let allowed = Regex::new(&format!("^({})$", ALLOWED.join("|"))).unwrap();
        let out = written(&text, if mux { Mux::Offered } else { Mux::No });
        for line in out.strip_suffix("\r\n").unwrap().split("\r\n") {
            prop_assert!(allowed.is_match(line), "{line}");
            prop_assert!(!line.contains("10.0.0.7"), "{line}");
        }
        let digits: String = out.chars().filter(|c| !" -.()+".contains(*c)).collect();
        prop_assert!(!digits.contains(CANARIES[0]), "{out}");
        prop_assert!(Sdp::parse(&out).is_ok(), "{out}");
    }
}
