//! G.711: 8-bit companded samples to 16-bit linear ones.

/// One A-law octet (ITU-T G.711, table 1), scaled from 13 bits to 16.
pub fn a_law(octet: u8) -> i16 {
    // Even bits are inverted on the line.
    let octet = octet ^ 0x55;
    let (segment, step) = ((octet >> 4) & 7, i16::from(octet & 15));
    let magnitude = match segment {
        0 => (step << 4) + 8,
        s => ((step << 4) + 0x108) << (s - 1),
    };
    if octet & 0x80 == 0 { -magnitude } else { magnitude }
}

/// One µ-law octet (ITU-T G.711, table 2), scaled from 14 bits to 16.
pub fn mu_law(octet: u8) -> i16 {
    // All bits are inverted on the line; 0x84 is the bias.
    let octet = !octet;
    let magnitude = (((i16::from(octet & 15) << 3) + 0x84) << ((octet >> 4) & 7)) - 0x84;
    if octet & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // Decoder output values of G.711 tables 1a and 2a (A-law × 16 / 2, µ-law × 4).
        let a = [(0xD5, 8), (0x55, -8), (0xD4, 24), (0x80, 5504), (0xAA, 32256), (0x2A, -32256), (0xC5, 264)];
        for (octet, linear) in a {
            assert_eq!(a_law(octet), linear, "A-law {octet:#x}");
        }
        let mu = [
            (0xFF, 0),
            (0x7F, 0),
            (0x80, 32124),
            (0x00, -32124),
            (0xFE, 8),
            (0xEF, 132),
            (0xBF, 1980),
            (0xC0, 1884),
        ];
        for (octet, linear) in mu {
            assert_eq!(mu_law(octet), linear, "µ-law {octet:#x}");
        }
    }

    #[test]
    fn both_laws_are_symmetric_and_rise_with_the_line_code() {
        for octet in 0..=127_u8 {
            assert_eq!(a_law(octet), -a_law(octet | 0x80));
            assert_eq!(mu_law(octet), -mu_law(octet | 0x80));
        }
        let mut mu: Vec<i16> = (0x80..=0xFF).rev().map(mu_law).collect();
        assert!(mu.is_sorted());
        mu.dedup();
        assert_eq!(mu.len(), 128);
        assert!((0x80..=0xFF_u8).map(|o| a_law(o ^ 0x55)).is_sorted());
    }
}
