//! CPU against quality, of Opus's two coders.

use std::time::Duration;

use anyhow::{Result, anyhow};
use opus::{Application, Bitrate, Channels, Signal};
use recorder::encode::{Quality, Sound, Voices};
use recorder::rate::Rate;
use recorder::settings::Settings;

use super::cores;
use super::speech::{over_the_line, words};

/// One way to encode a side.
struct Way {
    name: &'static str,
    signal: Signal,
    /// Each packet by itself.
    alone: bool,
    complexity: u8,
    kbits: u32,
}

const fn celt(complexity: u8, kbits: u32) -> Way {
    Way { name: "CELT, each packet by itself", signal: Signal::Music, alone: true, complexity, kbits }
}

const fn silk(complexity: u8, kbits: u32) -> Way {
    Way { name: "SILK", signal: Signal::Voice, alone: false, complexity, kbits }
}

const NARROW: [Way; 24] = [
    silk(0, 12),
    silk(0, 16),
    silk(0, 24),
    silk(0, 32),
    silk(2, 16),
    silk(5, 12),
    silk(5, 16),
    silk(5, 24),
    silk(10, 16),
    silk(10, 24),
    Way { name: "CELT", signal: Signal::Music, alone: false, complexity: 0, kbits: 40 },
    Way { name: "CELT", signal: Signal::Music, alone: false, complexity: 5, kbits: 40 },
    celt(0, 12),
    celt(0, 16),
    celt(0, 20),
    celt(0, 24),
    celt(0, 28),
    celt(0, 32),
    celt(0, 40),
    celt(0, 48),
    celt(1, 40),
    celt(2, 40),
    celt(5, 40),
    celt(10, 40),
];
const WIDE: [Way; 7] =
    [silk(0, 32), silk(5, 32), celt(0, 40), celt(0, 64), celt(0, 80), celt(0, 96), celt(5, 80)];

/// Prints both tables.
pub fn measure(rounds: usize) -> Result<()> {
    let [man, woman] = words(8000)?;
    let sides = [over_the_line(&man)?, over_the_line(&woman)?];
    head("8 kHz, G.711 A-law; PESQ MOS-LQO (P.862.1)");
    for way in &NARROW {
        row(way, 8000, &sides, rounds)?;
    }
    ours(&sides)?;
    let sides = words(16_000)?;
    head("16 kHz; PESQ MOS-LQO, wideband (P.862.2)");
    for way in &WIDE {
        row(way, 16_000, &sides, rounds)?;
    }
    Ok(())
}

fn head(what: &str) {
    println!("\n{what}\n");
    println!(
        "| coder | complexity | bit/s asked | bit/s made | man | woman | CPU of a second of one side | calls per core, continuous |"
    );
    println!("|---|---|---|---|---|---|---|---|");
}

fn row(way: &Way, hz: u32, sides: &[Vec<i16>; 2], rounds: usize) -> Result<()> {
    let frame = hz as usize / 50;
    let seconds = sides.iter().map(Vec::len).sum::<usize>() as f64 / f64::from(hz);
    let (mut bytes, mut scores, mut least) = (0, Vec::new(), Duration::MAX);
    for side in sides {
        let packets = encode(way, hz, side)?;
        bytes += packets.iter().map(Vec::len).sum::<usize>();
        let mut decoder = opus::Decoder::new(hz, Channels::Mono)?;
        let mut heard = Vec::new();
        for packet in &packets {
            let mut samples = vec![0; frame];
            decoder.decode(packet, &mut samples, false)?;
            heard.extend(samples);
        }
        scores.push(score(side, &heard, hz)?);
    }
    for _ in 0..=rounds {
        let before = cores::cpu_of_this_thread();
        for side in sides {
            std::hint::black_box(encode(way, hz, side)?);
        }
        least = least.min(cores::cpu_of_this_thread().saturating_sub(before));
    }
    println!(
        "| {} | {} | {} | {:.0} | {:.2} | {:.2} | {:.0} µs | {:.0} |",
        way.name,
        way.complexity,
        way.kbits * 1000,
        bytes as f64 * 8.0 / seconds,
        scores[0],
        scores[1],
        least.as_secs_f64() * 1e6 / seconds,
        seconds / 2.0 / least.as_secs_f64(),
    );
    Ok(())
}

fn encode(way: &Way, hz: u32, side: &[i16]) -> Result<Vec<Vec<u8>>> {
    let mut encoder = opus::Encoder::new(hz, Channels::Mono, Application::Audio)?;
    encoder.set_signal(way.signal)?;
    encoder.set_complexity(way.complexity.into())?;
    encoder.set_bitrate(Bitrate::Bits(i32::try_from(way.kbits * 1000)?))?;
    encoder.set_prediction_disabled(way.alone)?;
    Ok(side.chunks_exact(hz as usize / 50).map(|f| encoder.encode_vec(f, 1276)).collect::<Result<_, _>>()?)
}

/// What the recorder itself makes of it, silence and all.
fn ours(sides: &[Vec<i16>; 2]) -> Result<()> {
    let mut voices = Voices::new([Rate::Narrow; 2], Quality::from(&Settings::default()))?;
    let mut decoder = opus::MSDecoder::new(8000, 2, 0, &[0, 1])?;
    let mut heard = [Vec::new(), Vec::new()];
    let mut packet = Vec::new();
    for (caller, callee) in sides[0].chunks_exact(160).zip(sides[1].chunks_exact(160)) {
        voices.frame([Sound::Samples(caller), Sound::Samples(callee)], &mut packet)?;
        let mut samples = [0; 320];
        decoder.decode(&packet, &mut samples, false)?;
        heard.iter_mut().enumerate().for_each(|(n, h)| h.extend(samples.iter().skip(n).step_by(2)));
    }
    let [man, woman] = [0, 1].map(|n| score(&sides[n][..heard[n].len()], &heard[n], 8000));
    println!("\nAs the recorder encodes by default: {:.2} and {:.2}.", man?, woman?);
    Ok(())
}

/// PESQ, both sounds cut so that they begin together: the encoder's look-ahead is 6.5 ms.
fn score(said: &[i16], heard: &[i16], hz: u32) -> Result<f64> {
    let heard = &heard[hz as usize * 13 / 2000..];
    let said = &said[..heard.len()];
    let failed = |e| anyhow!("PESQ: {e:?}");
    if hz == 8000 {
        Ok(pesq::score::mos_lqo(f64::from(pesq::pesq_8k(said, heard).map_err(failed)?)).into())
    } else {
        Ok(f64::from(pesq::pesq_wb(said, heard).map_err(failed)?))
    }
}
