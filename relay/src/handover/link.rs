//! What two relays say to each other, and how: a length and a postcard-encoded [`Message`], with which descriptors may
//! come. Both ends are blocking.

use std::io::{self, Read, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

use super::HandoverError;
use crate::engine;
use crate::server;
use crate::sys::rights;
use crate::table::Slot;

/// Largest message: the state of far more calls than there are ports.
const MAX_MESSAGE: u32 = 1 << 30;

/// One message. The first two must never change their shape: relays of different versions say them to each other.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// New: who it is, and which state it understands.
    Hello {
        /// Its [`STATE_VERSION`](super::STATE_VERSION).
        version: u32,
        /// Name, version and process id, for logs.
        program: String,
    },
    /// Old: no, for this reason.
    Refused(String),
    /// Old: what it is. Descriptors: the listening sockets of control, recorder and upgrade; memory and bell of each
    /// worker's tap ring.
    Welcome(Welcome),
    /// New: all that can be made before the state is known is made.
    Prepared,
    /// Old: it has stopped. Descriptors: the recorder's connection, if there is one; then those of controls.
    State(Box<State>),
    /// Old: sockets. Descriptors: one for each slot.
    Sockets {
        /// Index of the worker.
        worker: usize,
        /// Its slots.
        slots: Vec<Slot>,
    },
    /// New: the lane has them.
    Taken,
    /// New: it has everything, and would forward at once.
    Ready,
    /// Old: it will never forward again.
    Go,
}

/// What the running relay is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Name, version and process id, for logs.
    pub program: String,
    /// Random, told to control and recorder.
    pub epoch: u64,
    /// Workers: each has a tap ring.
    pub workers: usize,
    /// Slots of each worker.
    pub sockets: u32,
}

/// A relay that has stopped.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Calls, ports, connections.
    pub server: server::State,
    /// Per worker.
    pub workers: Vec<engine::handover::State>,
    /// A recorder is attached: its connection is the first descriptor.
    pub recorder: bool,
}

/// Says something.
pub fn say(mut link: &UnixStream, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= MAX_MESSAGE);
    let length = length.ok_or_else(|| io::Error::other("the state is too large"))?;
    rights::send(link, &length.to_le_bytes(), fds)?;
    link.write_all(&bytes)
}

/// Hears something, with the descriptors that came with it.
pub fn hear(link: &UnixStream) -> Result<(Message, Vec<OwnedFd>), HandoverError> {
    let mut length = [0; 4];
    let fds = rights::receive(link, &mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_MESSAGE {
        return Err(HandoverError::Alien("a message without end"));
    }
    let mut bytes = Vec::new();
    // Read as it comes: what was announced need not be meant.
    let read = link.take(length.into()).read_to_end(&mut bytes)?;
    if read < length as usize {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match postcard::take_from_bytes(&bytes) {
        Ok((message, [])) => Ok((message, fds)),
        _ => Err(HandoverError::Alien("no message of this version")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alien(bytes: &[u8]) -> HandoverError {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(bytes).unwrap();
        drop(ours);
        loop {
            if let Err(e) = hear(&theirs) {
                return e;
            }
        }
    }

    #[test]
    fn the_first_two_messages_are_what_they_have_always_been() {
        let hello = Message::Hello { version: 7, program: "a".into() };
        assert_eq!(postcard::to_stdvec(&hello).unwrap(), [0, 7, 1, b'a']);
        assert_eq!(postcard::to_stdvec(&Message::Refused("b".into())).unwrap(), [1, 1, b'b']);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert!(matches!(alien(&[0xff; 8]), HandoverError::Alien(_)));
        assert!(matches!(alien(&[2, 0, 0, 0, 3, 9]), HandoverError::Alien(_)), "something behind it");
        assert!(matches!(alien(&[9, 0, 0, 0, 3]), HandoverError::Gone(_)));
        assert!(matches!(alien(&[]), HandoverError::Gone(_)));
    }

    proptest! {
        #[test]
        fn alien_bytes_never_panic(bytes: Vec<u8>) {
            let mut framed = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
            framed.extend(&bytes);
            alien(&framed);
        }
    }
}
