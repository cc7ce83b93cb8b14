//! The disk is full, read-only, or fails.

use std::path::Path;
use std::time::{Duration, Instant};

use recorder::manifest::{Cause, Gap};
use recorder::spool::Side;

use super::mount::{Ballast, Mount, immutable, or_skip, tool};
use super::relay_end::{PACKET_MS, Relay};
use super::scene::{Dice, Recorder, archived, archives, held, metric, spool_path, state, tidy, until};

/// Refused from the moment it is asked for until the alarm can be read: the metrics are written once a second.
const SOON: Duration = Duration::from_secs(2);

/// Four calls whose packets fill a ring within two seconds.
fn busy(state: &Path) -> Relay {
    let mut relay = Relay::start(state);
    relay.extension = 1200;
    relay.open(4);
    relay
}

/// Speaks for so long.
fn speak_for(relay: &mut Relay, n: u32, ms: u64) -> u32 {
    let begun = Instant::now();
    relay.speak_until("time passes", n, |_| begun.elapsed() >= Duration::from_millis(ms))
}

/// Asserts that the archives of all calls hold what the ring took, and say what it did not take.
fn agrees(state: &Path, relay: &Relay, cause: &[Cause]) {
    for call in &relay.calls {
        let (folder, manifest) = archived(state, call.id);
        assert_eq!(held(&folder), call.taken);
        for (side, channel) in Side::BOTH.into_iter().zip([&manifest.left, &manifest.right]) {
            let gaps: Vec<Gap> = manifest.gaps.iter().filter(|g| g.side == side).copied().collect();
            let missed: Vec<_> = call.missed.iter().filter(|m| m.side == side).collect();
            let both = format!("{gaps:?} {missed:?}");
            assert!(!missed.is_empty() && gaps.len() == missed.len(), "{both}");
            for (gap, missed) in gaps.iter().zip(&missed) {
                let ms = |ns: u64| (ns - relay.start_ns) / 1_000_000;
                assert!(cause.contains(&gap.cause), "{both}");
                assert_eq!(gap.packets, missed.packets);
                assert!(gap.from_ms.abs_diff(ms(missed.since_ns)) <= PACKET_MS, "{both}");
                assert!(gap.to_ms.abs_diff(ms(missed.until_ns) + PACKET_MS) <= PACKET_MS, "{both}");
            }
            assert_eq!(channel.counts.packets, call.taken_of(side));
            assert_eq!(channel.counts.lost, missed.iter().map(|m| m.packets).sum::<u64>());
        }
    }
    tidy(state, relay.calls.len());
}

/// Speaks, lets the disk refuse by `refuse`, and accept again by dropping what that gave.
fn refused<T>(state: &Path, dice: &mut Dice, refuse: impl FnOnce(&Relay) -> T, why: &str) {
    let mut relay = busy(state);
    let mut recorder = Recorder::start(state);
    let n = relay.speak_until("it is spooled", 0, |r| spool_path(state, r.calls[3].id).exists());
    let n = speak_for(&mut relay, n, dice.within(100, 900));
    let refusing = refuse(&relay);
    let asked = Instant::now();
    let n = relay.speak_until("the alarm", n, |_| metric(state, "alarm") == Some(1));
    assert!(asked.elapsed() < SOON, "the alarm took {:?}", asked.elapsed());
    let n = relay.speak_until("the ring is full", n, Relay::missing_all);
    let n = speak_for(&mut relay, n, dice.within(0, 1500));
    assert!(recorder.runs());
    drop(refusing);
    let n = relay.speak_until("the alarm ends", n, |r| r.missing_none() && metric(state, "alarm") == Some(0));
    let n = speak_for(&mut relay, n, 300);
    relay.close(n);
    agrees(state, &relay, &[Cause::Disk]);
    for call in &relay.calls {
        let notes = archived(state, call.id).1.notes;
        assert!(notes.iter().any(|n| n.contains(why)), "{notes:?}");
    }
    recorder.stop();
}

