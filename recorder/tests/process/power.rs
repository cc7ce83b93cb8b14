//! A power cut: what had not reached the disk is gone, or zeros, or anything.

use std::os::unix::fs::FileExt;
use std::path::Path;

use recorder::manifest::Cause;
use recorder::spool::Side;

use super::relay_end::Relay;
use super::scene::{Dice, Recorder, archived, held, spool_path, state, tidy, until};

/// Block type of an enhanced packet block (pcapng, section 4.3).
const PACKET: u32 = 6;

/// Where each packet's block of a spool begins and ends.
fn packets(path: &Path) -> Vec<(u64, u64)> {
    let bytes = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let (mut at, mut blocks) = (0, Vec::new());
    while at < bytes.len() {
        let end = at + word(at + 4) as usize;
        if word(at) == PACKET {
            blocks.push((at as u64, end as u64));
        }
        at = end;
    }
    blocks
}

/// Records `calls` calls, kills the recorder, and takes the relay away.
fn cut_off(state: &Path, calls: usize, packets: u32) -> Relay {
    let mut relay = Relay::start(state);
    relay.open(calls);
    let recorder = Recorder::start(state);
    for n in 0..packets {
        relay.speak(n);
        relay.breathe();
    }
    until("it is all spooled", || (relay.backlog() == 0).then_some(()));
    recorder.kill();
    std::fs::remove_file(state.join("run/tap.sock")).unwrap();
    relay
}

#[test]
fn everything_before_a_power_cut_is_archived() {
    let (mut dice, state) = (Dice::new(), state(""));
    let relay = cut_off(state.path(), 12, 150);
    let mut kept = Vec::new();
    for (index, call) in relay.calls.iter().enumerate() {
        let path = spool_path(state.path(), call.id);
        let (blocks, file) = (packets(&path), std::fs::OpenOptions::new().write(true).open(&path).unwrap());
        let length = file.metadata().unwrap().len();
        assert_eq!(blocks.len(), call.taken.len());
        // Cut anywhere behind the first packet, or not at all.
        let cut = if index % 2 == 0 { dice.within(blocks[0].1, length) } else { length };
        file.set_len(cut).unwrap();
        let tail = dice.within(1, 20_000) as usize;
        let tail: Vec<u8> = match index / 2 % 3 {
            0 => Vec::new(),
            1 => vec![0; tail],
            _ => (0..tail).map(|_| dice.within(0, 256) as u8).collect(),
        };
        file.write_all_at(&tail, cut).unwrap();
        kept.push(blocks.iter().take_while(|b| b.1 <= cut).count());
    }
    let recorder = Recorder::start(state.path());
    for (call, kept) in relay.calls.iter().zip(kept) {
        let (folder, manifest) = archived(state.path(), call.id);
        assert_eq!(held(&folder), call.taken[..kept]);
        assert_eq!((manifest.ended.as_str(), manifest.gaps.len()), ("relay_lost", 0));
        let packets = manifest.left.counts.packets + manifest.right.counts.packets;
        assert_eq!(packets, kept as u64);
    }
    tidy(state.path(), relay.calls.len());
    recorder.stop();
}

#[test]
fn a_hole_in_a_spool_costs_the_packets_in_it() {
    let (mut dice, state) = (Dice::new(), state(""));
    let relay = cut_off(state.path(), 6, 300);
    let mut kept = Vec::new();
    for call in &relay.calls {
        let path = spool_path(state.path(), call.id);
        let (blocks, file) = (packets(&path), std::fs::OpenOptions::new().write(true).open(&path).unwrap());
        // Anywhere between the first second and the last one, and longer than a block: of a few bytes inside a payload
        // nothing tells before the archive is sealed.
        let from = dice.within(blocks[100].0, blocks[450].0) & !3;
        let to = from + dice.within(400, 9000);
        file.write_all_at(&vec![0; (to - from) as usize], from).unwrap();
        kept.push(blocks.iter().map(|b| b.1 <= from || to <= b.0).collect::<Vec<_>>());
    }
    let recorder = Recorder::start(state.path());
    for (call, kept) in relay.calls.iter().zip(kept) {
        let (folder, manifest) = archived(state.path(), call.id);
        let expected: Vec<_> = call.taken.iter().zip(&kept).filter(|k| *k.1).map(|k| *k.0).collect();
        assert_eq!(held(&folder), expected);
        for side in Side::BOTH {
            let missing = call.taken.iter().zip(&kept).filter(|(t, k)| t.0 == side && !**k).count();
            let gaps: Vec<_> = manifest.gaps.iter().filter(|g| g.side == side).collect();
            assert!(gaps.iter().all(|g| g.cause == Cause::Damage), "{gaps:?}");
            assert_eq!(gaps.iter().map(|g| g.packets).sum::<u64>(), missing as u64, "{gaps:?}");
        }
    }
    tidy(state.path(), relay.calls.len());
    recorder.stop();
}
