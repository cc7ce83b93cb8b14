//! What the relay takes on: new calls are refused while it drains or is at a limit; calls in progress never notice.
//!
//! Pure. Kept by the server, asked before a call is opened.

use crate::program::message::{Limit, Load, Refusal};

/// The settings, 0 for no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Calls open at once.
    pub calls: u32,
    /// Packets received a second.
    pub packets_per_second: u64,
    /// Share of a core that the busiest worker uses, in percent.
    pub cpu_percent: u8,
}

/// What decides on new calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gate {
    limits: Limits,
    draining: bool,
}

impl Gate {
    /// Open, with these limits.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, draining: false }
    }

    /// Whether no new calls are taken, so that those in progress can come to their end.
    pub const fn draining(&self) -> bool {
        self.draining
    }

    /// Begins or ends draining.
    pub const fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Whether one more call is taken on beside the `open` ones, under the load of the last second.
    pub fn admits(&self, open: usize, load: Load) -> Result<(), Refusal> {
        let Limits { calls, packets_per_second, cpu_percent } = self.limits;
        let reached = |limit: u64, value: u64| limit > 0 && value >= limit;
        let limit = if self.draining {
            Limit::Draining
        } else if reached(calls.into(), open as u64) {
            Limit::Calls
        } else if reached(packets_per_second, load.packets_per_second) {
            Limit::Packets
        } else if reached(u64::from(cpu_percent) * 10, load.busy_permille.into()) {
            Limit::Cpu
        } else {
            return Ok(());
        };
        Err(Refusal::Overloaded(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_refuses_at_its_value_and_none_when_it_is_0() {
        let gate = Gate::new(Limits { calls: 2, packets_per_second: 100, cpu_percent: 80 });
        let load = |packets_per_second, busy_permille| Load { packets_per_second, busy_permille };
        let refused = |limit| Err(Refusal::Overloaded(limit));
        assert_eq!(gate.admits(1, load(99, 799)), Ok(()));
        assert_eq!(gate.admits(2, load(0, 0)), refused(Limit::Calls));
        assert_eq!(gate.admits(0, load(100, 0)), refused(Limit::Packets));
        assert_eq!(gate.admits(0, load(0, 800)), refused(Limit::Cpu));
        assert_eq!(Gate::default().admits(usize::MAX, load(u64::MAX, u32::MAX)), Ok(()));
    }

    #[test]
    fn a_draining_relay_takes_nothing_until_it_is_told() {
        let mut gate = Gate::default();
        gate.drain(true);
        assert_eq!(gate.admits(0, Load::default()), Err(Refusal::Overloaded(Limit::Draining)));
        gate.drain(false);
        assert_eq!(gate.admits(0, Load::default()), Ok(()));
    }
}
