//! New relays that are none: each does a part of what it should.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use relay::handover::link::{Message, hear, say};
use relay::handover::{HandoverError, STATE_VERSION};

/// How far one gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Connected,
    Welcome,
    Prepared,
    State,
    SomeSockets,
    AllSockets,
}

impl Step {
    pub const ALL: [Self; 6] =
        [Self::Connected, Self::Welcome, Self::Prepared, Self::State, Self::SomeSockets, Self::AllSockets];
}

/// Does everything up to `last`; ready is never said.
fn up_to(path: &Path, last: Step) -> UnixStream {
    let link = UnixStream::connect(path).unwrap();
    if last >= Step::Welcome {
        say(&link, &Message::Hello { version: STATE_VERSION, program: "a fake".into() }, &[]).unwrap();
        assert!(matches!(hear(&link).unwrap().0, Message::Welcome(_)));
    }
    if last >= Step::Prepared {
        say(&link, &Message::Prepared, &[]).unwrap();
    }
    if last >= Step::State {
        let Message::State(state) = hear(&link).unwrap().0 else { panic!() };
        let mut missing: usize = state.workers.iter().map(|worker| worker.slots().len()).sum();
        while last >= Step::SomeSockets && missing > 0 {
            let (Message::Sockets { slots, .. }, fds) = hear(&link).unwrap() else { panic!() };
            assert_eq!(slots.len(), fds.len());
            missing -= fds.len();
            say(&link, &Message::Taken, &[]).unwrap();
            if last == Step::SomeSockets {
                break;
            }
        }
    }
    link
}

/// Does everything up to `last`, and is gone.
pub fn vanishes_after(path: &Path, last: Step) {
    drop(up_to(path, last));
}

/// Does everything up to `last`, and then nothing until it is told that it was not taken.
pub fn hangs_after(path: &Path, last: Step) {
    let link = up_to(path, last);
    let refused = loop {
        match hear(&link) {
            Ok((Message::Sockets { .. }, _)) => {}
            Ok((Message::Refused(reason), _)) => break reason,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused.contains("not answer in time"), "{refused}");
    // What it says now comes too late.
    let _ = say(&link, &Message::Ready, &[]);
    assert!(matches!(hear(&link), Err(HandoverError::Gone(_))));
}

/// Understands another state.
pub fn wrong_version(path: &Path) {
    let link = UnixStream::connect(path).unwrap();
    say(&link, &Message::Hello { version: STATE_VERSION + 1, program: "a fake".into() }, &[]).unwrap();
    let Message::Refused(reason) = hear(&link).unwrap().0 else { panic!() };
    assert!(reason.contains(&format!("version {}", STATE_VERSION + 1)), "{reason}");
}

/// Says what nobody understands, or something out of turn.
pub fn talks_nonsense(path: &Path) {
    for bytes in [&[0xff; 64][..], &[3, 0, 0, 0, 9, 9, 9]] {
        let mut link = UnixStream::connect(path).unwrap();
        link.write_all(bytes).unwrap();
        let _ = link.read(&mut [0; 512]);
    }
    let link = UnixStream::connect(path).unwrap();
    say(&link, &Message::Ready, &[]).unwrap();
    assert!(matches!(hear(&link).unwrap().0, Message::Refused(_)));
}
