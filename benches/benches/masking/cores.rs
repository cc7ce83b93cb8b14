//! Which core measures and which one asks; what CPU time a process took, and how much memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// The cores that there are.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// What is measured has this one.
    pub ours: usize,
    /// What asks has this one; the same where there is no other.
    theirs: usize,
    /// How many this process may use.
    pub count: u32,
}

impl Cores {
    /// The last two that this process may use: interrupts mostly go to the first.
    pub fn choose() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).rev().filter(|core| allowed.is_set(*core));
        let ours = usable.next().context("no core")?;
        Ok(Self { ours, theirs: usable.next().unwrap_or(ours), count: allowed.count() })
    }

    /// This thread, and what it starts from now on, has the core of what is measured.
    pub fn take_ours(&self) -> Result<()> {
        take(self.ours)
    }

    /// This thread, and what it starts from now on, has the core of what asks.
    pub fn take_theirs(&self) -> Result<()> {
        take(self.theirs)
    }
}

fn take(core: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).with_context(|| format!("run on core {core} alone"))
}

/// CPU time of each thread of a process so far, by name.
pub fn cpu_by_thread(pid: u32) -> BTreeMap<String, Duration> {
    let mut times = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("a process that runs").flatten() {
        let read = |file| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        // First field: nanoseconds on a CPU.
        let nanos = read("schedstat").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        *times.entry(read("comm").trim().to_owned()).or_default() += Duration::from_nanos(nanos);
    }
    times
}

/// CPU time of a process so far.
pub fn cpu(pid: u32) -> Duration {
    cpu_by_thread(pid).values().sum()
}

/// CPU time of this thread so far.
pub fn cpu_of_this_thread() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Memory of a process, in MiB: resident now, and at its highest.
pub fn memory(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process that runs");
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of status");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    };
    (line("VmRSS:"), line("VmHWM:"))
}

/// The file system of a folder, by its name: a commit to memory is none.
pub fn file_system(folder: &Path) -> Result<String> {
    let folder = folder.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mounted = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let nearest = mounted.filter(|(at, _)| folder.starts_with(at)).max_by_key(|(at, _)| at.len());
    Ok(nearest.map_or("unknown", |(_, kind)| kind).to_owned())
}
