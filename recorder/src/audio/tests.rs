//! Files made packet by packet, whole and broken.

use std::borrow::Cow;
use std::io::Cursor;

use ogg::writing::{PacketWriteEndInfo, PacketWriter};

use super::*;

/// Two streams' 20 ms of nothing (RFC 6716, section 2.1.9), SILK narrowband.
pub const SILENCE: &[u8] = &[8, 0, 8];

/// An audio file of `packets`, `page` of them on each page, that ends at the granule `end`.
pub fn file(pre_skip: u16, packets: &[Vec<u8>], page: usize, end: u64) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(pre_skip.to_le_bytes());
    head.extend(8_000_u32.to_le_bytes());
    head.extend([0, 0, 1, 2, 0, 0, 1]);
    let mut writer = PacketWriter::new(Vec::new());
    let mut write = |packet: &[u8], end, granule| {
        writer.write_packet(Cow::Owned(packet.to_vec()), 7, end, granule).unwrap();
    };
    write(&head, PacketWriteEndInfo::EndPage, 0);
    write(b"OpusTags\x04\0\0\0test\0\0\0\0", PacketWriteEndInfo::EndPage, 0);
    let mut granule = 0;
    for (n, packet) in packets.iter().enumerate() {
        granule += duration(packet).unwrap();
        let info = match n + 1 {
            last if last == packets.len() => PacketWriteEndInfo::EndStream,
            n if n.is_multiple_of(page) => PacketWriteEndInfo::EndPage,
            _ => PacketWriteEndInfo::NormalPacket,
        };
        let last = info == PacketWriteEndInfo::EndStream;
        write(packet, info, if last { end } else { granule });
    }
    writer.into_inner()
}

/// `ms` of silence, 1 s to a page.
pub fn silence(ms: u64) -> Vec<u8> {
    let end = 312 + ms * 48;
    let packets = usize::try_from(end.div_ceil(960)).unwrap();
    file(312, &vec![SILENCE.to_vec(); packets], 50, end)
}

fn measured(bytes: &[u8]) -> (u64, Option<String>) {
    let (ticks, damage) = length(Cursor::new(bytes)).unwrap();
    (ticks, damage.map(|d| d.to_string()))
}

/// Where the page `n` starts.
fn page(bytes: &[u8], n: usize) -> usize {
    bytes.windows(4).enumerate().filter(|(_, w)| w == b"OggS").nth(n).unwrap().0
}

#[test]
fn the_length_is_what_is_between_pre_skip_and_end() {
    for ms in [0, 1, 13, 14, 999, 1_000, 3_007] {
        assert_eq!(measured(&silence(ms)), (ms * 48, None), "{ms} ms");
    }
    // To the tick, and with packets of other lengths: 60 ms, two of 20 ms, three of 2.5 ms.
    let packets = [vec![3 << 3], vec![9, 0], vec![16 << 3 | 3, 3]];
    assert_eq!(measured(&file(100, &packets, 2, 5_000)), (4_900, None));
}

#[test]
fn damage_is_found_and_what_is_before_it_is_told() {
    let whole = silence(5_000);
    let at = page(&whole, 4);
    // What is whole: two pages of a second, without the pre-skip.
    let told = |why: &str| (96_000 - 312, Some(format!("damaged after 00:00:01.993: {why}")));

    let mut flipped = whole.clone();
    flipped[at + 100] ^= 1;
    assert_eq!(measured(&flipped), told("the checksum of a page does not match"));
    assert_eq!(measured(&whole[..at + 100]), told("the file ends within a page"));
    assert_eq!(measured(&whole[..at]), told("the file ends before the audio does"));
    let without = [&whole[..at], &whole[page(&whole, 5)..]].concat();
    assert_eq!(measured(&without), told("pages are missing"));
    let twice = [&whole[..], &whole].concat();
    assert_eq!(measured(&twice).1.unwrap(), "damaged after 00:00:05.000: a page that is not Ogg");
    let short = file(312, &vec![SILENCE.to_vec(); 10], 50, 9_601);
    assert_eq!(measured(&short).1.unwrap(), "damaged after 00:00:00.000: its packets do not reach its end");
    let strange = file(312, &[SILENCE.to_vec(), vec![8, 0, 8]], 1, 300);
    assert!(measured(&strange).1.is_some(), "an end within the pre-skip");
}

#[test]
fn a_file_cut_or_changed_anywhere_is_never_taken_for_whole() {
    let whole = silence(2_500);
    for at in 0..whole.len() {
        let cut = length(Cursor::new(&whole[..at]));
        assert!(cut.is_err() || cut.unwrap().1.is_some(), "cut at {at}");
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        let changed = length(Cursor::new(changed));
        assert!(changed.is_err() || changed.unwrap().1.is_some(), "changed at {at}");
    }
}

#[test]
fn what_is_not_an_archives_audio_is_refused() {
    let said = |bytes: &[u8]| length(Cursor::new(bytes)).unwrap_err().to_string();
    for bytes in [&b""[..], b"RIFF", &vec![0; 200_000]] {
        assert_eq!(said(bytes), "not an archive's audio: it does not start as Ogg");
    }
    let head = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut head = b"OpusHead\x01\x02\x38\x01\x40\x1f\0\0\0\0\x01\x02\0\0\x01".to_vec();
        change(&mut head);
        Head::read(&head).map_err(|e| e.to_string())
    };
    assert_eq!(head(&|_| ()), Ok(Head { pre_skip: 312, input_rate: Rate::Narrow }));
    assert_eq!(head(&|h| h[12..16].fill(0)).unwrap().input_rate, Rate::Full);
    assert!(head(&|h| h.truncate(15)).unwrap_err().ends_with("its OpusHead is cut"));
    assert!(head(&|h| h[20] = 1).unwrap_err().ends_with("not two mono streams, left and right"));
    assert!(head(&|h| h[16] = 1).unwrap_err().ends_with("it asks for an output gain"));
    assert!(head(&|h| h[8] = 16).unwrap_err().ends_with("a later version of Ogg Opus"));
    assert!(head(&|h| h[0] = 0).unwrap_err().ends_with("it is not Opus"));
}
