//! A call between two parties as the tap saw it, and the truth about it.
//!
//! The truth of a sample is the instant at which it was said plus the least delay of its way at that time: what a
//! network takes at the least cannot be known from one end, so no recorder can do better, and it is all that is forgiven.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::network::{Carried, Path};
use super::party::{Party, Said};
use crate::spool::Side;

/// True time 0 as nanoseconds since 1970.
pub const EPOCH: u64 = 1_700_000_000_000_000_000;

/// What the tap tells, in the order of its records.
#[derive(Debug, Clone, Copy)]
pub enum Record {
    /// A packet, captured.
    Packet(Side, Carried),
    /// Recording pauses.
    Pause(i64),
    /// Recording goes on.
    Resume(i64),
    /// Packets of a side that arrived from.. to.. were not captured: so many.
    Overflow(Side, i64, i64, u64),
}

impl Record {
    /// When it is read.
    pub const fn at(&self) -> i64 {
        match self {
            Self::Packet(_, carried) => carried.at,
            Self::Pause(at) | Self::Resume(at) | Self::Overflow(_, _, at, _) => *at,
        }
    }
}

/// Why the tap saw nothing from one instant to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blind {
    /// Recording was paused.
    Paused,
    /// The ring was full.
    Full,
}

/// A call.
#[derive(Debug)]
pub struct Call {
    pub said: [Vec<Said>; 2],
    pub paths: [Path; 2],
    pub records: Vec<Record>,
    /// When the first packet was captured.
    pub start: i64,
    pub blind: Vec<(Blind, i64, i64)>,
    /// What arrived while the ring was full.
    unseen: [HashSet<usize>; 2],
}

/// What must be counted for a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    pub packets: u64,
    pub duplicates: u64,
    pub reordered: u64,
    /// By sequence number, for whatever cause, but not for pauses.
    pub lost: u64,
    pub jumps: u64,
    pub sources: u64,
}

/// Packets between two that were captured, which were not.
#[derive(Debug, Clone, Copy)]
pub struct Hole {
    /// Indices of the captured packets before and behind.
    pub between: (usize, usize),
    pub packets: u64,
    /// How many of them reached the relay.
    pub arrived: u64,
}

impl Call {
    /// Two parties, their ways, and when the tap was blind.
    pub fn new(parties: [Party; 2], paths: [Path; 2], blind: Vec<(Blind, i64, i64)>, seed: u64) -> Self {
        let mut chance = super::chance::Chance::new(seed ^ 0xca11);
        let said = parties.map(|p| p.said);
        let mut records = Vec::new();
        for side in Side::BOTH {
            let (path, said): (&Path, &Vec<Said>) = (side.of(&paths), side.of(&said));
            let carried = path.carry(said, &mut chance);
            records.extend(carried.into_iter().map(|c| Record::Packet(side, c)));
        }
        let mut unseen = [HashSet::new(), HashSet::new()];
        for (why, from, to) in &blind {
            let mut counts = [0, 0];
            records.retain(|r| match r {
                Record::Packet(side, c) if (*from..*to).contains(&c.at) => {
                    *side.of_mut(&mut counts) += 1;
                    if *why == Blind::Full {
                        side.of_mut(&mut unseen).insert(c.index);
                    }
                    false
                }
                _ => true,
            });
            match why {
                Blind::Paused => records.extend([Record::Pause(*from), Record::Resume(*to)]),
                Blind::Full => {
                    records.extend(Side::BOTH.map(|s| Record::Overflow(s, *from, *to, *s.of(&counts))));
                }
            }
        }
        // A pause or an overflow is told before what arrives at that instant.
        records.sort_by_key(|r| (r.at(), matches!(r, Record::Packet(..))));
        let first = records.iter().find(|r| matches!(r, Record::Packet(..))).map_or(0, Record::at);
        Self { said, paths, records, start: first, blind, unseen }
    }

    /// Where an instant of true time stands on the axis, in ticks.
    pub const fn tick(&self, at: i64) -> i64 {
        (at - self.start) * 48 / 1_000_000
    }

