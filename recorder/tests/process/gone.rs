//! The relay's process dies in mid-call.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::relay_end::Relay;
use super::scene::{Dice, Recorder, archived, held, metric, state, tidy, until};

/// Where the relay's process of the test below keeps its socket.
const STATE: &str = "BAUTA_TEST_RELAY_STATE";

#[test]
#[ignore = "the relay's process of another test"]
fn relay_process() {
    let Some(state) = std::env::var_os(STATE) else { return };
    let mut relay = Relay::start(&PathBuf::from(state));
    relay.open(1);
    for n in 0..60_000 {
        relay.speak(n);
        // What is told by the tap, is told here: the recording's id, and what it holds by now.
        eprintln!("{} {}", relay.calls[0].id, relay.calls[0].taken.len());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_relay_that_dies_leaves_whole_archives() {
    let (mut dice, state) = (Dice::new(), state(""));
    let recorder = Recorder::start(state.path());
    for round in 1..=4 {
        let mut relay = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "gone::relay_process", "--ignored", "--nocapture"])
            .env(STATE, state.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(relay.stderr.take().unwrap());
        until("the recorder attached", || (metric(state.path(), "attached")? == 1).then_some(()));
        // It has told of something by then.
        std::thread::sleep(std::time::Duration::from_millis(300));
        dice.sleep(1500);
        relay.kill().unwrap();
        relay.wait().unwrap();
        let last = told.lines().map_while(Result::ok).last().unwrap();
        let (id, packets) = last.split_once(' ').unwrap();
        let (folder, manifest) = archived(state.path(), id.parse().unwrap());
        assert_eq!((manifest.ended.as_str(), manifest.gaps.len()), ("relay_lost", 0));
        // Killed between showing packets to the recorder and telling so here, at the most.
        let (held, packets) = (held(&folder).len(), packets.parse::<usize>().unwrap());
        assert!(held == packets || held == packets + 2, "{held} of {packets}");
        assert_eq!(manifest.left.counts.packets + manifest.right.counts.packets, held as u64);
        tidy(state.path(), round);
        until("it knows that the relay is gone", || (metric(state.path(), "attached")? == 0).then_some(()));
    }
    recorder.stop();
}
