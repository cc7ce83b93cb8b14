//! A process that a test starts, watches and ends.
//!
//! Its output goes to a file; whatever happens to the test, it is killed and reaped when the handle is dropped,
//! and when the test is failing, the end of its output is shown.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::deadline::{seconds, until};

/// Lines of output that are shown when a test fails.
const TAIL: usize = 30;

/// A running process, or one that has ended.
#[derive(Debug)]
pub struct Process {
    name: String,
    output: PathBuf,
    child: Child,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` as leader of a process group; standard output and error go to `output`.
    pub fn start(name: &str, mut command: Command, output: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&output).expect("output file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("output file"))
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("{name} does not start: {e} ({command:?})"));
        Self { name: name.to_owned(), output, child, status: None }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// The file that holds its output.
    pub fn output_path(&self) -> &Path {
        &self.output
    }

    /// Its exit status, when it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("wait");
        }
        self.status
    }

    /// Waits until `probe` answers, and fails at once when the process ends before that.
    #[track_caller]
    pub fn ready<T>(&mut self, what: &str, limit: Duration, mut probe: impl FnMut(&Self) -> Option<T>) -> T {
        until(&format!("{}: {what}", self.name), limit, || {
            let answer = probe(self);
            if let (None, Some(status)) = (&answer, self.ended()) {
                panic!("{} ended ({status}) before: {what}", self.name);
            }
            answer
        })
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(&mut self, limit: Duration) -> ExitStatus {
        until(&format!("{} ends", self.name), limit, || self.ended())
    }

    /// Kills it as a crash would: SIGKILL, no chance to clean up.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        // A thread of low priority must get the CPU once more to die of it.
        self.finish(seconds(20));
    }

    /// Asks it to end, and waits.
    #[track_caller]
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.finish(seconds(10))
    }

    /// Asks it to end, waits as long as `limit`, and leaves it at that: for what has children to wait for.
    pub fn ask_to_end(&mut self, limit: Duration) {
        self.signal(Signal::TERM);
        let end = Instant::now() + limit;
        while self.ended().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&mut self, signal: Signal) {
        if self.ended().is_none() {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("pid");
            // It may end this very moment.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if self.status.is_none() {
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<&str> = output.lines().collect();
            eprintln!("--- {}, last lines of its output:", self.name);
            for line in lines.iter().skip(lines.len().saturating_sub(TAIL)) {
                eprintln!("    {line}");
            }
        }
    }
}