    /// Where a packet's first sample stands in truth.
    pub fn truth(&self, side: Side, index: usize) -> i64 {
        let said = &side.of(&self.said)[index];
        self.tick(said.from + side.of(&self.paths).least(said.sent))
    }

    /// The packets of a side that were captured, in order of arrival; copies too.
    pub fn captured(&self, side: Side) -> impl Iterator<Item = Carried> {
        self.records.iter().filter_map(move |r| match r {
            Record::Packet(s, carried) if *s == side => Some(*carried),
            _ => None,
        })
    }

    /// Which packets of a side were captured.
    pub fn heard(&self, side: Side) -> HashSet<usize> {
        self.captured(side).map(|c| c.index).collect()
    }

    /// What must be counted.
    pub fn tally(&self, side: Side) -> Tally {
        let said = side.of(&self.said);
        let (mut tally, mut seen, mut sources) = (Tally::default(), HashSet::new(), HashSet::new());
        let mut highest: HashMap<u32, i64> = HashMap::new();
        for Carried { index, .. } in self.captured(side) {
            tally.packets += 1;
            if !seen.insert(index) {
                tally.duplicates += 1;
                continue;
            }
            sources.insert(said[index].ssrc);
            let highest = highest.entry(said[index].numbering).or_insert(i64::MIN);
            tally.reordered += u64::from(said[index].number < *highest);
            *highest = (*highest).max(said[index].number);
        }
        tally.lost = self.holes(side).iter().map(|h| h.packets).sum();
        tally.sources = sources.len() as u64;
        // Comfort noise and events of another clock than the speech they stand in are of no account.
        let mut runs: HashMap<u32, (u32, u32)> = HashMap::new();
        let mut seen: Vec<usize> = seen.into_iter().collect();
        seen.sort_unstable();
        for said in seen.into_iter().map(|i| &said[i]) {
            let run = (said.epoch, said.clock_rate);
            let before = *runs.entry(said.ssrc).or_insert(run);
            if said.speech() > 0 || before.1 == run.1 {
                tally.jumps += u64::from(before != run);
                runs.insert(said.ssrc, run);
            }
        }
        tally
    }

    /// Every hole in the numbers of a side, but for those of pauses.
    pub fn holes(&self, side: Side) -> Vec<Hole> {
        let said = side.of(&self.said);
        let arrived = side.of(&self.unseen);
        let mut numbers: BTreeMap<(u32, i64), usize> = BTreeMap::new();
        for index in self.heard(side) {
            numbers.insert((said[index].numbering, said[index].number), index);
        }
        let excused = self.excused(side);
        let pairs = numbers.iter().zip(numbers.iter().skip(1));
        pairs
            .filter(|((a, _), (b, _))| a.0 == b.0 && b.1 > a.1 + 1 && !excused.contains(b))
            .map(|((_, a), (_, b))| Hole {
                between: (*a, *b),
                packets: (b - a - 1) as u64,
                arrived: (a + 1..*b).filter(|i| arrived.contains(i)).count() as u64,
            })
            .collect()
    }

    /// The first packet of each numbering that is behind all that were captured before a pause.
    fn excused(&self, side: Side) -> HashSet<(u32, i64)> {
        let said = side.of(&self.said);
        let mut excused = HashSet::new();
        for (_, from, _) in self.blind.iter().filter(|(w, ..)| *w == Blind::Paused) {
            let mut highest: HashMap<u32, i64> = HashMap::new();
            let mut next: HashMap<u32, i64> = HashMap::new();
            for carried in self.captured(side).filter(|c| c.at < *from) {
                let s = &said[carried.index];
                let highest = highest.entry(s.numbering).or_insert(s.number);
                *highest = (*highest).max(s.number);
            }
            for index in self.heard(side) {
                let s = &said[index];
                if highest.get(&s.numbering).is_some_and(|h| s.number > *h) {
                    let next = next.entry(s.numbering).or_insert(s.number);
                    *next = (*next).min(s.number);
                }
            }
            excused.extend(next);
        }
        excused
    }
}
