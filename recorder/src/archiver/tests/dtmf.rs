//! DTMF is counted and never kept: not in the audio, not in the packets.

use super::*;
use crate::manifest::SilenceCause;
use crate::spool::{Item, Reader};

/// An event of 100 ms in the middle of 3 s of loud speech; its tone sounds in the speech too, from 40 ms before.
#[test]
fn an_event_and_the_tone_beside_it_are_silent_and_counted() {
    let state = tempfile::tempdir().unwrap();
    let mut label = label();
    label.legs[0].codecs.push(Codec {
        payload_type: 101,
        name: "telephone-event".into(),
        clock_rate: 8000,
        channels: 1,
    });
    let mut spool = Spool::new(Some(&label));
    for n in 0..150_u16 {
        let ms = u64::from(n) * 20;
        let tone = (73..80).contains(&n);
        let (sequence, timestamp) = (n + n.saturating_sub(75).min(5), u32::from(n) * 160);
        spool.caller_packet(ms, sequence, 8, timestamp, &hum(if tone { 0x2A } else { 0x35 }));
        spool.packet(Side::Callee, ms, n, 0, &hum(0x10));
        if (75..80).contains(&n) {
            // Capture has overwritten which digit it was.
            let duration = (n - 74) * 160;
            let end = if n == 79 { 0x80 } else { 0 };
            let [high, low] = duration.to_be_bytes();
            spool.caller_packet(ms + 1, n + n - 74, 101, 75 * 160, &[0xFF, end, high, low]);
        }
    }
    spool.event(3000, EventKind::Close, Some(&label), None);
    let path = spool.save(state.path(), label.recording);
    let (folder, manifest) = archived(&path, state.path(), &Settings::default());
    assert!(verify(&folder).holds(), "{:?}", verify(&folder).failures);
    assert_eq!((manifest.left.counts.dtmf, manifest.right.counts.dtmf), (1, 0));
    assert_eq!((manifest.left.counts.lost, manifest.left.streams[0].counts.dtmf), (0, 1));
    let [silenced] = manifest.silenced[..] else { panic!("{:?}", manifest.silenced) };
    assert_eq!((silenced.side, silenced.cause), (Side::Caller, SilenceCause::Dtmf));
    assert!(silenced.from_ms <= 1460 && silenced.from_ms > 1300, "{silenced:?}");
    assert!((1600..1750).contains(&silenced.to_ms), "{silenced:?}");
    let [left, right] = heard(&folder);
    let loudest = |samples: &[i16]| samples.iter().map(|s| s.unsigned_abs()).max().unwrap();
    let (from, to) = (silenced.from_ms as usize * 48, silenced.to_ms as usize * 48);
    assert!(loudest(&left[from + 2400..to - 2400]) < 300, "{}", loudest(&left[from + 2400..to - 2400]));
    assert!(loudest(&left[48_000..60_000]) > 1000 && loudest(&left[100_000..140_000]) > 1000);
    assert!(loudest(&right[from..to]) > 1000, "the other side is untouched");
    // No packet that is kept holds the tone.
    let kept = std::fs::read(folder.join(PACKETS)).unwrap();
    let mut reader = Reader::new(&kept[..]);
    let (mut packets, mut blank) = (0, 0);
    while let Some(item) = reader.item().unwrap() {
        if let Item::Packet(packet, rtp) = item {
            packets += 1;
            assert!(rtp[12..].iter().all(|b| b & 0x7F != 0x2A), "at {}", packet.at_ns);
            blank += usize::from(rtp[12..].iter().all(|b| *b == 0));
        }
    }
    assert_eq!(packets, 305);
    assert!((5..25).contains(&blank), "{blank}");
}

/// A square wave of 800 Hz: a code and the one of the opposite sign.
fn hum(code: u8) -> Vec<u8> {
    (0..160).map(|i| if i % 10 < 5 { code } else { code ^ 0x80 }).collect()
}

#[test]
fn without_dtmf_the_packets_are_kept_as_they_were_captured() {
    let state = tempfile::tempdir().unwrap();
    let label = label();
    let path = sample(&label).save(state.path(), label.recording);
    let captured = std::fs::read(&path).unwrap();
    let (folder, _) = archived(&path, state.path(), &Settings::default());
    assert_eq!(std::fs::read(folder.join(PACKETS)).unwrap(), captured);
}

impl Spool {
    /// A packet whose time-stamp does not follow from its sequence number.
    fn caller_packet(&mut self, ms: u64, n: u16, payload_type: u8, timestamp: u32, payload: &[u8]) {
        self.position += 1;
        let mut rtp = BytesMut::new();
        rtp.put_slice(&[0x80, payload_type]);
        rtp.put_u16(n);
        rtp.put_u32(timestamp);
        rtp.put_u32(10);
        rtp.put_slice(payload);
        let at_ns = START + ms * MS;
        let packet = Packet { side: Side::Caller, stream: 0, at_ns, position: self.position, dropped: 0 };
        spool::write_packet(&mut self.bytes, &packet, &rtp);
    }
}
