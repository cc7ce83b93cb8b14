//! Every entry of the corpus, and some seconds of mutations of it, through every entry point.
//!
//! `BAUTA_FUZZ_SECONDS` says how long each target is mutated, `BAUTA_SEED` from where; what a failing run was fed is in
//! `target/tmp/crash-NAME`, to be put into the corpus.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuzz::TARGETS;

/// What parsers trip over: lengths, signs, separators.
const TOKENS: [&[u8]; 24] = [
    b"\xff\xff\xff\xff",
    b"\x7f\xff",
    b"\x80\xc8",
    b"\x81\xca\x00\x06",
    b"\xbe\xde",
    b"\x00\x00\x00\x00",
    b"\x80\x00",
    b"4294967296",
    b"-1",
    b"99999999999999999999:",
    b"i-0e",
    b"le",
    b"de",
    b"\r\n",
    b"a=",
    b"m=audio 1 RTP/AVP 8\r\n",
    b"c=IN IP6 ::1\r\n",
    b"/",
    b"[",
    b"\\u0000",
    b"\"",
    b"{",
    b" ",
    b"\xf0\x9f\x8e\xad",
];

/// Random numbers (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has a corpus");
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// One entry, changed in a few places.
fn mutated(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = corpus[chance.below(corpus.len())].clone();
    for _ in 0..=chance.below(6) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => bytes[at] = u8::try_from(chance.below(256)).unwrap(),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, TOKENS[chance.below(TOKENS.len())].iter().copied())),
            4 => drop(bytes.drain(at..(at + chance.below(16)).min(bytes.len()))),
            5 => {
                let piece = bytes[at..(at + chance.below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            6 => {
                let other = &corpus[chance.below(corpus.len())];
                bytes.truncate(at);
                bytes.extend(&other[chance.below(other.len() + 1)..]);
            }
            _ => {
                let token = TOKENS[chance.below(TOKENS.len())];
                bytes.iter_mut().skip(at).zip(token).for_each(|(byte, token)| *byte = *token);
            }
        }
        bytes.truncate(4096);
    }
    bytes
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn nothing_from_outside_breaks_what_takes_it() {
    let seconds = Duration::from_secs(setting("BAUTA_FUZZ_SECONDS").unwrap_or(3));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = setting("BAUTA_SEED").unwrap_or(u64::from(now.subsec_nanos())) | 1;
    println!("BAUTA_SEED={seed}");
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        let run = |bytes: &[u8]| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(bytes))) {
                let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("crash-{name}"));
                std::fs::write(&file, bytes).unwrap();
                println!("{name} broke on {}", file.display());
                std::panic::resume_unwind(panic);
            }
        };
        corpus.iter().for_each(|bytes| run(bytes));
        let (mut chance, start, mut count) = (Chance(seed), Instant::now(), 0_u64);
        while start.elapsed() < seconds {
            run(&mutated(&corpus, &mut chance));
            count += 1;
        }
        println!("{name}: {} entries, {count} mutations", corpus.len());
    }
}
