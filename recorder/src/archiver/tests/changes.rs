//! A call that changes its codec and its sender in the middle stays one recording, at the better rate.

use super::*;

#[test]
fn a_codec_and_a_sender_that_change_in_mid_call_stay_one_recording() {
    let state = tempfile::tempdir().unwrap();
    let mut label = label();
    label.legs[0].codecs.push(Codec { payload_type: 9, name: "G722".into(), clock_rate: 8000, channels: 1 });
    let mut spool = Spool::new(Some(&label));
    // G.711, then G.722 from another SSRC, then bytes of a codec that nothing here knows.
    for n in 0..150_u16 {
        let ms = u64::from(n) * 20;
        let (payload_type, ssrc) = [(8, 10), (9, 20), (77, 20)][usize::from(n / 50)];
        let payload: Vec<u8> = match payload_type {
            8 => (0..160).map(|i| if i % 10 < 5 { 0x35 } else { 0xB5 }).collect(),
            // Of G.722 any bytes are speech: here, something like a growl.
            _ => (0..160).map(|i| ((i * 37 + usize::from(n)) % 251) as u8).collect(),
        };
        spool.of_sender(ssrc, ms, n, payload_type, &payload);
        spool.packet(Side::Callee, ms + 3, n, 0, &[0x40; 160]);
    }
    spool.event(3000, EventKind::Close, Some(&label), None);
    let (folder, manifest) =
        archived(&spool.save(state.path(), label.recording), state.path(), &Settings::default());
    assert!(verify(&folder).holds());
    let rates: Vec<u32> = manifest.encoder.channels.iter().map(|c| c.sample_rate).collect();
    assert_eq!(rates, [16_000, 8_000]);
    let left = &manifest.left;
    assert_eq!((left.counts.sources, left.counts.lost, left.counts.undecoded), (2, 0, 50));
    let codecs: Vec<_> = left.streams.iter().map(|s| s.codecs.first().map(String::as_str)).collect();
    assert_eq!(codecs, [Some("PCMA"), Some("G722")]);
    let silenced = manifest.silenced.iter().find(|s| s.side == Side::Caller).unwrap();
    assert_eq!(silenced.cause, crate::manifest::SilenceCause::Undecoded);
    assert!(silenced.from_ms.abs_diff(2000) <= 20 && silenced.to_ms.abs_diff(3000) <= 40, "{silenced:?}");
    let [speech, _] = heard(&folder);
    let loudest = |from: usize, to: usize| speech[from * 48..to * 48].iter().map(|s| s.unsigned_abs()).max();
    assert!(loudest(200, 900) > Some(3000) && loudest(1200, 1900) > Some(1000));
    // The encoder's own filter lets go of a full-scale growl within a quarter of a second.
    assert!(loudest(2300, 2900) < Some(100));
}

impl Spool {
    fn of_sender(&mut self, ssrc: u32, ms: u64, n: u16, payload_type: u8, payload: &[u8]) {
        self.position += 1;
        let mut rtp = BytesMut::new();
        rtp.put_slice(&[0x80, payload_type]);
        rtp.put_u16(n);
        rtp.put_u32(u32::from(n) * 160);
        rtp.put_u32(ssrc);
        rtp.put_slice(payload);
        let at_ns = START + ms * MS;
        let packet = Packet { side: Side::Caller, stream: 0, at_ns, position: self.position, dropped: 0 };
        spool::write_packet(&mut self.bytes, &packet, &rtp);
    }
}
