//! The same audio through opusenc and through ffmpeg's libopus: what others make of a capture file once it is audio.

use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;

use anyhow::Result;
use recorder::encode::Quality;

use super::cost::{Way, timed_program};
use super::speech::{Call, interleave};

/// Files of a race, gone with the last way that uses them.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn raw(&self) -> PathBuf {
        self.folder.path().join("call.raw")
    }
}

/// Each at our complexity and at the highest, which is their own default; both sides as one stereo stream of as many
/// bits as both of ours have together.
pub fn ways(call: &Call, quality: Quality) -> Result<Vec<Way<'static>>> {
    let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let files = Rc::new(Files { folder });
    interleave(&call.samples, &files.raw())?;
    let bits = quality.bitrate * 2;
    let mut ways = Vec::new();
    for complexity in [quality.complexity, 10] {
        let own = Rc::clone(&files);
        ways.push(Way {
            name: format!("opusenc, complexity {complexity}"),
            run: Box::new(move || {
                let mut command = Command::new("opusenc");
                command.args(["--quiet", "--raw", "--raw-rate", "8000", "--raw-chan", "2"]);
                command.args(["--bitrate", &(f64::from(bits) / 1000.0).to_string()]);
                command.args(["--comp", &complexity.to_string()]);
                timed_program(command.arg(own.raw()).arg(own.folder.path().join("opusenc.opus")))
            }),
        });
        let own = Rc::clone(&files);
        ways.push(Way {
            name: format!("ffmpeg -c:a libopus, complexity {complexity}"),
            run: Box::new(move || {
                let mut command = Command::new("ffmpeg");
                command
                    .args(["-v", "error", "-y", "-f", "s16le", "-ar", "8000", "-ac", "2", "-i"])
                    .arg(own.raw());
                command.args(["-c:a", "libopus", "-b:a", &bits.to_string()]);
                command.args(["-compression_level", &complexity.to_string()]);
                timed_program(command.arg(own.folder.path().join("ffmpeg.opus")))
            }),
        });
    }
    Ok(ways)
}
