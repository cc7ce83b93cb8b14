//! Framing of the programming protocol: a length (u32, little endian), then a postcard-encoded [`Frame`].
//!
//! Sans-IO: [`encode`] and [`decode`] work on byte buffers; both ends use them.

use super::message::Frame;

/// Largest frame body, in bytes.
pub const MAX_FRAME: usize = 8 * 1024 * 1024;
const LENGTH: usize = 4;

/// Why bytes are not a frame. The connection cannot go on after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The length says more than [`MAX_FRAME`].
    #[error("a frame of {0} bytes: the largest is {MAX_FRAME}")]
    TooLong(usize),
    /// The body is no frame of this version.
    #[error("not a frame of this protocol: {0}")]
    NotAFrame(#[from] postcard::Error),
    /// Bytes were left over behind the message.
    #[error("{0} bytes left over behind a message")]
    Trailing(usize),
}

/// Appends `frame` to `out`.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) -> Result<(), WireError> {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH]);
    let mut out_filled = postcard::to_extend(frame, std::mem::take(out))?;
    let body = out_filled.len() - start - LENGTH;
    let length = u32::try_from(body).ok().filter(|_| body <= MAX_FRAME).ok_or(WireError::TooLong(body));
    match length {
        Ok(length) => {
            if let Some(head) = out_filled.get_mut(start..start + LENGTH) {
                head.copy_from_slice(&length.to_le_bytes());
            }
            *out = out_filled;
            Ok(())
        }
        Err(e) => {
            out_filled.truncate(start);
            *out = out_filled;
            Err(e)
        }
    }
}

/// Takes the first whole frame off `bytes`: the frame and how many bytes it took, or none while incomplete.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame, usize)>, WireError> {
    let Some((head, rest)) = bytes.split_first_chunk::<LENGTH>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > MAX_FRAME {
        return Err(WireError::TooLong(length));
    }
    let Some(body) = rest.get(..length) else { return Ok(None) };
    let (frame, left) = postcard::take_from_bytes(body)?;
    if left.is_empty() { Ok(Some((frame, LENGTH + length))) } else { Err(WireError::Trailing(left.len())) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::message::{CallKey, Event, Reply, Request};
    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Request { id: 7, request: Request::Hello { version: 1 } },
            Frame::Answer {
                id: 7,
                answer: Ok(Reply::Hello { version: 1, epoch: 99, interfaces: Vec::new() }),
            },
            Frame::Event(Event::Silent { call: CallKey(5), seconds: 60 }),
        ]
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_the_bytes_arrive() {
        let mut bytes = Vec::new();
        frames().iter().for_each(|f| encode(f, &mut bytes).unwrap());
        let (mut seen, mut buffer) = (Vec::new(), Vec::new());
        for byte in bytes {
            buffer.push(byte);
            while let Some((frame, used)) = decode(&buffer).unwrap() {
                buffer.drain(..used);
                seen.push(frame);
            }
        }
        assert_eq!(seen, frames());
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_waited_for() {
        assert_eq!(decode(&u32::MAX.to_le_bytes()), Err(WireError::TooLong(u32::MAX as usize)));
    }

    proptest! {
        #[test]
        fn alien_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let mut framed = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
            framed.extend(&bytes);
            let _ = decode(&framed);
        }
    }
}
