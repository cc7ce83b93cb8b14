//! The program: loaded once per process, attached to the interfaces that media come through. Main thread, at start.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{ArrayOfMaps, Map, MapData};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use super::{Express, LONGEST, SHORTEST};
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
/// Why an interface does not take it where it has one already.
pub const TAKEN: &str = "there is another XDP program, which is left alone";
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

/// The program, attached as long as this lives.
#[derive(Debug)]
pub struct Program(Ebpf);

impl Program {
    /// Attaches it to all of `interfaces`, by their names, or to none. Gives where, in words. `any`: behind the driver, too,
    /// where the mode leaves it open.
    pub fn attach(&mut self, interfaces: &[String], mode: Mode, any: bool) -> Result<Vec<String>, String> {
        let modes: &[(XdpMode, &str)] = match mode {
            Mode::Auto if any => &[(XdpMode::Driver, "driver"), (XdpMode::Skb, "generic")],
            Mode::Auto | Mode::Driver => &[(XdpMode::Driver, "driver")],
            Mode::Generic => &[(XdpMode::Skb, "generic")],
        };
        let express = self.express()?;
        let (mut attached, mut links) = (Vec::new(), Vec::new());
        for interface in interfaces {
            let mut said = Vec::new();
            for (mode, name) in modes {
                match express.attach(interface, *mode) {
                    Ok(link) => {
                        attached.push(format!("{interface} ({name})"));
                        links.push(link);
                    }
                    Err(e) => {
                        said.push(format!("{name}: {}", refused(&e)));
                        continue;
                    }
                }
                said.clear();
                break;
            }
            if !said.is_empty() {
                // Or the next try would find them taken, by this one.
                links.into_iter().for_each(|link| drop(express.detach(link)));
                return Err(format!("{interface} does not take it ({})", said.join("; ")));
            }
        }
        Ok(attached)
    }

    /// The program's descriptor, to run it without an interface.
    pub fn descriptor(&mut self) -> std::io::Result<std::os::fd::OwnedFd> {
        let program = self.express().map_err(std::io::Error::other)?;
        program.fd().map_err(std::io::Error::other)?.as_fd().try_clone_to_owned()
    }

    fn express(&mut self) -> Result<&mut Xdp, String> {
        let program = self.0.program_mut("express").and_then(|p| p.try_into().ok());
        program.ok_or_else(|| "its program is not the one that is expected".into())
    }
}

/// Loads it. Gives an end for each worker; or a sentence says why there is no express lane.
pub fn load(plan: &Plan<'_>) -> Result<(Program, Vec<Express>), String> {
    if !MISSING.is_empty() {
        return Err(MISSING.into());
    }
    let most = plan.workers.checked_mul(plan.slots).ok_or("too many rows")?;
    let expiry = u64::try_from(plan.expiry.as_nanos()).unwrap_or(u64::MAX);
    let program = EbpfLoader::new()
        .map_max_entries("rows", most)
        .map_max_entries("places", most)
        .map_max_entries("rings", plan.workers)
        .map_max_entries("alive", plan.workers)
        .override_global("EXPIRY_NS", &expiry, true)
        .load(OBJECT)
        .map_err(|e| refused(&e))?;
    let mut program = Program(program);
    program.express()?.load().map_err(|e| refused(&e))?;
    // It holds its maps from now on.
    let workers = ends(&mut program.0, plan, most).map_err(|e| refused(&*e))?;
    Ok((program, workers))
}

/// Each worker's end.
fn ends(program: &mut Ebpf, plan: &Plan<'_>, rows: u32) -> Result<Vec<Express>, Box<dyn std::error::Error>> {
    let mut map = |name: &str| program.take_map(name).ok_or_else(|| format!("there is no map {name}"));
    let (Map::Array(shared), Map::Array(alive), Map::HashMap(places)) =
        (map("rows")?, map("alive")?, map("places")?)
    else {
        return Err("its maps are not those that are expected".into());
    };
    let mut rings: ArrayOfMaps<MapData> = map("rings")?.try_into()?;
    let shared = Arc::new(SharedArray::map(shared.fd(), rows as usize)?);
    let alive = Arc::new(SharedArray::map(alive.fd(), plan.workers as usize)?);
    let addresses: Arc<[Address]> = plan.addresses.into();
    let mut workers = Vec::new();
    for worker in 0..plan.workers {
        let description = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF, 0, 0, RING, 0);
        let ring = MapData::create(description, "told", None)?;
        rings.set(worker, &ring, 0)?;
        let places = MapData::from_fd(places.fd().as_fd().try_clone_to_owned()?)?;
        workers.push(Express {
            worker,
            base: worker * plan.slots,
            rows: Arc::clone(&shared),
            alive: Arc::clone(&alive),
            places: Map::from_map_data(places)?.try_into()?,
            ring: RingReader::map(ring.fd(), RING as usize)?,
            most: RING as usize / SHORTEST,
            packet: vec![0; LONGEST + SDES],
            addresses: Arc::clone(&addresses),
        });
    }
    Ok(workers)
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