#[test]
fn a_full_disk_raises_the_alarm_and_costs_what_did_not_fit() {
    let (mut dice, state) = (Dice::new(), state(""));
    let spools = state.path().join("spool");
    let Some(_mount) = or_skip(Mount::memory(&spools, "24m")) else { return };
    refused(state.path(), &mut dice, |_| Ballast::fill(&spools), "No space left");
}

/// Makes folder and spools immutable, and drops that. (Linux refuses to remount read-only what a process writes to.)
struct Locked(Vec<std::path::PathBuf>);

impl Drop for Locked {
    fn drop(&mut self) {
        // The folder last: until then nothing can be made in it.
        self.0.iter().rev().for_each(|path| immutable(path, false).unwrap());
    }
}

#[test]
fn spools_that_may_not_be_written_raise_the_alarm_and_cost_what_did_not_fit() {
    let (mut dice, state) = (Dice::new(), state(""));
    let (image, spools) = (state.path().join("image"), state.path().join("spool"));
    let Some(_mount) = or_skip(Mount::ext4(&image, &spools, "none", "continue")) else { return };
    let refuse = |relay: &Relay| {
        let files = relay.calls.iter().map(|c| spool_path(state.path(), c.id));
        let paths: Vec<_> = std::iter::once(spools.clone()).chain(files).collect();
        paths.iter().for_each(|path| immutable(path, true).unwrap());
        Locked(paths)
    };
    refused(state.path(), &mut dice, refuse, "not permitted");
}

#[test]
fn a_spool_that_may_not_be_written_alone_is_gone_on_with_in_another() {
    let (mut dice, state) = (Dice::new(), state(""));
    let (image, spools) = (state.path().join("image"), state.path().join("spool"));
    let Some(_mount) = or_skip(Mount::ext4(&image, &spools, "none", "continue")) else { return };
    let mut relay = busy(state.path());
    let recorder = Recorder::start(state.path());
    let path = spool_path(state.path(), relay.calls[2].id);
    let n = relay.speak_until("it is spooled", 0, |_| path.exists());
    let n = speak_for(&mut relay, n, dice.within(100, 900));
    immutable(&path, true).unwrap();
    let n = relay.speak_until("the alarm", n, |_| metric(state.path(), "alarms_total") == Some(1));
    let n = speak_for(&mut relay, n, 300);
    assert!(relay.missing_none());
    immutable(&path, false).unwrap();
    relay.close(n);
    until("four calls make five archives", || (metric(state.path(), "archives_total")? == 5).then_some(()));
    tidy(state.path(), 5);
    let all = archives(state.path());
    for call in &relay.calls {
        let (folder, manifest) = archived(state.path(), call.id);
        let mut packets = held(&folder);
        let next: Vec<_> = all.iter().filter(|(_, m)| m.continues == Some(call.id)).collect();
        assert_eq!(next.len(), usize::from(call.id == relay.calls[2].id));
        packets.extend(next.iter().flat_map(|(folder, _)| held(folder)));
        assert_eq!(packets, call.taken);
        assert_eq!(manifest.continues, None);
        let clash = next.iter().find(|(_, m)| m.notes.iter().any(|n| n.contains("archived already")));
        assert!(clash.is_none(), "{clash:?}");
        assert!(manifest.gaps.is_empty() && next.iter().all(|(_, m)| m.gaps.is_empty()));
    }
    recorder.stop();
}

