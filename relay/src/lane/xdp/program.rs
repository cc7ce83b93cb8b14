//! The program: loaded once per process, attached to the interfaces that media come through. Main thread, at start.
//!
//! Maps and links are pinned where the settings say. A relay that is started where another one was killed takes the pinned maps,
//! and puts its own program into the pinned links: no packet meets a device without one.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{ArrayOfMaps, HashMap, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::XdpLink;
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use super::ledger::{Ledger, Title};
use super::pins::Pins;
use super::rows::SharedRow;
use super::{Express, LONGEST, SHORTEST, occupant};
use crate::call::CallKey;
use crate::interface::Address;
use crate::lane::express::Mode;
use crate::rewrite::rtcp::SDES;
use crate::sys::bpf::{RingReader, SharedArray};

/// Compiled by the build; empty where that could not be.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/express.o"));
/// Why it could not be compiled; empty where it was.
const MISSING: &str = env!("BAUTA_EXPRESS_MISSING");
/// Bytes of a worker's ring: what is told in half a second of 100,000 recorded packets a second.
const RING: u32 = 16 << 20;
/// Why an interface does not take it where it has one already; begins a clause.
pub const TAKEN: &str = "there is another XDP program";
/// The maps that the program names, and the ledger.
const MAPS: [&str; 4] = ["rows", "places", "rings", "alive"];
const LEDGER: &str = "ledger";
/// Of the kernel's `bpf_map_type`.
const BPF_MAP_TYPE_RINGBUF: u32 = 27;

/// What is loaded.
#[derive(Debug)]
pub struct Plan<'a> {
    /// How many workers there are, and slots of each.
    pub workers: u32,
    /// Slots of each.
    pub slots: u32,
    /// Addresses of media sockets.
    pub addresses: &'a [Address],
    /// After so long without a sign of their worker rows are executed no more.
    pub expiry: Duration,
}

/// The program, attached as long as this lives; where it is pinned, longer.
#[derive(Debug)]
pub struct Program {
    kernel: Ebpf,
    pins: Option<Pins>,
    /// Maps that are to be pinned once it is attached, with their names; none where they are already.
    to_pin: Vec<(String, MapData)>,
    /// What it found of a relay that was killed.
    left: Option<Left>,
}

/// What a relay left that was killed: its promoted calls, and every row that the kernel has.
#[derive(Debug)]
pub struct Left {
    /// How it named things.
    pub title: Title,
    /// What it knew of each call.
    pub calls: Vec<(CallKey, Vec<u8>)>,
    ledger: Ledger,
    rows: Arc<SharedArray<SharedRow>>,
    places: HashMap<MapData, [u8; 20], u32>,
}

impl Left {
    /// Takes away what nobody goes on with: all rows but `rows` (by worker and slot), and all calls but `calls`, of which each
    /// belongs to a worker.
    pub fn clear(
        mut self,
        rows: &std::collections::HashSet<(u32, u32)>,
        calls: &[(CallKey, u32)],
        ends: &mut [Express],
    ) {
        let slots = self.title.slots.max(1);
        let places: Vec<_> = self.places.iter().flatten().collect();
        for (place, name) in places {
            if !rows.contains(&(name / slots, name % slots)) {
                let row = self.rows.get(name as usize);
                row.into_iter().for_each(|row| {
                    row.rest();
                    row.free();
                });
                // It was there a moment ago, and nobody else takes any away.
                let _ = self.places.remove(&place);
            }
        }
        for (call, worker) in calls {
            if let Some(ledger) =
                ends.iter_mut().find(|e| e.worker == *worker).and_then(|e| e.ledger.as_mut())
            {
                self.ledger.give(*call, ledger);
            }
        }
        self.calls.iter().for_each(|(call, _)| self.ledger.forget(*call));
    }
}

impl Program {
    /// What a relay left that was killed, once. Not to be asked for while one runs that is pinned there.
    pub fn left(&mut self) -> Option<Left> {
        let mut left = self.left.take()?;
        left.calls = left.ledger.read();
        Some(left)
    }

