//! Every type of packet against bytes worked out from its RFC, and what no packet may carry through.

use proptest::prelude::*;

use super::*;
use crate::program::message::Extensions;

#[path = "canary_tests.rs"]
mod canaries;

/// Shows a packet of `ssrc`, 20 ms of sound after the one before.
fn sound(mask: &mut Mask, ssrc: u8, sequence: u8) {
    let mut packet = [0x80, 8, 0, sequence, 0, 0, 0, 160, 0, 0, 0, ssrc];
    mask.rtp(&mut packet, Extensions::NONE, &[], u64::from(sequence) * 20_000_000).unwrap();
}

/// Both directions of a call after seven packets each: of source 5, whose RTCP is rewritten, and of source 6, of
/// which it speaks.
fn masks() -> (Mask, Mask) {
    let (mut sent, mut heard) = (Mask::new(1), Mask::new(2));
    for sequence in 1..=7 {
        sound(&mut sent, 5, sequence);
        sound(&mut heard, 6, sequence);
    }
    (sent, heard)
}

/// How source 5 is shown to the other party, and how source 6 was shown to this one.
fn guises() -> (Guise, Guise) {
    let (sent, heard) = masks();
    (sent.of_source(5).unwrap(), heard.of_source(6).unwrap())
}

/// The number under which source 6's packet `sequence` was shown.
fn shown_number(sequence: u16) -> u32 {
    sequence.wrapping_add(guises().1.offset()).into()
}

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|w| w.to_be_bytes()).collect()
}

