//! What one run of one contestant cost. The forwarding thread looks at the meter between its turns: what it measures is
//! its own CPU time and what its engine counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use relay::engine::Engine;
use relay::sys::clock::thread_cpu_ns;

const CLOSED: u8 = 0;
const OPEN: u8 = 1;
const MEASURE: u8 = 2;
const OVER: u8 = 3;

/// Where a run is. Shared by the thread that forwards and the one that makes the load.
#[derive(Default)]
pub struct Stage(AtomicU8);

impl Stage {
    /// Whether the forwarding thread has its sockets.
    pub fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) != CLOSED
    }

    pub fn measure(&self) {
        self.0.store(MEASURE, Ordering::Relaxed);
    }

    pub fn over(&self) {
        self.0.store(OVER, Ordering::Relaxed);
    }
}

/// What a run cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// CPU time of the forwarding thread per packet, system calls and all that they do included.
    pub cpu_us: f64,
    pub packets_per_second: f64,
    /// Packets per turn: how many the contestant found waiting when it looked.
    pub batch: f64,
    /// What half of the packets took at the most, and 99 of 100, from phone to phone; none where they queue.
    pub delay_us: Option<[f64; 2]>,
}

#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    cpu_ns: u64,
    packets: u64,
    turns: u64,
}

/// Belongs to the forwarding thread.
pub struct Meter {
    stage: Arc<Stage>,
    begun: Option<Reading>,
    ended: Option<Reading>,
    turns: u64,
}

impl Meter {
    pub fn new(stage: Arc<Stage>) -> Self {
        Self { stage, begun: None, ended: None, turns: 0 }
    }

    /// To be called between two turns; false: the run is over.
    pub fn goes_on(&mut self, engine: &Engine) -> bool {
        self.turns += 1;
        match self.stage.0.load(Ordering::Relaxed) {
            OPEN => true,
            CLOSED => {
                self.stage.0.store(OPEN, Ordering::Relaxed);
                true
            }
            MEASURE => {
                if self.begun.is_none() {
                    self.begun = Some(self.read(engine));
                }
                true
            }
            _ => {
                if self.ended.is_none() {
                    self.ended = Some(self.read(engine));
                }
                false
            }
        }
    }

    fn read(&self, engine: &Engine) -> Reading {
        let packets = engine.forwarded().packets;
        Reading { at: Instant::now(), cpu_ns: thread_cpu_ns(), packets, turns: self.turns }
    }

    /// None where nothing was forwarded.
    pub fn cost(&self) -> Option<Cost> {
        let (begun, ended) = (self.begun?, self.ended?);
        let packets = (ended.packets - begun.packets) as f64;
        (packets > 0.0).then(|| Cost {
            cpu_us: (ended.cpu_ns - begun.cpu_ns) as f64 / 1_000.0 / packets,
            packets_per_second: packets / (ended.at - begun.at).as_secs_f64(),
            batch: packets / (ended.turns - begun.turns).max(1) as f64,
            delay_us: None,
        })
    }
}

impl Cost {
    /// With what the phones saw.
    pub fn with_delays(self, mut delays: Vec<Duration>) -> Self {
        delays.sort();
        let at = |share: usize| delays.get(delays.len() * share / 100).map(|delay| delay.as_secs_f64() * 1e6);
        Self { delay_us: at(50).zip(at(99)).map(<[f64; 2]>::from), ..self }
    }
}
