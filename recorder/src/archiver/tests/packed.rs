//! A party's own Opus packets stand in the archive as they are where they stand evenly, and are decoded where not.

use super::*;

/// Two seconds: the caller sends Opus, the callee G.711. `late`: what a packet of the caller is beside its 20 ms, in ticks.
fn archived_opus(
    late: impl Fn(u16) -> u32,
) -> (PathBuf, crate::manifest::Manifest, Vec<Vec<u8>>, tempfile::TempDir) {
    let state = tempfile::tempdir().unwrap();
    let mut label = label();
    label.legs[0].codecs =
        vec![Codec { payload_type: 111, name: "opus".into(), clock_rate: 48_000, channels: 2 }];
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    let mut spool = Spool::new(Some(&label));
    let mut sent = Vec::new();
    for n in 0..100_u16 {
        let ms = u64::from(n) * 20;
        let tone = |i: u32| f64::from(u32::from(n) * 960 + i) / 48_000.0 * 500.0 * std::f64::consts::TAU;
        let samples: Vec<i16> = (0..960).map(|i| (9000.0 * tone(i).sin()) as i16).collect();
        let packet = encoder.encode_vec(&samples, 1276).unwrap();
        spool.opus_packet(ms + u64::from(late(n)) / 48, n, u32::from(n) * 960 + late(n), &packet);
        spool.packet(Side::Callee, ms + 7, n, 0, &[0x40; 160]);
        sent.push(packet);
    }
    spool.event(2000, EventKind::Close, Some(&label), None);
    let path = spool.save(state.path(), label.recording);
    let (folder, manifest) = archived(&path, state.path(), &Settings::default());
    assert!(verify(&folder).holds());
    (folder, manifest, sent, state)
}

#[test]
fn packets_that_stand_evenly_are_taken_as_they_are() {
    let (folder, manifest, sent, _state) = archived_opus(|_| 0);
    let [caller, callee] = manifest.encoder.channels[..] else { panic!("two channels") };
    assert_eq!(
        (caller.packed, caller.sample_rate, callee.packed, callee.sample_rate),
        (100, 48_000, 0, 8_000)
    );
    let mut ogg = ogg::PacketReader::new(std::fs::File::open(folder.join(AUDIO)).unwrap());
    let mut found = 0;
    while let Some(packet) = ogg.read_packet().unwrap() {
        // Behind its table of contents and its length, the party's own frame.
        found += usize::from(sent.iter().any(|s| packet.data.windows(s.len() - 1).any(|w| w == &s[1..])));
    }
    assert_eq!(found, 100);
    let [left, _] = heard(&folder);
    assert!(left[20_000..60_000].iter().map(|s| s.unsigned_abs()).max().unwrap() > 7000);
}

#[test]
fn packets_that_do_not_are_decoded_and_stand_where_they_were_said() {
    // From the fiftieth on, 9 ms later: within a frame, on no grid of 20 ms with the others.
    let (folder, manifest, _, _state) = archived_opus(|n| if n < 50 { 0 } else { 9 * 48 });
    assert_eq!(manifest.encoder.channels[0].packed, 0);
    assert_eq!(manifest.left.counts.undecoded, 0);
    let [left, _] = heard(&folder);
    assert!(left[20_000..40_000].iter().map(|s| s.unsigned_abs()).max().unwrap() > 7000);
}

impl Spool {
    fn opus_packet(&mut self, ms: u64, n: u16, timestamp: u32, payload: &[u8]) {
        self.position += 1;
        let mut rtp = BytesMut::new();
        rtp.put_slice(&[0x80, 111]);
        rtp.put_u16(n);
        rtp.put_u32(timestamp);
        rtp.put_u32(10);
        rtp.put_slice(payload);
        let at_ns = START + ms * MS;
        let packet = Packet { side: Side::Caller, stream: 0, at_ns, position: self.position, dropped: 0 };
        spool::write_packet(&mut self.bytes, &packet, &rtp);
    }
}