#[test]
fn a_file_system_that_turned_read_only_is_repaired_and_gone_on_with() {
    let state = state("");
    let (image, spools) = (state.path().join("image"), state.path().join("spool"));
    let Some(mount) = or_skip(Mount::ext4(&image, &spools, "has_journal", "remount-ro")) else { return };
    let mut relay = busy(state.path());
    let recorder = Recorder::start(state.path());
    let n = relay.speak_until("it is spooled", 0, |r| spool_path(state.path(), r.calls[3].id).exists());
    let n = speak_for(&mut relay, n, 500);
    // What is to be found after the repair must have reached the disk: it is synced once a second.
    std::thread::sleep(Duration::from_secs(3));
    let trigger = mount.device().map(|d| format!("/sys/fs/ext4/{d}/trigger_fs_error"));
    let broken = trigger.and_then(|path| std::fs::write(&path, "1").map_err(|e| format!("{path}: {e}")));
    let Some(()) = or_skip(broken) else { return };
    let n = relay.speak_until("the alarm", n, |_| metric(state.path(), "alarm") == Some(1));
    let n = relay.speak_until("the ring is full", n, Relay::missing_all);
    assert!(recorder.stop() < Duration::from_secs(3));
    drop(mount);
    // 1: errors were found and repaired.
    let repaired = tool("sh", &["-c", &format!("e2fsck -fy '{}' || test $? -eq 1", image.display())]);
    assert!(repaired.is_ok(), "{repaired:?}");
    let _mount = Mount::again(&image, &spools, "remount-ro").unwrap();
    let recorder = Recorder::start(state.path());
    let n = relay.speak_until("there is room", n, super::relay_end::Relay::missing_none);
    relay.close(n);
    // The recorder that knew of the disk is gone.
    agrees(state.path(), &relay, &[Cause::Disk, Cause::TapOverflow]);
    recorder.stop();
}

#[test]
fn a_disk_that_fails_to_keep_what_was_written_raises_the_alarm_and_capture_goes_on() {
    let (mut dice, state) = (Dice::new(), state(""));
    let (below, spools) = (state.path().join("below"), state.path().join("spool"));
    let Some(_below) = or_skip(Mount::memory(&below, "24m")) else { return };
    let made = Mount::ext4(&below.join("image"), &spools, "^has_journal", "continue");
    let Some(_mount) = or_skip(made) else { return };
    let mut relay = busy(state.path());
    let mut recorder = Recorder::start(state.path());
    let n = relay.speak_until("it is spooled", 0, |r| spool_path(state.path(), r.calls[3].id).exists());
    // What the file system says of its files is on the disk by then, and can be written again: only their bytes cannot.
    let n = speak_for(&mut relay, n, 2500);
    let taken = |relay: &Relay| relay.calls.iter().map(|c| c.taken.len()).collect::<Vec<_>>();
    let before = taken(&relay);
    // Written and synced by then.
    let n = speak_for(&mut relay, n, 3000);
    let ballast = Ballast::fill(&below);
    let n = relay.speak_until("the alarm", n, |_| metric(state.path(), "sync_alarm") == Some(1));
    let n = speak_for(&mut relay, n, dice.within(0, 1500));
    assert!(recorder.runs());
    assert!(relay.missing_none());
    drop(ballast);
    let n = relay.speak_until("the alarm ends", n, |_| metric(state.path(), "sync_alarm") == Some(0));
    let after = taken(&relay);
    let n = speak_for(&mut relay, n, 500);
    relay.close(n);
    for ((call, before), after) in relay.calls.iter().zip(before).zip(after) {
        let (folder, manifest) = archived(state.path(), call.id);
        let held = held(&folder);
        // What was written while the disk failed, the kernel may keep or drop: it is there, or told to be damaged.
        assert_eq!(held[..before], call.taken[..before]);
        assert!(held.ends_with(&call.taken[after..]));
        let mut rest = held.iter().copied().peekable();
        let lost: Vec<_> = call.taken.iter().filter(|t| rest.next_if_eq(t).is_none()).collect();
        assert_eq!(rest.next(), None, "nothing is there that was not taken");
        assert!(manifest.gaps.iter().all(|g| g.cause == Cause::Damage), "{:?}", manifest.gaps);
        for side in Side::BOTH {
            let told: u64 = manifest.gaps.iter().filter(|g| g.side == side).map(|g| g.packets).sum();
            assert_eq!(told, lost.iter().filter(|l| l.0 == side).count() as u64, "{:?}", manifest.gaps);
        }
    }
    assert!(metric(state.path(), "alarms_total") >= Some(1));
    tidy(state.path(), relay.calls.len());
    recorder.stop();
}