fn rewritten(bytes: &[u8], sent: &mut Mask, heard: &Mask) -> Result<Vec<u8>, DropReason> {
    let mut buffer = bytes.to_vec();
    buffer.resize(bytes.len() + SDES, 0);
    let length = rewrite(&mut buffer, bytes.len(), sent, heard)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn run(bytes: &[u8]) -> Result<Vec<u8>, DropReason> {
    let (mut sent, heard) = masks();
    rewritten(bytes, &mut sent, &heard)
}

/// An SDES chunk with one item.
fn chunk(ssrc: u32, item: u8, text: &str) -> Vec<u8> {
    let mut chunk = words(&[ssrc]);
    chunk.extend([item, u8::try_from(text.len()).unwrap()]);
    chunk.extend(text.bytes());
    chunk.push(0);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// A packet of this type: count or format, type, content of whole words.
fn packet(count: u8, kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len() / 4).unwrap().to_be_bytes();
    [&[0x80 | count, kind][..], &length, content].concat()
}

#[test]
fn a_sender_report_matches_the_rtp_that_the_other_party_saw() {
    let (mine, theirs) = guises();
    // The source has sent 1 to 7; whether the shown numbers wrapped meanwhile or not, no cycle was completed.
    let seen = 7_u32.wrapping_add_signed(theirs.sequence);
    let report = words(&[
        0x82c8_0014,
        5,
        1,
        2,
        1000,
        3,
        4, // sender's information: NTP, RTP, packets, bytes
        99,
        0,
        0,
        0,
        0,
        0, // of a source that is unknown
        theirs.shown,
        0x0300_0002,
        seen,
        12,
        13,
        14, // lost, highest, jitter, LSR, DLSR
        0x2b34_3437,
        0x3730_3039, // a profile's extension
    ]);
    let mut expected = words(&[0x81c8_000c, mine.shown, 1, 2, 1000_u32.wrapping_add(mine.timestamp), 3, 4]);
    expected.extend(words(&[6, 0x0300_0002, 7, 12, 13, 14]));
    assert_eq!(run(&report), Ok(expected.clone()));

    let described = [report, packet(1, 202, &chunk(5, 1, "+447700900001@phone"))].concat();
    expected.extend(words(&[0x81ca_0006, mine.shown]));
    expected.extend([&[1, 16][..], masks().0.cname(), &[0, 0]].concat());
    assert_eq!(run(&described), Ok(expected));
    assert_eq!(run(&words(&[0x80c8_0006, 99, 1, 2, 3, 4, 5])), Err(DropReason::EmptyRtcp), "never seen");
}

#[test]
fn a_party_that_sends_no_rtp_reports_under_what_it_will_be_shown_as() {
    let (mut sent, (_, heard)) = (Mask::new(3), masks());
    let out = rewritten(&words(&[0x80c9_0001, 8]), &mut sent, &heard).unwrap();
    sound(&mut sent, 8, 1);
    assert_eq!(out, words(&[0x80c9_0001, sent.of_source(8).unwrap().shown]));
}

#[test]
fn reports_follow_a_source_whose_ssrc_changed() {
    let (mut sent, mut heard) = masks();
    let (mine, theirs) = guises();
    for sequence in 1..=3 {
        sound(&mut sent, 15, sequence);
        sound(&mut heard, 16, sequence);
    }
    // Of the shown stream's packets, the seventh was the old source's last and the tenth is the new one's third.
    let report = |source: u32, number: u32| {
        let highest = number.wrapping_add_signed(theirs.sequence);
        words(&[0x81c8_000c, source, 1, 2, 1000, 3, 4, theirs.shown, 0, highest, 0, 0, 0])
    };
    for (from, number, to, came) in [(5, 7, 6, 7), (15, 10, 16, 3)] {
        let guise = sent.of_source(from).unwrap();
        let timestamp = 1000_u32.wrapping_add(guise.timestamp);
        let expected = words(&[0x81c8_000c, mine.shown, 1, 2, timestamp, 3, 4, to, 0, came, 0, 0, 0]);
        assert_eq!(rewritten(&report(from, number), &mut sent, &heard), Ok(expected));
    }
}

#[test]
fn each_described_source_gets_the_random_name_and_nothing_else() {
    let (mut sent, heard) = masks();
    let names =
        [chunk(5, 1, "+447700900001@phone"), chunk(5, 2, "Driver"), chunk(99, 6, "Phone 1.0")].concat();
    let bytes = [words(&[0x80c9_0001, 5]), packet(3, 202, &names)].concat();
    let shown = sent.of_source(5).unwrap().shown;
    let mut expected = words(&[0x80c9_0001, shown, 0x81ca_0006, shown]);
    expected.extend([&[1, 16][..], sent.cname(), &[0, 0]].concat());
    assert_eq!(rewritten(&bytes, &mut sent, &heard), Ok(expected), "99 sends no RTP: the same SSRC is shown");
}

#[test]
fn a_goodbye_has_no_reason_and_ends_only_what_has_ended() {
    let (mut sent, heard) = masks();
    let shown = sent.of_source(5).unwrap().shown;
    let bye = [words(&[0x83cb_0005, 99, 5, 98]), b"\x06reason\0".to_vec()].concat();
    assert_eq!(rewritten(&bye, &mut sent, &heard), Ok(words(&[0x81cb_0001, shown])));
    sound(&mut sent, 15, 8);
    let changed = rewritten(&bye, &mut sent, &heard);
    assert_eq!(changed, Err(DropReason::EmptyRtcp), "15 goes on under the same shown SSRC");
}

#[test]
fn extended_reports_speak_of_the_source_s_own_packets() {
    let (mine, theirs) = guises();
    let range = |begin: u16, end: u16| shown_number(begin) << 16 | shown_number(end);
    // Sender 5, one block; of the block what is expected, none if nothing.
    for (what, block, expected) in [
        // RFC 3611, section 4.1: thinning 3 and four reserved bits; two chunks.
        (
            "loss",
            vec![0x01f3_0003, theirs.shown, range(2, 8), 0x4001_0000],
            Some(vec![0x0103_0003, 6, 0x0002_0008, 0x4001_0000]),
        ),
        ("duplicates", vec![0x0200_0002, theirs.shown, range(1, 3)], Some(vec![0x0200_0002, 6, 0x0001_0003])),
        (
            "receipt times",
            vec![0x0300_0003, theirs.shown, range(7, 8), 77],
            Some(vec![0x0300_0003, 6, 0x0007_0008, 77]),
        ),
        ("reference time", vec![0x0477_0002, 8, 9], Some(vec![0x0400_0002, 8, 9])),
        ("delays", vec![0x0500_0006, 99, 1, 2, theirs.shown, 3, 4], Some(vec![0x0500_0003, 6, 3, 4])),
        ("delays of nobody", vec![0x0500_0003, 99, 1, 2], None),
        // Section 4.6: hops (0x18 of the flags, and the last word) are the relay's own.
        (
            "statistics",
            vec![0x06ff_0009, theirs.shown, range(1, 8), 1, 2, 3, 4, 5, 6, 0x4040_4040],
            Some(vec![0x06e0_0009, 6, 0x0001_0008, 1, 2, 3, 4, 5, 6, 0]),
        ),
        // Section 4.7: one reserved byte behind the receiver's configuration.
        (
            "VoIP",
            vec![0x0755_0008, theirs.shown, 1, 2, 3, 4, 5, 0xb055_0028, 6],
            Some(vec![0x0700_0008, 6, 1, 2, 3, 4, 5, 0xb000_0028, 6]),
        ),
        ("of an unknown source", vec![0x0200_0002, 99, range(1, 3)], None),
        ("unknown type", vec![0x0800_0001, 0x4141_4141], None),
    ] {
        let report = |ssrc: u32, block: &[u32]| packet(0, 207, &words(&[&[ssrc][..], block].concat()));
        let expected = expected.map(|e| report(mine.shown, &e)).ok_or(DropReason::EmptyRtcp);
        assert_eq!(run(&report(5, &block)), expected, "{what}");
        let reference = [0x0400_0002, 1, 2];
        let both = expected.unwrap_or_else(|_| report(mine.shown, &[]));
        let both = packet(0, 207, &[&both[4..], &words(&reference)].concat());
        assert_eq!(run(&report(5, &[&block[..], &reference].concat())), Ok(both), "{what}, then another");
    }
}

#[test]
fn feedback_reaches_the_source_that_it_is_about() {
    let (mine, theirs) = guises();
    let media = theirs.shown;
    let number = |sequence: u16| shown_number(sequence) << 16;
    let remb = u32::from_be_bytes(*b"REMB");
    for (what, kind, format, content, expected) in [
        // RFC 4585, section 6.2.1: numbers and what follows them.
        ("NACK", 205, 1, vec![media, number(3) | 5, number(6)], Some(vec![6, 0x0003_0005, 0x0006_0000])),
        ("NACK to nobody", 205, 1, vec![99, number(3)], None),
        ("NACK of nothing", 205, 1, vec![media], None),
        // RFC 5104, sections 4.2.1 and 4.2.2: the media source is in the entries, its own field is 0.
        ("TMMBR", 205, 3, vec![0, media, 0x1234_0028, 99, 7], Some(vec![0, 6, 0x1234_0028])),
        ("TMMBR to nobody", 205, 3, vec![0, 99, 7], None),
        ("TMMBN", 205, 4, vec![0, media, 0x1234_0028], Some(vec![0, 6, 0x1234_0028])),
        ("TMMBN of no limit", 205, 4, vec![0], Some(vec![0])),
        (
            "congestion",
            205,
            15,
            vec![media, 0x0001_0001, 0x0000_0001, 0x2001_0400],
            Some(vec![6, 0x0001_0001, 0x0000_0001, 0x2001_0400]),
        ),
        ("unknown transport feedback", 205, 9, vec![media, 1], None),
        // RFC 4585, sections 6.3.1 to 6.3.3.
        ("PLI", 206, 1, vec![media], Some(vec![6])),
        ("PLI with more behind it", 206, 1, vec![media, 0x4141_4141], Some(vec![6])),
        ("SLI", 206, 2, vec![media, 0x1234_5678], Some(vec![6, 0x1234_5678])),
        ("RPSI", 206, 3, vec![media, 0x0860_0102], Some(vec![6, 0x0860_0102])),
        ("PLI to nobody", 206, 1, vec![99], None),
        // RFC 5104, section 4.3.1: a number, then three reserved bytes.
        ("FIR", 206, 4, vec![0, 99, 0x0100_0000, media, 0x0741_4141], Some(vec![0, 6, 0x0700_0000])),
        (
            "REMB",
            206,
            15,
            vec![0, remb, 0x0207_ffff, 99, media, 0x4141_4141],
            Some(vec![0, remb, 0x0107_ffff, 6]),
        ),
        ("REMB about nobody", 206, 15, vec![0, remb, 0x0107_ffff, 99], None),
        ("REMB cut short", 206, 15, vec![0, remb, 0x0207_ffff, media], None),
        ("an application's own", 206, 15, vec![media, 0x4141_4141, 0, 0], None),
        ("unknown payload feedback", 206, 7, vec![media, 1], None),
    ] {
        let feedback =
            |sender: u32, content: &[u32]| packet(format, kind, &words(&[&[sender][..], content].concat()));
        let expected = expected.map(|e| feedback(mine.shown, &e)).ok_or(DropReason::EmptyRtcp);
        assert_eq!(run(&feedback(5, &content)), expected, "{what}");
    }
}

#[test]
fn lost_packets_of_a_source_that_is_gone_are_asked_of_it_alone() {
    let (mut sent, mut heard) = masks();
    let (mine, theirs) = guises();
    sound(&mut heard, 16, 1);
    let nack = |numbers: [u16; 2]| {
        words(&[0x81cd_0004, 5, theirs.shown, shown_number(numbers[0]) << 16, shown_number(numbers[1]) << 16])
    };
    let one = |source: u32, number: u32| Ok(words(&[0x81cd_0003, mine.shown, source, number << 16]));
    assert_eq!(rewritten(&nack([7, 8]), &mut sent, &heard), one(6, 7));
    assert_eq!(rewritten(&nack([8, 7]), &mut sent, &heard), one(16, 1));
}

#[test]
fn a_party_that_only_listens_is_told_of_its_reference_time_and_its_limits() {
    let (mut sent, _) = masks();
    let mut heard = Mask::new(4);
    let out = rewritten(&words(&[0x80cf_0004, 8, 0x0400_0002, 1, 2]), &mut heard, &sent).unwrap();
    let listener = word(&out, 4).unwrap();
    let mine = sent.of_source(5).unwrap().shown;
    let delays = words(&[0x80cf_0005, 5, 0x0500_0003, listener, 3, 4]);
    assert_eq!(rewritten(&delays, &mut sent, &heard), Ok(words(&[0x80cf_0005, mine, 0x0500_0003, 8, 3, 4])));
    let limits = words(&[0x84cd_0004, 5, 0, listener, 7]);
    assert_eq!(rewritten(&limits, &mut sent, &heard), Ok(words(&[0x84cd_0004, mine, 0, 8, 7])));
}

#[test]
fn only_what_is_listed_passes_and_reduced_size_is_enough() {
    let app = words(&[0x80cc_0002, 5, 0x4142_4344]);
    assert_eq!(run(&app), Err(DropReason::EmptyRtcp));
    assert_eq!(
        run(&packet(1, 202, &chunk(5, 1, "name"))),
        Err(DropReason::EmptyRtcp),
        "a name alone is no news"
    );
    for kind in (192..200).chain([204]).chain(208..=223) {
        assert_eq!(run(&packet(0, kind, &words(&[5, 6, 7]))), Err(DropReason::EmptyRtcp), "{kind}");
    }
    // RFC 5506: no report before it.
    let bye = words(&[0x81cb_0001, 5]);
    assert_eq!(run(&[app, bye].concat()).unwrap()[..4], [0x81, 203, 0, 1]);
}

#[test]
fn our_own_rtcp_reflected_does_not_pass_again_before_its_rtp_did() {
    let (mut sent, mut heard) = masks();
    let reflected = words(&[0x80c9_0001, heard.of_source(6).unwrap().shown]);
    assert_eq!(rewritten(&reflected, &mut sent, &heard), Err(DropReason::EmptyRtcp));
    let mut silent = Mask::new(4);
    let out = rewritten(&words(&[0x80c9_0001, 8]), &mut silent, &heard).unwrap();
    assert_eq!(rewritten(&out, &mut heard, &silent), Err(DropReason::EmptyRtcp));
}

#[test]
fn padding_behind_the_last_packet_is_cut_off() {
    let (mine, _) = guises();
    assert_eq!(run(&words(&[0xa0c9_0002, 5, 0x4141_4104])), Ok(words(&[0x80c9_0001, mine.shown])));
}

#[test]
fn malformed_compounds_are_refused_whole() {
    let receiver = words(&[0x80c9_0001, 5]);
    for (what, bad) in [
        ("cut short", receiver[..6].to_vec()),
        ("a block is missing", words(&[0x81c9_0001, 5])),
        ("a sender report of one word", words(&[0x80c8_0001, 5])),
        ("longer than the datagram", words(&[0x80c9_0009, 5])),
        ("padding of zero bytes", words(&[0xa0c9_0001, 0])),
        ("padding of three bytes", words(&[0xa0c9_0002, 5, 3])),
        ("padding over the header", words(&[0xa0c9_0001, 8])),
        ("padding over the sender", words(&[0xa0c9_0001, 4])),
        ("padding before the end", words(&[0xa0c9_0001, 4, 0x80c9_0001, 5])),
        ("another version", words(&[0x40c9_0001, 5])),
        ("bytes behind the last packet", [receiver.clone(), vec![0x80, 201, 0]].concat()),
        ("fewer sources than a goodbye counts", words(&[0x82cb_0001, 5])),
        ("a name past the end", [receiver.clone(), words(&[0x81ca_0002, 5, 0x0108_4141])].concat()),
        ("names without an end", [receiver.clone(), words(&[0x81ca_0002, 5, 0x0102_4141])].concat()),
        ("fewer chunks than counted", [receiver.clone(), words(&[0x82ca_0002, 5, 0])].concat()),
        ("an extended block past the end", words(&[0x80cf_0002, 5, 0x0400_0002])),
        ("a reference time of one word", words(&[0x80cf_0003, 5, 0x0400_0001, 0])),
        ("feedback without a media source", words(&[0x81ce_0001, 5])),
    ] {
        assert_eq!(run(&bad), Err(DropReason::MalformedRtcp), "{what}");
        let first_good = [receiver.clone(), bad].concat();
        assert_eq!(run(&first_good), Err(DropReason::MalformedRtcp), "{what}, behind a good one");
    }
    assert!(run(&receiver).is_ok());
}

proptest! {
    #[test]
    fn alien_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        let _ = run(&bytes);
    }
}
