//! SIGKILL at any point: nothing lost, nothing twice.

use std::time::Duration;

use recorder::spool::Side;
use relay::call::Leg;

use super::relay_end::Relay;
use super::scene::{Dice, Recorder, archived, held, metric, spool_bytes, spool_path, state, tidy, until};

#[test]
fn killed_again_and_again_in_mid_call_the_archive_has_no_gap() {
    let (mut dice, state) = (Dice::new(), state(""));
    let mut relay = Relay::start(state.path());
    relay.open(2);
    let mut recorder = Recorder::start(state.path());
    let mut next = dice.within(0, 80);
    for n in 0..400 {
        relay.speak(n);
        std::thread::sleep(Duration::from_millis(5));
        if u64::from(n) == next {
            dice.sleep(60);
            recorder.kill();
            recorder = Recorder::start(state.path());
            next += dice.within(1, 80);
        }
    }
    relay.close(400);
    for call in &relay.calls {
        let (folder, manifest) = archived(state.path(), call.id);
        assert_eq!(manifest.gaps, []);
        for side in [&manifest.left, &manifest.right] {
            let counts = side.counts;
            assert_eq!((counts.packets, counts.lost, counts.duplicates), (400, 0, 0));
        }
        assert_eq!((manifest.duration_ms, manifest.ended.as_str()), (8020, "closed"));
        assert_eq!(held(&folder), call.taken);
    }
    tidy(state.path(), 2);
    until("the metrics tell it", || {
        (metric(state.path(), "calls")? == 0 && metric(state.path(), "spool_bytes")? == 0).then_some(())
    });
    assert!(recorder.stop() < Duration::from_secs(3));
}

#[test]
fn killed_while_it_archives_it_makes_one_archive_of_each_call() {
    let (mut dice, state) = (Dice::new(), state(""));
    let mut relay = Relay::start(state.path());
    let mut recorder = Recorder::start(state.path());
    relay.open(2);
    for n in 0..3000 {
        relay.speak(n);
        relay.breathe();
    }
    relay.close(3000);
    for _ in 0..8 {
        dice.sleep(900);
        recorder.kill();
        recorder = Recorder::start(state.path());
    }
    for call in &relay.calls {
        let (folder, manifest) = archived(state.path(), call.id);
        assert_eq!((manifest.gaps.len(), manifest.duration_ms), (0, 60_020));
        assert_eq!(held(&folder), call.taken);
    }
    tidy(state.path(), 2);
}

#[test]
fn killed_while_it_encodes_a_stretch_of_a_call_that_goes_on() {
    let (mut dice, state) = (Dice::new(), state(""));
    let mut relay = Relay::start(state.path());
    // 21 minutes, told within seconds: two stretches, and some more.
    let (packets, ms) = (63_000_u32, 1_260_000);
    relay.start_ns -= ms * 1_000_000;
    relay.open(1);
    let mut recorder = Recorder::start(state.path());
    for n in 0..packets {
        relay.say(0, Leg::Caller, n);
        relay.flush();
        relay.breathe();
        if n % 9000 == 8999 && n > 29_000 {
            dice.sleep(1500);
            recorder.kill();
            recorder = Recorder::start(state.path());
        }
    }
    let call = &relay.calls[0];
    let stretches = spool_path(state.path(), call.id).with_extension("stretches");
    until("a stretch is encoded", || std::fs::metadata(&stretches).ok().filter(|m| m.len() > 0));
    recorder.kill();
    let recorder = Recorder::start(state.path());
    relay.close(packets);
    let call = &relay.calls[0];
    let (folder, manifest) = archived(state.path(), call.id);
    assert_eq!((manifest.gaps.len(), manifest.duration_ms), (0, ms + 20));
    assert_eq!(call.taken_of(Side::Caller), u64::from(packets));
    assert_eq!(held(&folder), call.taken);
    tidy(state.path(), 1);
    recorder.stop();
}

#[test]
fn stopped_in_mid_call_it_leaves_the_spool_to_its_successor() {
    // The recorder first, the relay later.
    let state = state("keep_packets = false");
    let recorder = Recorder::start(state.path());
    until("it runs", || metric(state.path(), "calls"));
    let mut relay = Relay::start(state.path());
    relay.open(1);
    (0..50).for_each(|n| relay.speak(n));
    until("it is spooled", || (spool_bytes(state.path()) > 20_000).then_some(()));
    assert!(recorder.stop() < Duration::from_secs(3));
    (50..100).for_each(|n| relay.speak(n));
    let recorder = Recorder::start(state.path());
    relay.close(100);
    let (folder, manifest) = archived(state.path(), relay.calls[0].id);
    assert_eq!(
        (manifest.left.counts.packets, manifest.left.counts.lost, manifest.duration_ms),
        (100, 0, 2020)
    );
    assert!(manifest.notes.iter().any(|n| n.contains("restarted")));
    assert!(!folder.join("packets.pcapng").exists());
    recorder.stop();
}
