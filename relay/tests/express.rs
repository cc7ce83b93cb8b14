//! The express lane's program beside the engine: frames of every kind, valid and broken, through the program as the kernel runs
//! it, and the same packets through an engine that has no express lane. What leaves, what is dropped, what is counted and
//! what the recorder gets must be the same.
//!
//! Needs the right to load programs (`CAP_BPF`); says so where it is missing.
#![cfg(feature = "xdp")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "express/frames.rs"]
mod frames;
#[path = "express/pair.rs"]
mod pair;

use frames::{Chance, Frame, Kind};
use pair::{Pair, XDP_DROP, XDP_PASS, XDP_TX};

/// Frames of each family.
const FRAMES: usize = 20_000;

/// Runs with each family, and with and without a VLAN tag; not at all where the kernel refuses programs.
fn each(with: impl Fn(&mut Pair)) {
    for (ipv6, vlan) in [(false, false), (true, false), (false, true)] {
        let Some(mut pair) = Pair::new(ipv6, vlan) else { return };
        with(&mut pair);
        pair.agree();
    }
}

#[test]
fn whatever_comes_becomes_what_the_engine_makes_of_it() {
    each(|pair| {
        let mut chance = Chance::new(7);
        let mut verdicts = [0_usize; 5];
        for _ in 0..FRAMES {
            pair.promote();
            let (leg, kind) = (chance.below(2), chance.kind());
            let frame = pair.frame(leg, kind, &mut chance);
            verdicts[pair.bring(leg, &frame) as usize] += 1;
        }
        for verdict in [XDP_TX, XDP_PASS, XDP_DROP] {
            assert!(verdicts[verdict as usize] > FRAMES / 100, "each verdict is given: {verdicts:?}");
        }
    });
}

#[test]
fn a_frame_cut_off_anywhere_is_never_forwarded() {
    each(|pair| {
        pair.promote();
        let mut chance = Chance::new(8);
        let whole = pair.frame(0, Kind::Plain, &mut chance);
        // Shorter ones the kernel does not take for frames.
        for length in 14..whole.bytes.len() {
            let mut cut = Frame { delivered: None, ..whole.clone() };
            cut.bytes.truncate(length);
            assert_eq!(pair.bring(0, &cut), XDP_PASS, "{length} bytes");
        }
        assert_eq!(pair.bring(0, &whole), XDP_TX);
    });
}

#[test]
fn what_cannot_be_decided_goes_up_and_the_row_rests_until_it_is_promoted_again() {
    each(|pair| {
        for kind in [Kind::Event, Kind::OtherSource, Kind::Padded, Kind::Extended, Kind::Contributed] {
            pair.promote();
            let mut chance = Chance::new(9);
            assert_eq!(pair.bring_new(0, Kind::Plain, &mut chance), XDP_TX, "before {kind:?}");
            assert_eq!(pair.bring_new(0, kind, &mut chance), XDP_PASS, "{kind:?}");
            assert_eq!(pair.bring_new(0, Kind::Plain, &mut chance), XDP_PASS, "behind {kind:?}");
            assert_eq!(pair.bring_new(1, Kind::Plain, &mut chance), XDP_TX, "the other leg");
        }
        pair.promote();
        let mut chance = Chance::new(9);
        for kind in [Kind::Rtcp, Kind::Alien, Kind::Short, Kind::PayloadType, Kind::Options, Kind::Fragment] {
            assert_eq!(pair.bring_new(0, kind, &mut chance), XDP_PASS, "{kind:?}");
        }
        pair.promote();
    });
}

#[test]
fn strangers_are_dropped_and_counted_and_other_ports_are_none_of_its_business() {
    each(|pair| {
        pair.promote();
        let mut chance = Chance::new(10);
        for _ in 0..100 {
            assert_eq!(pair.bring_new(0, Kind::Stranger, &mut chance), XDP_DROP);
        }
        assert_eq!(pair.bring_new(0, Kind::OtherPort, &mut chance), XDP_PASS);
        assert_eq!(pair.bring_new(0, Kind::Plain, &mut chance), XDP_TX);
    });
}

#[test]
fn more_packets_than_the_cap_allows_are_dropped_here_as_there() {
    let Some(mut pair) = Pair::capped(false, false, 10) else { return };
    pair.promote();
    let mut chance = Chance::new(11);
    let verdicts: Vec<u32> = (0..30).map(|_| pair.bring_new(0, Kind::Plain, &mut chance)).collect();
    let forwarded = verdicts.iter().filter(|v| **v == XDP_TX).count();
    assert!((5..=10).contains(&forwarded), "{verdicts:?}");
    assert_eq!(verdicts.last(), Some(&XDP_DROP));
    pair.agree();
}

#[test]
fn rows_of_a_worker_that_gives_no_sign_of_life_are_executed_no_more() {
    let Some(mut pair) = Pair::new(false, false) else { return };
    pair.promote();
    let mut chance = Chance::new(12);
    assert_eq!(pair.bring_new(0, Kind::Plain, &mut chance), XDP_TX);
    pair.was_alive(0);
    assert_eq!(pair.bring_new(0, Kind::Plain, &mut chance), XDP_PASS);
    pair.promote();
    assert_eq!(pair.bring_new(0, Kind::Plain, &mut chance), XDP_TX, "it is back");
    pair.agree();
}

#[test]
fn a_change_of_the_call_takes_its_rows_back_and_nothing_is_lost_or_out_of_order() {
    each(|pair| {
        let mut chance = Chance::new(13);
        for change in [Pair::offer_again, Pair::pause, Pair::hand_over] {
            pair.promote();
            (0..5).for_each(|_| assert_eq!(pair.bring_new(0, Kind::Plain, &mut chance), XDP_TX));
            change(pair);
            assert_eq!(pair.bring_new(0, Kind::Plain, &mut chance), XDP_PASS);
        }
        pair.promote();
    });
}

#[test]
fn packets_that_the_worker_could_not_be_told_of_are_counted_and_are_a_gap_in_the_recording() {
    let Some(mut pair) = Pair::new(false, false) else { return };
    pair.promote();
    let mut chance = Chance::new(14);
    // More than its ring holds: nobody replays them meanwhile.
    let sent = pair.flood(0, 70_000, &mut chance);
    let (counted, gaps, kept) = pair.what_became_of_the_flood(0);
    assert_eq!(counted, sent);
    assert!(kept > 0 && gaps > 0 && kept + gaps == sent, "{kept} kept, {gaps} in gaps, of {sent}");
}