    /// Attaches it to all of `interfaces`, by their names, or to none. Gives where, in words. `any`: behind the driver, too,
    /// where the mode leaves it open.
    pub fn attach(&mut self, interfaces: &[String], mode: Mode, any: bool) -> Result<Vec<String>, String> {
        let modes: &[(XdpMode, &str)] = match mode {
            Mode::Auto if any => &[(XdpMode::Driver, "driver"), (XdpMode::Skb, "generic")],
            Mode::Auto | Mode::Driver => &[(XdpMode::Driver, "driver")],
            Mode::Generic => &[(XdpMode::Skb, "generic")],
        };
        let (mut attached, mut links) = (Vec::new(), Vec::new());
        if let Err(why) = self.pin_maps() {
            attached.push(format!("not pinned ({why})"));
        }
        let pins = self.pins.clone();
        let express = self.express()?;
        for interface in interfaces {
            if pins.as_ref().is_some_and(|pins| relink(express, pins, interface)) {
                attached.push(format!("{interface} (pinned)"));
                continue;
            }
            let mut said = Vec::new();
            for (mode, name) in modes {
                match express.attach(interface, *mode) {
                    Ok(link) => {
                        attached.push(format!("{interface} ({name})"));
                        links.push((interface, link));
                    }
                    Err(e) => {
                        said.push(format!("{name}: {}", refused_by(interface, &e)));
                        continue;
                    }
                }
                said.clear();
                break;
            }
            if !said.is_empty() {
                // Or the next try would find them taken, by this one.
                links.into_iter().for_each(|(_, link)| drop(express.detach(link)));
                return Err(format!("{interface} does not take it ({})", said.join("; ")));
            }
        }
        if let Some(pins) = &pins {
            pins.keep_links(interfaces);
            for (interface, link) in links {
                let link = express.take_link(link).map_err(|e| refused(&e))?;
                let link = FdLink::try_from(link).map_err(|e| refused(&e))?;
                // It lives on in its pin.
                let pinned = link.pin(pins.link(interface));
                drop(pinned.map_err(|e| format!("it cannot be pinned: {}", refused(&e)))?);
            }
        }
        Ok(attached)
    }

    /// Whether it outlives the process.
    pub const fn is_pinned(&self) -> bool {
        self.pins.is_some()
    }

    /// Pins the maps that are not pinned yet, the ledger last. What was pinned there is another relay's, which is gone or about
    /// to go. Where nothing can be pinned, nothing is from then on.
    fn pin_maps(&mut self) -> Result<(), String> {
        if self.to_pin.is_empty() {
            return Ok(());
        }
        let Some(pins) = self.pins.take() else { return Ok(()) };
        pins.remove();
        let said = |e: &dyn std::fmt::Display| format!("{}: {e}", pins.folder().display());
        pins.make().map_err(|e| said(&e))?;
        for (name, map) in self.to_pin.drain(..) {
            if let Err(e) = map.pin(pins.map(&name)) {
                pins.remove();
                return Err(said(&refused(&e)));
            }
        }
        self.pins = Some(pins);
        Ok(())
    }

    /// The program's descriptor, to run it without an interface.
    pub fn descriptor(&mut self) -> std::io::Result<std::os::fd::OwnedFd> {
        let program = self.express().map_err(std::io::Error::other)?;
        program.fd().map_err(std::io::Error::other)?.as_fd().try_clone_to_owned()
    }

    fn express(&mut self) -> Result<&mut Xdp, String> {
        let program = self.kernel.program_mut("express").and_then(|p| p.try_into().ok());
        program.ok_or_else(|| "its program is not the one that is expected".into())
    }
}

/// Puts the program into an interface's pinned link, if there is one that is still attached.
fn relink(express: &mut Xdp, pins: &Pins, interface: &str) -> bool {
    let path = pins.link(interface);
    if !path.exists() {
        return false;
    }
    let link =
        PinnedLink::from_pin(&path).ok().map(FdLink::from).and_then(|link| XdpLink::try_from(link).ok());
    let linked = link.is_some_and(|link| express.attach_to_link(link).is_ok());
    if !linked {
        // The interface went, and came again without it.
        let _ = std::fs::remove_file(path);
    }
    linked
}

/// Loads it. Gives an end for each worker; or a sentence says why there is no express lane. With `pins`, what is pinned there is
/// gone on with, if it is of the same shape.
pub fn load(plan: &Plan<'_>, pins: Option<Pins>) -> Result<(Program, Vec<Express>), String> {
    if !MISSING.is_empty() {
        return Err(MISSING.into());
    }
    let most = plan.workers.checked_mul(plan.slots).ok_or("too many rows")?;
    let expiry = u64::try_from(plan.expiry.as_nanos()).unwrap_or(u64::MAX);
    let title = Title::new(plan.workers, plan.slots, plan.addresses.iter().map(|a| a.bound).collect());
    let left = pins.as_ref().and_then(|pins| {
        let ledger = Ledger::of(MapData::from_pin(pins.map(LEDGER)).ok()?).ok()?;
        let theirs = ledger.title()?;
        title.understands(&theirs).then_some((pins, ledger, theirs))
    });
    let mut loader = EbpfLoader::new();
    loader
        .map_max_entries("rows", most)
        .map_max_entries("places", most)
        .map_max_entries("rings", plan.workers)
        .map_max_entries("alive", plan.workers)
        .override_global("EXPIRY_NS", &expiry, true);
    if let Some((pins, ..)) = &left {
        for name in MAPS {
            loader.map_pin_path(name, pins.map(name));
        }
    }
    let mut kernel = loader.load(OBJECT).map_err(|e| refused(&e))?;
    let program: Result<&mut Xdp, _> = kernel.program_mut("express").ok_or("it has no program")?.try_into();
    program.map_err(|e| refused(&e))?.load().map_err(|e| refused(&e))?;
    // It holds its maps from now on.
    let made = ends(&mut kernel, plan, most, left, &title).map_err(|e| refused(&*e))?;
    let Made { mut ends, mut to_pin, left } = made;
    if pins.is_none() {
        to_pin.clear();
        ends.iter_mut().for_each(|end| end.ledger = None);
    }
    Ok((Program { kernel, pins, to_pin, left }, ends))
}

