//! How busy workers are. Each measures itself once a second ([`Meter`], on the worker's thread); the server gives new
//! calls to the one with the least to do ([`Balance`], on the main thread). Pure: counts and times come in.

use crate::program::message::Load;

/// Packets a second of a stream of which nothing was heard yet: both ways, 20 ms each, as most codecs do.
const PACKETS_PER_STREAM: u64 = 100;

/// What a worker did from one measurement to the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    at_ns: u64,
    cpu_ns: u64,
    received: u64,
    /// The last measurement.
    pub load: Load,
}

impl Meter {
    /// Begins at `now_ns` (monotonic) with `cpu_ns` of CPU time spent and `received` packets.
    pub const fn starting(now_ns: u64, cpu_ns: u64, received: u64) -> Self {
        let load = Load { packets_per_second: 0, busy_permille: 0 };
        Self { at_ns: now_ns, cpu_ns, received, load }
    }

    /// Measures, from the totals of packets received and CPU time spent.
    pub fn measure(&mut self, now_ns: u64, cpu_ns: u64, received: u64) -> Load {
        let share = |done: u64, unit: u64| {
            let passed = u128::from(now_ns.saturating_sub(self.at_ns).max(1));
            u64::try_from(u128::from(done) * u128::from(unit) / passed).unwrap_or(u64::MAX)
        };
        let packets = received.saturating_sub(self.received);
        let busy = share(cpu_ns.saturating_sub(self.cpu_ns), 1_000).min(1_000);
        let load = Load {
            packets_per_second: share(packets, 1_000_000_000),
            busy_permille: u32::try_from(busy).unwrap_or(1_000),
        };
        *self = Self { at_ns: now_ns, cpu_ns, received, load };
        load
    }
}

/// Which worker has how much to do.
#[derive(Debug)]
pub struct Balance {
    workers: Vec<Share>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    measured: Load,
    /// Streams open.
    streams: u64,
    /// Those of them that were opened since the measurement.
    fresh: u64,
}

impl Share {
    /// Packets a second that are to be expected: what was measured, or what its streams will come to, where many of
    /// them have not begun to speak (a phone rings for long); and what came since.
    fn expected(self) -> u64 {
        let settled = self.streams.saturating_sub(self.fresh) * PACKETS_PER_STREAM;
        self.measured.packets_per_second.max(settled) + self.fresh * PACKETS_PER_STREAM
    }
}

impl Balance {
    /// Of so many workers, without calls.
    pub fn new(workers: usize) -> Self {
        Self { workers: vec![Share::default(); workers] }
    }

    /// The worker for the next call.
    pub fn least(&self) -> usize {
        let least = self.workers.iter().enumerate().min_by_key(|(_, share)| share.expected());
        least.map_or(0, |(worker, _)| worker)
    }

    /// A worker has so many streams more.
    pub fn opened(&mut self, worker: usize, streams: usize) {
        if let Some(share) = self.workers.get_mut(worker) {
            share.streams += streams as u64;
            share.fresh += streams as u64;
        }
    }

    /// A worker has so many streams less.
    pub fn closed(&mut self, worker: usize, streams: usize) {
        if let Some(share) = self.workers.get_mut(worker) {
            share.streams = share.streams.saturating_sub(streams as u64);
            share.fresh = share.fresh.min(share.streams);
        }
    }

    /// A worker has measured itself.
    pub fn measured(&mut self, worker: usize, load: Load) {
        if let Some(share) = self.workers.get_mut(worker) {
            share.measured = load;
            share.fresh = 0;
        }
    }

    /// The relay's load: all packets, the busiest worker.
    pub fn sum(&self) -> Load {
        self.workers.iter().fold(Load::default(), |sum, share| Load {
            packets_per_second: sum.packets_per_second + share.measured.packets_per_second,
            busy_permille: sum.busy_permille.max(share.measured.busy_permille),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn load(packets_per_second: u64, busy_permille: u32) -> Load {
        Load { packets_per_second, busy_permille }
    }

    /// Opens so many calls of one stream, one after the other.
    fn spread(balance: &mut Balance, calls: usize) -> Vec<usize> {
        (0..calls)
            .map(|_| {
                let worker = balance.least();
                balance.opened(worker, 1);
                worker
            })
            .collect()
    }

    #[test]
    fn a_measurement_is_of_the_time_since_the_last() {
        let mut meter = Meter::starting(5 * SECOND, 100, 0);
        assert_eq!(meter.measure(6 * SECOND, 100 + SECOND / 4, 5_000), load(5_000, 250));
        assert_eq!(meter.measure(8 * SECOND, 100 + SECOND / 4, 5_000), load(0, 0));
        assert_eq!(meter.measure(8 * SECOND + SECOND / 2, 100 + SECOND, 5_100), load(200, 1_000));
        assert_eq!(meter.load, load(200, 1_000));
    }

    #[test]
    fn calls_without_packets_yet_are_spread_evenly() {
        let mut balance = Balance::new(3);
        assert_eq!(spread(&mut balance, 6), [0, 1, 2, 0, 1, 2]);
        // They ring, and are measured as nothing.
        (0..3).for_each(|worker| balance.measured(worker, load(0, 0)));
        balance.closed(1, 1);
        assert_eq!(spread(&mut balance, 4), [1, 0, 1, 2]);
    }

    #[test]
    fn a_worker_with_heavy_streams_gets_fewer_calls() {
        let mut balance = Balance::new(2);
        spread(&mut balance, 2);
        balance.measured(0, load(550, 40));
        balance.measured(1, load(100, 10));
        assert_eq!(spread(&mut balance, 6), [1, 1, 1, 1, 1, 0], "until it would come to as much");
        assert_eq!(balance.sum(), load(650, 40));
    }

    #[test]
    fn those_that_ring_count_beside_those_that_speak() {
        let mut balance = Balance::new(2);
        balance.opened(0, 10);
        balance.opened(1, 2);
        balance.measured(0, load(0, 0));
        balance.measured(1, load(200, 5));
        assert_eq!(balance.least(), 1, "ten phones ring at the other");
    }
}
