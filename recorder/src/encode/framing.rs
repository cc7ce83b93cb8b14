//! Two Opus packets in one, as a multistream packet (RFC 6716, appendix B; RFC 7845, section 3).

/// Joins two packets of one frame each (code 0): the first with its length, the second as it is. None when the
/// first is empty or of another form.
pub fn join(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let (contents, frame) = first.split_first()?;
    if contents & 3 != 0 {
        return None;
    }
    let mut packet = Vec::with_capacity(first.len() + second.len() + 2);
    packet.push(*contents);
    length(frame.len(), &mut packet)?;
    packet.extend_from_slice(frame);
    packet.extend_from_slice(second);
    Some(packet)
}

/// A frame's length in one or two bytes (RFC 6716, section 3.2.1).
fn length(length: usize, out: &mut Vec<u8>) -> Option<()> {
    if let Ok(short @ 0..=251) = u8::try_from(length) {
        out.push(short);
    } else {
        let low = 252 + (length & 3);
        out.extend([u8::try_from(low).ok()?, u8::try_from((length - low) / 4).ok()?]);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_written_as_the_rfc_says() {
        for (bytes, code) in [
            (0, vec![0]),
            (251, vec![251]),
            (252, vec![252, 0]),
            (255, vec![255, 0]),
            (256, vec![252, 1]),
            (1275, vec![255, 255]),
        ] {
            let mut out = Vec::new();
            length(bytes, &mut out).unwrap();
            assert_eq!(out, code);
            if let [a, b] = out[..] {
                assert_eq!(usize::from(b) * 4 + usize::from(a), bytes);
            }
        }
    }
}
