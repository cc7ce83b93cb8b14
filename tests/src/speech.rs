//! Two voices, as raw G.711 A-law: what the phones play, and what the archive must sound like.
//!
//! Made once by espeak-ng and sox, kept under `target/speech/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::programs::target;

/// Samples in one packet of 20 ms.
pub const PACKET: usize = 160;

/// One party's words.
#[derive(Debug, Clone)]
pub struct Speech {
    path: PathBuf,
    alaw: Vec<u8>,
}

impl Speech {
    /// What callers say.
    pub fn caller() -> Self {
        Self::of(
            "caller",
            "en",
            "Good morning. I am waiting in front of the station, next to the taxi rank, in the blue car.",
        )
    }

    /// What callees say.
    pub fn callee() -> Self {
        Self::of(
            "callee",
            "en+f3",
            "Thank you, I can see you already. Please wait there, I will be with you in two minutes.",
        )
    }

    /// The raw A-law file, 8000 Hz, a whole number of packets.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The payloads of its packets.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.alaw.chunks_exact(PACKET)
    }

    /// Its length in milliseconds.
    pub fn milliseconds(&self) -> u64 {
        self.alaw.len() as u64 / 8
    }

    /// Its samples, linear, 8000 Hz.
    pub fn samples(&self) -> Vec<f64> {
        self.alaw.iter().map(|&byte| f64::from(linear(byte)) / 32_768.0).collect()
    }

    fn of(name: &str, voice: &str, words: &str) -> Self {
        // Tests of one process run at once; those of others write files of their own names.
        static MAKING: Mutex<()> = Mutex::new(());
        let _made_once = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = target().join("speech");
        std::fs::create_dir_all(&folder).expect("target/speech");
        let path = folder.join(format!("{name}.al"));
        if !path.is_file() {
            let own = std::process::id();
            let (wav, raw) =
                (folder.join(format!("{name}.{own}.wav")), folder.join(format!("{name}.{own}.al")));
            run(Command::new("espeak-ng").args(["-v", voice, "-w"]).arg(&wav).arg(words));
            run(Command::new("sox").arg(&wav).args(["-r", "8000", "-c", "1", "-e", "a-law"]).arg(&raw));
            let mut alaw = std::fs::read(&raw).expect("sox wrote A-law");
            alaw.truncate(alaw.len() / PACKET * PACKET);
            std::fs::write(&raw, alaw).expect("speech file");
            std::fs::rename(&raw, &path).expect("speech file");
            std::fs::remove_file(&wav).expect("wave file");
        }
        let alaw = std::fs::read(&path).expect("speech file");
        Self { path, alaw }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// One A-law byte as a 16-bit sample (ITU-T G.711).
fn linear(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let (segment, step) = ((code & 0x70) >> 4, i16::from(code & 0x0f) << 4);
    let magnitude = match segment {
        0 => step + 8,
        1 => step + 0x108,
        _ => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::linear;

    #[test]
    fn a_law_as_the_standard_has_it() {
        assert_eq!([linear(0xd5), linear(0x55), linear(0xaa), linear(0x2a)], [8, -8, 32_256, -32_256]);
    }
}
