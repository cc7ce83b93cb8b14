//! What `/proc` says, taken apart. Pure: the caller has read the file.

use std::time::Duration;

/// A tick of /proc's times: 100 a second on every architecture.
pub const TICK: Duration = Duration::from_millis(10);

/// User and system time of all threads, living and ended: `/proc/PID/stat`.
pub fn cpu(stat: &str) -> Option<Duration> {
    // The name in brackets may hold spaces and brackets.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.checked_add(ticks()?)?)
}

/// How a core spent its time since the start of the machine. What it did with the rest, the kernel only guesses at from
/// one look every tick; these are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CoreTime {
    /// Nobody had anything to do. Waiting for a disk is idle: so is a wait for io_uring shown.
    pub idle: Duration,
    /// Given to other machines by the hypervisor.
    pub stolen: Duration,
}

impl CoreTime {
    /// From `before` until this.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            idle: self.idle.saturating_sub(before.idle),
            stolen: self.stolen.saturating_sub(before.stolen),
        }
    }
}

/// The line of a core in `/proc/stat`.
pub fn core(stat: &str, core: usize) -> Option<CoreTime> {
    let name = format!("cpu{core}");
    let mut fields = stat
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut fields| (fields.next()? == name).then_some(fields))?;
    let mut time = || Some(TICK * fields.next()?.parse::<u32>().ok()?);
    let [_user, _nice, _system, idle, iowait, _irq, _softirq, stolen] =
        [time()?, time()?, time()?, time()?, time()?, time()?, time()?, time()?];
    Some(CoreTime { idle: idle + iowait, stolen })
}

/// Packets that a network device has taken in and sent: `/proc/PID/net/dev`, in the namespace of that process.
pub fn packets(net_dev: &str, device: &str) -> Option<[u64; 2]> {
    let line = net_dev.lines().find_map(|line| {
        let (name, counters) = line.split_once(':')?;
        (name.trim() == device).then_some(counters)
    })?;
    let counter = |column| line.split_whitespace().nth(column)?.parse().ok();
    Some([counter(1)?, counter(9)?])
}

/// Open UDP sockets of a namespace: `/proc/PID/net/sockstat`. Those that only an io_uring holds are among them, which
/// `/proc/PID/fd` does not show.
pub fn sockets(sockstat: &str) -> Option<u64> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("UDP: inuse "))?;
    line.split_whitespace().next()?.parse().ok()
}

/// KiB of resident memory: `/proc/PID/status`.
pub fn resident(status: &str) -> Option<u64> {
    number(status, "VmRSS:")
}

/// Threads: `/proc/PID/status`.
pub fn threads(status: &str) -> Option<u64> {
    number(status, "Threads:")
}

fn number(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_a_process_whose_name_has_brackets() {
        let stat = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 100 200 0 0 1234 66 7 8 20 0 3 0 99 1000 50";
        assert_eq!(cpu(stat), Some(Duration::from_secs(13)));
        assert_eq!(cpu("4242 (rtpengine) S 1"), None);
        assert_eq!(cpu(""), None);
    }

    #[test]
    fn a_core_waiting_for_io_uring_is_idle() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 1 20 5000 300 2 30 4 0 0\ncpu10 1 1 1 1 1 1 1 1 0 0\nintr 5\n";
        let ticks = |n| TICK * n;
        let expected = CoreTime { idle: ticks(5300), stolen: ticks(4) };
        assert_eq!(core(stat, 0), Some(expected));
        assert_eq!(core(stat, 10).unwrap().idle, ticks(2));
        assert_eq!(core(stat, 1), None, "cpu1 is not the beginning of cpu10");
        assert_eq!(core("cpu0 1 2 x 4 5 6 7 8", 0), None);
        assert_eq!(core("cpu0 1 2 3", 0), None);
    }

    #[test]
    fn packets_of_one_device() {
        let dev = "Inter-|   Receive                                                |  Transmit\n \
                   face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n    \
                   lo:       0       1    0    0    0     0          0         0        0       2    0    0\n \
                   media: 172000    1000    0    0    0     0          0         0   86000     500    0    0\n";
        assert_eq!(packets(dev, "media"), Some([1000, 500]));
        assert_eq!(packets(dev, "lo"), Some([1, 2]));
        assert_eq!(packets(dev, "med"), None);
    }

    #[test]
    fn sockets_of_a_namespace() {
        let sockstat =
            "sockets: used 16100\nTCP: inuse 2 orphan 0 tw 0\nUDP: inuse 16001 mem 64\nUDPLITE: inuse 7\n";
        assert_eq!(sockets(sockstat), Some(16_001));
        assert_eq!(sockets("UDPLITE: inuse 7\n"), None);
    }

    #[test]
    fn memory_and_threads() {
        let status = "Name:\tbauta-relay\nVmHWM:\t    9000 kB\nVmRSS:\t    8192 kB\nThreads:\t3\n";
        assert_eq!((resident(status), threads(status)), (Some(8192), Some(3)));
        assert_eq!(resident("Name:\tkthreadd\nThreads:\t1\n"), None);
    }
}
