//! Two voices by espeak-ng, and the calls that they make, as a line carries them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Samples of a packet of 20 ms.
pub const FRAME: usize = 160;

/// Harvard sentences (IEEE 269), and some of the trade.
const SENTENCES: [[&str; 6]; 2] = [
    [
        "The birch canoe slid on the smooth planks, and glue held the sheet to the dark blue background.",
        "I am at the corner by the station, in the grey car, can you see me?",
        "It is easy to tell the depth of a well. These days a chicken leg is a rare dish.",
        "Rice is often served in round bowls, and the juice of lemons makes fine punch.",
        "You said nine o'clock, and I have been waiting here for twenty five minutes.",
        "The boy was there when the sun rose, a rod is used to catch pink salmon.",
    ],
    [
        "The source of the huge river is the clear spring. Kick the ball straight and follow through.",
        "No, you told me twelve pounds fifty, and now the application says nineteen.",
        "Help the woman get back to her feet, a pot of tea helps to pass the evening.",
        "Smoky fires lack flame and heat. The soft cushion broke the man's fall.",
        "Please turn left after the bridge, the house has a green door and no number.",
        "The salt breeze came across from the sea, the girl at the booth sold fifty bonds.",
    ],
];
/// A man's voice and a woman's.
const VOICES: [&str; 2] = ["en-gb", "en-us+f3"];

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Talk {
    /// One after the other: 40 % caller, 40 % callee, 20 % nobody.
    Ordinary,
    /// Both all the time.
    Continuous,
}

/// A call as the line carries it.
pub struct Call {
    pub talk: Talk,
    pub seconds: usize,
    /// G.711 A-law, 8 kHz: caller, callee; whole packets, of equal length.
    pub alaw: [Vec<u8>; 2],
    /// What that decodes to.
    pub samples: [Vec<i16>; 2],
}

impl Call {
    /// Makes a call.
    pub fn of(talk: Talk, seconds: usize) -> Result<Self> {
        let length = seconds * 8000;
        let said = [sentences(0, 8000)?, sentences(1, 8000)?];
        let mut sides = [Vec::new(), Vec::new()];
        match talk {
            Talk::Continuous => {
                for (side, said) in sides.iter_mut().zip(&said) {
                    side.extend(said.iter().flatten().cycle().take(length));
                }
            }
            Talk::Ordinary => {
                for turn in 0.. {
                    let (speaker, sentence) = (turn % 2, turn / 2 % said[0].len());
                    let words = &said[speaker][sentence];
                    let pause = words.len() / 4;
                    sides[speaker].extend(words);
                    sides[speaker].resize(sides[speaker].len() + pause, 0);
                    sides[1 - speaker].resize(sides[speaker].len(), 0);
                    if sides[0].len() >= length {
                        break;
                    }
                }
                sides.iter_mut().for_each(|s| s.truncate(length));
            }
        }
        let mut noise = Noise(1);
        sides.iter_mut().flatten().for_each(|s| *s = s.saturating_add(noise.sample()));
        let [caller, callee] = sides;
        let alaw = [to_alaw(&caller)?, to_alaw(&callee)?];
        let samples = [from_alaw(&alaw[0])?, from_alaw(&alaw[1])?];
        Ok(Self { talk, seconds, alaw, samples })
    }

    /// The name of it in tables.
    pub const fn name(&self) -> &'static str {
        match self.talk {
            Talk::Ordinary => "40 % talk each",
            Talk::Continuous => "continuous talk",
        }
    }
}

/// An idle line: about -69 dBFS.
struct Noise(u32);

impl Noise {
    fn sample(&mut self) -> i16 {
        // Four uniform numbers make a bell that is good enough.
        let sum: i32 = (0..4).map(|_| self.uniform()).sum();
        i16::try_from(sum).unwrap_or(0)
    }

    /// -10 to 10, by xorshift32.
    fn uniform(&mut self) -> i32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        i32::try_from(self.0 % 21).unwrap_or(0) - 10
    }
}

/// Both voices' words after another, at `hz`.
pub fn words(hz: u32) -> Result<[Vec<i16>; 2]> {
    Ok([sentences(0, hz)?.concat(), sentences(1, hz)?.concat()])
}

/// What the line makes of sound of 8 kHz.
pub fn over_the_line(samples: &[i16]) -> Result<Vec<i16>> {
    from_alaw(&to_alaw(samples)?)
}

fn sentences(voice: usize, hz: u32) -> Result<Vec<Vec<i16>>> {
    let say = |text: &&str| {
        let spoken = output(Command::new("espeak-ng").args(["-v", VOICES[voice], "--stdout", text]), &[])?;
        let hz = hz.to_string();
        let mut sox = Command::new("sox");
        sox.args(["-D", "-t", "wav", "-", "-r", &hz, "-c", "1", "-t", "s16", "-", "gain", "-n", "-6"]);
        Ok(linear(&output(&mut sox, &spoken)?))
    };
    SENTENCES[voice].iter().map(say).collect()
}

fn to_alaw(samples: &[i16]) -> Result<Vec<u8>> {
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    let mut sox = Command::new("sox");
    sox.args(["-D", "-r", "8000", "-c", "1", "-t", "s16", "-", "-t", "al", "-"]);
    output(&mut sox, &bytes)
}

fn from_alaw(alaw: &[u8]) -> Result<Vec<i16>> {
    let mut sox = Command::new("sox");
    sox.args(["-D", "-r", "8000", "-c", "1", "-t", "al", "-", "-t", "s16", "-"]);
    Ok(linear(&output(&mut sox, alaw)?))
}

fn linear(bytes: &[u8]) -> Vec<i16> {
    bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
}

/// Both sides of a call as a file of raw samples, left and right in turn.
pub fn interleave(sides: &[Vec<i16>; 2], to: &Path) -> Result<()> {
    let [left, right] = sides;
    let bytes: Vec<u8> =
        left.iter().zip(right).flat_map(|(l, r)| [l.to_le_bytes(), r.to_le_bytes()]).flatten().collect();
    Ok(std::fs::write(to, bytes)?)
}

/// What a program makes of `input`.
fn output(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let beside = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    std::fs::write(beside.path(), input)?;
    let command = command.stdin(beside.reopen()?).stderr(Stdio::piped());
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
