//! `bauta-recorder` as a process: its start on one core, its counters, its CPU time by thread, its memory.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{LOOK, cores};

/// A tick of /proc's times: 100 a second on every architecture.
const TICK: Duration = Duration::from_millis(10);
/// Threads of the kernel that do the work of io_uring's slower operations in the process' name.
pub const IO_WQ: &str = "io-wq";

/// A running recorder. It ends with this.
pub struct Recorder {
    process: Child,
    state: PathBuf,
    core: CpuSet,
    interrupted: Arc<AtomicBool>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

/// CPU time so far, or in a while; most memory.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Of the process, its ended threads included.
    pub cpu: Duration,
    /// By thread.
    pub threads: BTreeMap<String, Duration>,
    /// Memory.
    pub memory: Memory,
    /// Threads that had to be told which core is theirs: the kernel's do not ask.
    pub astray: u32,
}

/// Memory in KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Resident, the shared ring included.
    pub resident: u64,
    /// The same, what is shared only by its share.
    pub proportional: u64,
    /// What belongs to this process alone: no ring, no page cache.
    pub private: u64,
}

/// The metrics file.
#[derive(Debug, Clone, Default)]
pub struct Counters(BTreeMap<String, u64>);

impl Counters {
    /// A counter's or gauge's value, by its name without the prefix.
    pub fn value(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }
}

impl Recorder {
    /// Starts it on the cores of this thread, which is `core`.
    pub fn start(program: &Path, state: &Path, core: usize, interrupted: &Arc<AtomicBool>) -> Result<Self> {
        std::fs::write(state.join("pop.toml"), "[recorder]\n")?;
        let log = std::fs::File::create(state.join("recorder.log"))?;
        let mut command = Command::new(program);
        command.arg("--state").arg(state).arg("--config").arg(state.join("pop.toml"));
        // A line a call is what a POP's log shows as well.
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let process = command.spawn().with_context(|| program.display().to_string())?;
        let mut only = CpuSet::new();
        only.set(core);
        Ok(Self { process, state: state.to_owned(), core: only, interrupted: interrupted.clone() })
    }

    fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.process.try_wait()? {
            let log = std::fs::read_to_string(self.state.join("recorder.log"))?;
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            bail!("the recorder ended: {status}: {last:#?}");
        }
        Ok(())
    }

    fn counters(&self) -> Counters {
        let text = std::fs::read_to_string(self.state.join("run/recorder.metrics")).unwrap_or_default();
        let value = |line: &str| {
            let (name, value) = line.strip_prefix("bauta_recorder_")?.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Counters(text.lines().filter_map(value).collect())
    }

    /// Waits until the counters show it; gives CPU time and most memory meanwhile.
    pub fn until(
        &mut self,
        what: &str,
        patience: Duration,
        done: impl Fn(&Counters) -> bool,
    ) -> Result<Usage> {
        let (began, before) = (Instant::now(), self.usage()?);
        let mut most = before.clone();
        while !done(&self.counters()) {
            ensure!(!self.interrupted.load(Relaxed), "interrupted");
            ensure!(began.elapsed() < patience, "not within {patience:?}: {what}");
            std::thread::sleep(LOOK);
            most.highest(&self.usage()?);
        }
        Ok(most.since(&before))
    }

    /// CPU time so far, and memory. Keeps all threads on their core.
    pub fn usage(&mut self) -> Result<Usage> {
        self.alive()?;
        let pid = self.process.id();
        let mut threads = BTreeMap::<String, Duration>::new();
        for (thread, time) in cores::cpu_by_thread(pid) {
            let name = if thread.starts_with("iou-") { IO_WQ.to_owned() } else { thread };
            *threads.entry(name).or_default() += time;
        }
        // The only threads that come and go are the kernel's.
        let cpu = cpu(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?).context("stat")?;
        let ended = cpu.saturating_sub(threads.values().sum());
        *threads.entry(IO_WQ.to_owned()).or_default() += ended;
        Ok(Usage { cpu, threads, memory: self.memory()?, astray: self.pin()? })
    }

    /// Memory now.
    pub fn memory(&self) -> Result<Memory> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.process.id()))?;
        let kib = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default()
        };
        Ok(Memory {
            resident: kib("Rss:"),
            proportional: kib("Pss:"),
            private: kib("Private_Clean:") + kib("Private_Dirty:"),
        })
    }

    /// The kernel's threads do not have the core of the thread that they work for: gives it to them.
    fn pin(&self) -> Result<u32> {
        let mut astray = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))?.flatten() {
            let id = thread.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
            // A thread may end before it is looked at.
            if sched_getaffinity(id).is_ok_and(|cores| cores != self.core) {
                astray += 1;
                let _ = sched_setaffinity(id, &self.core);
            }
        }
        Ok(astray)
    }

    /// SIGTERM; gives the last counters.
    pub fn stop(mut self, patience: Duration) -> Result<Counters> {
        self.alive()?;
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "the recorder ended by {status}, signal {:?}", status.signal());
                return Ok(self.counters());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("the recorder did not end within {patience:?}")
    }
}

impl Usage {
    /// Takes what `now` says; of memory the most.
    pub fn highest(&mut self, now: &Self) {
        let memory = Memory {
            resident: self.memory.resident.max(now.memory.resident),
            proportional: self.memory.proportional.max(now.memory.proportional),
            private: self.memory.private.max(now.memory.private),
        };
        *self = Self { memory, astray: self.astray + now.astray, ..now.clone() };
    }

    /// CPU time since `before`.
    pub fn since(mut self, before: &Self) -> Self {
        self.cpu = self.cpu.saturating_sub(before.cpu);
        for (thread, time) in &mut self.threads {
            *time = time.saturating_sub(before.threads.get(thread).copied().unwrap_or_default());
        }
        self
    }

    /// CPU time of the threads of that name.
    pub fn thread(&self, name: &str) -> Duration {
        self.threads.get(name).copied().unwrap_or_default()
    }
}

/// User and system time of a line of `/proc/PID/stat`.
fn cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * (ticks()? + ticks()?))
}

/// CPU time so far of the kernel's own threads, whomever they work for: writing pages back is theirs.
pub fn kernel_threads() -> Duration {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let stats = processes.filter_map(|p| std::fs::read_to_string(p.path().join("stat")).ok());
    let kernels = stats.filter(|stat| {
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        parent == Some("2")
    });
    kernels.filter_map(|stat| cpu(&stat)).sum()
}