/// Each worker's end, what is to be pinned, and what was left.
struct Made {
    ends: Vec<Express>,
    to_pin: Vec<(String, MapData)>,
    left: Option<Left>,
}

type Found<'a> = (&'a Pins, Ledger, Title);

fn ends(
    program: &mut Ebpf,
    plan: &Plan<'_>,
    rows: u32,
    found: Option<Found<'_>>,
    title: &Title,
) -> Result<Made, Box<dyn std::error::Error>> {
    let mut to_pin = Vec::new();
    let mut map = |name: &str| program.take_map(name).ok_or_else(|| format!("there is no map {name}"));
    let (Map::Array(shared), Map::Array(alive), Map::HashMap(places)) =
        (map("rows")?, map("alive")?, map("places")?)
    else {
        return Err("its maps are not those that are expected".into());
    };
    let Map::ArrayOfMaps(rings) = map("rings")? else { return Err("its rings are no rings".into()) };
    let array = Arc::new(SharedArray::map(shared.fd(), rows as usize)?);
    let beats = Arc::new(SharedArray::map(alive.fd(), plan.workers as usize)?);
    let addresses: Arc<[Address]> = plan.addresses.into();
    let again = |map: &MapData| -> Result<MapData, Box<dyn std::error::Error>> {
        Ok(MapData::from_fd(map.fd().as_fd().try_clone_to_owned()?)?)
    };
    let pinned = found.as_ref().map(|(pins, ..)| (*pins).clone());
    let mut told = Vec::new();
    if let Some(pins) = &pinned {
        for worker in 0..plan.workers {
            told.push(MapData::from_pin(pins.map(&ring(worker)))?);
        }
    } else {
        to_pin.extend(
            [
                ("rows", again(&shared)?),
                ("places", again(&places)?),
                ("alive", again(&alive)?),
                ("rings", again(&rings)?),
            ]
            .map(|(name, map)| (name.to_owned(), map)),
        );
        let mut rings: ArrayOfMaps<MapData> = Map::ArrayOfMaps(rings).try_into()?;
        for worker in 0..plan.workers {
            let description = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF, 0, 0, RING, 0);
            let map = MapData::create(description, "told", None)?;
            rings.set(worker, &map, 0)?;
            told.push(map);
        }
    }
    let (ledger, theirs) = match found {
        Some((_, ledger, title)) => (ledger, Some(title)),
        None => (Ledger::create(rows.saturating_mul(2).max(1024), title)?, None),
    };
    let mut ends = Vec::new();
    for (worker, map) in (0..plan.workers).zip(told) {
        ends.push(Express {
            worker,
            base: worker * plan.slots,
            rows: Arc::clone(&array),
            alive: Arc::clone(&beats),
            places: Map::from_map_data(again(&places)?)?.try_into()?,
            ring: RingReader::map(map.fd(), RING as usize)?,
            most: RING as usize / SHORTEST,
            packet: vec![0; LONGEST + SDES],
            addresses: Arc::clone(&addresses),
            ledger: Some(Ledger::of(MapData::from_fd(ledger.map()?)?)?),
            executed: Vec::new(),
        });
        to_pin.push((ring(worker), map));
    }
    to_pin.push((LEDGER.into(), MapData::from_fd(ledger.map()?)?));
    let Some(title) = theirs else { return Ok(Made { ends, to_pin, left: None }) };
    let places = Map::from_map_data(places)?.try_into()?;
    // They are pinned already.
    Ok(Made {
        ends,
        to_pin: Vec::new(),
        left: Some(Left { title, calls: Vec::new(), ledger, rows: array, places }),
    })
}

/// How many calls are written down in what is pinned; none where nothing is.
pub fn calls(pins: &Pins) -> Option<usize> {
    let mut ledger = Ledger::of(MapData::from_pin(pins.map(LEDGER)).ok()?).ok()?;
    ledger.title()?;
    Some(ledger.read().len())
}

fn ring(worker: u32) -> String {
    format!("ring{worker}")
}

/// Why an interface does not take it.
fn refused_by(interface: &str, error: &(dyn std::error::Error + 'static)) -> String {
    let why = refused(error);
    if why != TAKEN {
        return why;
    }
    let which = occupant::of(interface).map_or_else(String::new, |which| format!(" ({which})"));
    format!("{TAKEN}{which}, which is left alone")
}

/// What an error means to who reads it.
fn refused(error: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    let code = deepest.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    match code {
        Some(libc::EPERM | libc::EACCES) => {
            "the kernel refuses it: CAP_BPF and CAP_NET_ADMIN are needed".into()
        }
        Some(libc::EBUSY | libc::EEXIST) => TAKEN.into(),
        Some(libc::EOPNOTSUPP) => "its driver has no XDP".into(),
        Some(libc::ENODEV) => "there is no such interface".into(),
        _ => format!("{error}: {deepest}"),
    }
}
