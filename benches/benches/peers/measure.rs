//! What a contestant has cost: CPU time of its processes, its core's, packets on its device, memory.
//!
//! All of it is the kernel's word, asked in the same way of each contestant; neither it nor the generator is asked.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benches::proc::{self, CoreTime};
use benches::steady::Sample;
use tests::namespaces::DEVICE;

use super::contestant::Contestant;

/// All that a contestant has cost until a moment.
pub struct Snapshot {
    at: Instant,
    cpu: BTreeMap<&'static str, Duration>,
    core: CoreTime,
    packets: [u64; 2],
}

/// What it cost in an interval.
pub struct Cost {
    /// Length.
    pub seconds: f64,
    /// CPU time of each process, all threads, user and system.
    pub cpu: BTreeMap<&'static str, Duration>,
    /// Of the contestant's core.
    pub core: CoreTime,
    /// Packets that came in on its device.
    pub offered: u64,
    /// Packets that it sent there.
    pub forwarded: u64,
}

impl Snapshot {
    /// Now.
    pub fn take(contestant: &Contestant, core: usize) -> Result<Self> {
        let mut cpu = BTreeMap::new();
        let packets = packets(contestant)?;
        for (name, pid) in contestant.processes() {
            let path = format!("/proc/{pid}/stat");
            let time = read_to_string(&path).ok().and_then(|stat| proc::cpu(&stat)).context(path)?;
            cpu.insert(name, time);
        }
        let core = proc::core(&read_to_string("/proc/stat")?, core).context("/proc/stat")?;
        Ok(Self { at: Instant::now(), cpu, core, packets })
    }

    /// From `before` until this.
    pub fn since(&self, before: &Self) -> Cost {
        let cpu = self.cpu.iter().map(|(name, time)| (*name, time.saturating_sub(before.cpu[name])));
        Cost {
            seconds: (self.at - before.at).as_secs_f64(),
            cpu: cpu.collect(),
            core: self.core.since(&before.core),
            offered: self.packets[0] - before.packets[0],
            forwarded: self.packets[1] - before.packets[1],
        }
    }
}

impl Cost {
    /// CPU time of these processes.
    pub fn of(&self, names: &[&str]) -> Duration {
        names.iter().filter_map(|name| self.cpu.get(name)).sum()
    }

    /// Time in which the contestant's core worked, for whomever, interrupts included.
    pub fn busy(&self) -> Duration {
        Duration::from_secs_f64(self.seconds).saturating_sub(self.core.idle + self.core.stolen)
    }

    /// Microseconds for each packet that was forwarded.
    pub fn a_packet(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.forwarded as f64
    }

    /// Percent of a core.
    pub fn percent(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.seconds * 100.0
    }
}

/// Packets in and out of the contestant's device so far.
pub fn packets(contestant: &Contestant) -> Result<[u64; 2]> {
    let (_, pid) = contestant.processes().next().context("no process")?;
    let path = format!("/proc/{pid}/net/dev");
    proc::packets(&read_to_string(&path)?, DEVICE).context(path)
}

/// UDP sockets that the contestant has open.
pub fn sockets(contestant: &Contestant) -> Result<u64> {
    let (_, pid) = contestant.processes().next().context("no process")?;
    let path = format!("/proc/{pid}/net/sockstat");
    proc::sockets(&read_to_string(&path)?).context(path)
}

/// Memory, descriptors and threads of each process.
pub fn samples(contestant: &Contestant, seconds: f64) -> Result<BTreeMap<&'static str, Sample>> {
    let sample = |(name, pid)| {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let status = read_to_string(folder.join("status"))?;
        let number = |of: fn(&str) -> Option<u64>| of(&status).map(|n| n as f64).context("/proc/PID/status");
        let descriptors = std::fs::read_dir(folder.join("fd"))?.count() as f64;
        let (resident, threads) = (number(proc::resident)?, number(proc::threads)?);
        Ok((name, Sample { seconds, resident, descriptors, threads }))
    };
    contestant.processes().map(sample).collect()
}
