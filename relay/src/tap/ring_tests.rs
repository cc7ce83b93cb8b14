//! The ring against a queue, against a reader that dies, and against a hostile peer.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::call::{CallKey, Leg};
use crate::tap::{Attachment, Host, Kind, TapError, attach};

const CAPACITY: usize = super::super::memory::MIN_CAPACITY;

fn packet(n: u64) -> Record {
    Record { position: 0, call: CallKey(n), at_ns: n * 3, kind: Kind::Packet { leg: Leg::Callee, stream: 2 } }
}

fn pair() -> (Writer, Reader, Handles) {
    let (writer, handles) = create(CAPACITY, 7).unwrap();
    let reader = Reader::open(copy(&handles), 0).unwrap();
    (writer, reader, handles)
}

fn copy(handles: &Handles) -> Handles {
    handles.try_clone().unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Write(usize),
    Flush,
    Read(usize),
    Commit,
    ReaderDies,
    WriterHandsOver,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..20_000_usize).prop_map(Step::Write),
        2 => Just(Step::Flush),
        4 => (1..8_usize).prop_map(Step::Read),
        2 => Just(Step::Commit),
        1 => Just(Step::ReaderDies),
        1 => Just(Step::WriterHandsOver),
    ];
    proptest::collection::vec(step, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever the order of operations: what comes out is what went in, in order; what a dead reader had not
    /// committed comes again to its successor, what it had committed does not.
    #[test]
    fn the_ring_behaves_as_a_queue(steps in steps()) {
        let (mut writer, mut reader, handles) = pair();
        let (mut written, mut shown, mut taken) = (VecDeque::new(), 0_usize, 0_usize);
        let (mut number, mut payload, mut last) = (0_u64, Vec::new(), None);
        for step in steps {
            match step {
                Step::Write(length) => {
                    number += 1;
                    let fill = number.to_le_bytes()[0];
                    let fitted = writer.packet(&packet(number), &vec![fill; length]).is_ok();
                    let used: usize = written.iter().map(|(_, length)| length + 64).sum();
                    prop_assert!(fitted || used + 4 * length > CAPACITY / 2, "refused with {used} bytes in use");
                    if fitted {
                        written.push_back((number, length));
                    }
                }
                Step::Flush => {
                    writer.flush();
                    shown = written.len();
                }
                Step::WriterHandsOver => {
                    let position = writer.position();
                    writer = Writer::resume(copy(&handles), 7, position).unwrap();
                    shown = written.len();
                }
                Step::Read(count) => for _ in 0..count {
                    match reader.next(&mut payload).unwrap() {
                        None => prop_assert_eq!(taken, shown, "the ring hides what was published"),
                        Some(record) => {
                            let (number, length) = written[taken];
                            prop_assert!(taken < shown, "a record shows before it was published");
                            prop_assert_eq!((record.call.0, record.at_ns, record.kind), (number, number * 3, packet(0).kind));
                            prop_assert!(payload.len() == length && payload.iter().all(|b| *b == number.to_le_bytes()[0]));
                            prop_assert!(last < Some(record.position));
                            last = Some(record.position);
                            taken += 1;
                        }
                    }
                },
                Step::Commit => {
                    reader.commit();
                    written.drain(..taken);
                    shown -= taken;
                    taken = 0;
                }
                Step::ReaderDies => {
                    drop(reader);
                    reader = Reader::open(copy(&handles), 0).unwrap();
                    taken = 0;
                    last = None;
                }
            }
        }
    }

    /// No index or byte that a hostile writer puts there makes the reader panic, loop or read outside.
    #[test]
    fn a_hostile_writer_is_refused(head in prop_oneof![0..=CAPACITY as u64, any::<u64>()], bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let (mut writer, mut reader, _) = pair();
        writer.memory.write(0, &bytes);
        writer.memory.indices().attack(Some(head), None);
        let mut payload = Vec::new();
        let read = std::iter::repeat_with(|| reader.next(&mut payload)).take(CAPACITY).find(|r| !matches!(r, Ok(Some(_))));
        prop_assert!(read.is_some());
    }
}

#[test]
fn a_full_ring_refuses_packets_first_and_keeps_room_for_events() {
    let (mut writer, mut reader, _) = pair();
    let mut fitted = 0;
    while writer.packet(&packet(fitted), &[1; 1000]).is_ok() {
        fitted += 1;
    }
    let close = Record { kind: Kind::Close, ..packet(0) };
    writer.event(&close, b"label").unwrap();
    writer.flush();
    let mut payload = Vec::new();
    for _ in 0..fitted {
        assert!(matches!(reader.next(&mut payload), Ok(Some(Record { kind: Kind::Packet { .. }, .. }))));
    }
    assert_eq!(reader.next(&mut payload).unwrap().map(|r| r.kind), Some(Kind::Close));
    assert_eq!(payload, b"label");
    assert!(writer.packet(&packet(0), &[1; 1000]).is_err(), "nothing is free before the reader commits");
    reader.commit();
    writer.packet(&packet(0), &[1; 1000]).unwrap();
}

