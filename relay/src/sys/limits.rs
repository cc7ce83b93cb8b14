//! What the process may use, and what a privilege would add.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

/// Descriptors that the process needs beside media sockets.
pub const fn own_files(workers: usize) -> u64 {
    64 + 8 * workers as u64
}

/// The cores that this process may use.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    let list: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect();
    if list.is_empty() { Err(io::Error::other("no core may be used")) } else { Ok(list) }
}

/// Raises the soft limit of open files to the hard one: how many files may be open.
pub fn raise_open_files() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(limit.maximum.unwrap_or(1 << 20).min(1 << 20))
}

/// What is missing for the full use of `pairs` pairs of ports by `workers` workers, one sentence each; nothing of it is
/// needed to run.
pub fn missing(files: u64, pairs: usize, workers: usize) -> Vec<String> {
    let mut list = Vec::new();
    let sockets = files.saturating_sub(own_files(workers));
    if sockets < 2 * pairs as u64 {
        list.push(format!(
            "at most {files} open files: room for {} calls, ports for {}; raise the hard limit (ulimit -Hn) to use all",
            sockets / 4,
            pairs / 2
        ));
    }
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max")
        .ok()
        .and_then(|t| t.trim().parse::<u64>().ok());
    if let Some(limit) = limit.filter(|l| *l < 256 * 1024) {
        list.push(format!(
            "socket buffers are limited to {limit} bytes (net.core.rmem_max): bursts may be lost"
        ));
    }
    list
}