#[test]
fn a_reader_that_writes_an_impossible_index_stops_the_tap_until_the_next_reader() {
    for tail in [u64::MAX, 1 << 40] {
        let (mut writer, mut reader, handles) = pair();
        writer.packet(&packet(1), &[1; 64]).unwrap();
        writer.flush();
        assert!(reader.next(&mut Vec::new()).unwrap().is_some());
        reader.commit();
        writer.look();
        writer.packet(&packet(5), &[5; 64]).unwrap();
        writer.flush();
        writer.memory.indices().attack(None, Some(tail));
        let mut fitted = 0;
        while writer.packet(&packet(2), &vec![2; 60_000]).is_ok() {
            fitted += 1;
        }
        assert!(writer.event(&packet(3), &[]).is_err());
        drop(reader);
        let mut dropped = Vec::new();
        writer.reader_attached(|record, payload| dropped.push((record.call.0, payload.len(), payload[0])));
        assert_eq!(dropped.remove(0), (5, 64, 5), "what was committed is not among it");
        assert_eq!(dropped, vec![(2, 60_000, 2); fitted]);
        let mut reader = Reader::open(copy(&handles), 0).unwrap();
        writer.packet(&packet(4), &[0; 64]).unwrap();
        writer.flush();
        assert_eq!(reader.next(&mut Vec::new()).unwrap().map(|r| r.call), Some(CallKey(4)));
        writer.reader_attached(|_, _| panic!("a sound ring keeps its records"));
    }
}

#[test]
fn records_that_the_last_reader_overwrote_are_given_up_without_harm() {
    let (mut writer, _reader, _handles) = pair();
    for n in 0..50 {
        writer.packet(&packet(n), &[1; 64]).unwrap();
    }
    writer.flush();
    writer.memory.write(104 * 20, &[0xFF; 300]);
    writer.memory.indices().attack(None, Some(u64::MAX));
    let mut dropped = Vec::new();
    writer.reader_attached(|record, _| dropped.push(record.call.0));
    assert_eq!(dropped, (0..20).collect::<Vec<_>>());
}

#[test]
fn memory_that_is_no_sealed_ring_is_not_mapped() {
    let (_, _, handles) = pair();
    let unsealed = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&unsealed, (CAPACITY + 4096) as u64).unwrap();
    let alien = Handles { memory: unsealed, bell: handles.bell.try_clone().unwrap() };
    assert!(Reader::open(alien, 0).unwrap_err().to_string().contains("not sealed"));
    let pipe = Handles { memory: handles.bell.try_clone().unwrap(), bell: handles.bell };
    assert!(Reader::open(pipe, 0).unwrap_err().to_string().contains("no memfd"));
    assert!(create(CAPACITY + 1, 7).unwrap_err().to_string().contains("power of two"));
}

/// A relay's tap in this process: the writer, and every change that the host told.
fn host(folder: &std::path::Path) -> (Writer, std::path::PathBuf, std::sync::mpsc::Receiver<bool>) {
    let path = folder.join("run/tap.sock");
    let (writer, handles) = create(CAPACITY, 7).unwrap();
    let host = Host::bind(&path, vec![handles], 7).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || host.serve(|attached| tell.send(attached).unwrap()));
    (writer, path, told)
}

fn next(attachment: &mut Attachment) -> Option<Record> {
    attachment.rings.iter_mut().find_map(|r| r.next(&mut Vec::new()).unwrap())
}

#[test]
fn one_recorder_at_a_time_and_its_successor_goes_on_where_it_had_committed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, path, told) = host(folder.path());
    let wait = Duration::from_secs(10);
    let mut first = attach(&path).unwrap();
    assert!(told.recv_timeout(wait).unwrap());
    assert!(matches!(attach(&path), Err(TapError::Taken)));

    (1..=3).for_each(|n| writer.packet(&packet(n), &[9; 160]).unwrap());
    writer.flush();
    assert_eq!(next(&mut first).map(|r| r.call.0), Some(1));
    first.rings[0].commit();
    assert_eq!(next(&mut first).map(|r| r.call.0), Some(2), "read, never committed");
    drop(first);
    assert!(!told.recv_timeout(wait).unwrap());

    let mut second = attach(&path).unwrap();
    assert_eq!((second.epoch, next(&mut second).map(|r| r.call.0)), (7, Some(2)));
    assert_eq!(next(&mut second).map(|r| r.call.0), Some(3));
    assert!(second.relay_alive());
}

#[test]
fn a_sleeping_reader_is_woken_by_the_next_flush() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, path, _told) = host(folder.path());
    let mut attachment = attach(&path).unwrap();
    let sleeper = std::thread::spawn(move || {
        while next(&mut attachment).is_none() {
            attachment.wait(Duration::from_secs(60)).unwrap();
        }
    });
    for n in 0.. {
        if sleeper.is_finished() {
            break;
        }
        assert!(n < 10_000, "the reader sleeps on");
        std::thread::sleep(Duration::from_millis(1));
        if n == 20 {
            writer.packet(&packet(1), &[1; 10]).unwrap();
            writer.flush();
        }
    }
    sleeper.join().unwrap();
}

#[test]
fn without_a_relay_attaching_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    let error = attach(&folder.path().join("tap.sock")).unwrap_err();
    assert!(error.to_string().contains("tap.sock"), "{error}");
}

#[test]
fn a_ring_goes_on_only_where_its_last_writer_can_have_been() {
    let (mut writer, _reader, handles) = pair();
    writer.packet(&packet(1), &[1; 100]).unwrap();
    let position = writer.position();
    assert!(Writer::resume(copy(&handles), 7, position).is_ok());
    assert!(Writer::resume(copy(&handles), 8, position).is_err(), "of another relay");
    for unconsumed in [(1, 0), (0, CAPACITY as u64 + 1)] {
        assert!(Writer::resume(copy(&handles), 7, Position { unconsumed, ..position }).is_err());
    }
}
