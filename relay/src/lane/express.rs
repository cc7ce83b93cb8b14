//! Whether there is an express lane beside the socket lane, where it is attached, and why it is not. At start.

use std::io;
use std::path::Path;

use super::Express;
use super::choice::Choice;
use crate::interface::Interface;
use crate::options::Options;
use crate::settings::Setting;

/// The setting `relay.xdp_mode`: where the express lane's program is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Into the driver; where the lane is demanded and the driver does not take it, behind it.
    Auto,
    /// Into the driver or nowhere.
    Driver,
    /// Behind the driver, where packets are the kernel's already: slower, and every interface takes it.
    Generic,
}

impl Setting for Mode {
    const KIND: &'static str = "\"auto\", \"driver\" or \"generic\"";
    fn read(value: &toml_edit::Value) -> Result<Self, String> {
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("driver") => Ok(Self::Driver),
            Some("generic") => Ok(Self::Generic),
            _ => Err(format!("expected {}", Self::KIND)),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::Auto => "\"auto\"",
            Self::Driver => "\"driver\"",
            Self::Generic => "\"generic\"",
        }
        .into()
    }
}

/// The express lane of a process, or why there is none.
#[derive(Debug, Default)]
pub struct Opened {
    /// Each worker's end; empty where there is none.
    pub ends: Vec<Express>,
    /// Where it is attached, or why there is none; a clause.
    pub reason: String,
    /// What has to live as long as the lane is to.
    #[cfg(feature = "xdp")]
    pub program: Option<super::xdp::program::Program>,
}

/// Opens the express lane of the relay with this state directory (with none it is pinned nowhere) for so many workers of so many slots, if the settings want it; `attach` it now, or later by
/// [`Opened::attach`]. An error only where it is demanded and cannot be.
pub fn open(
    options: &Options,
    state: Option<&Path>,
    interfaces: &[Interface],
    workers: usize,
    slots: u32,
    attach: bool,
) -> io::Result<Opened> {
    if let Choice::Only(_) = options.lane {
        return Ok(Opened::default());
    }
    let opened = try_open(options, state, interfaces, workers, slots).and_then(|mut opened| {
        if attach {
            opened.attach(options, interfaces)?;
        }
        Ok(opened)
    });
    match opened {
        Ok(opened) => Ok(opened),
        Err(why) if options.lane == Choice::Express => {
            Err(io::Error::other(format!("relay.lane = \"xdp\", but there is no express lane: {why}")))
        }
        Err(why) => Ok(Opened { reason: format!("no express lane: {why}"), ..Opened::default() }),
    }
}

#[cfg(not(feature = "xdp"))]
fn try_open(_: &Options, _: Option<&Path>, _: &[Interface], _: usize, _: u32) -> Result<Opened, String> {
    Err("this relay was built without it".into())
}

#[cfg(not(feature = "xdp"))]
impl Opened {
    /// There is nothing to attach.
    pub fn attach(&mut self, _: &Options, _: &[Interface]) -> Result<(), String> {
        Ok(())
    }

    /// Nothing.
    pub const fn keeps(&self) -> bool {
        false
    }

    /// There is nothing to wait for.
    pub const fn may_pass(_: &str) -> bool {
        false
    }
}

#[cfg(feature = "xdp")]
fn try_open(
    options: &Options,
    state: Option<&Path>,
    interfaces: &[Interface],
    workers: usize,
    slots: u32,
) -> Result<Opened, String> {
    use std::time::Duration;

    use super::xdp::program::{Plan, load};

    // Found out before anything is loaded, which takes a while.
    names(options, interfaces)?;
    let addresses: Vec<_> = interfaces.iter().flat_map(|i| i.addresses.iter().copied()).collect();
    let workers = u32::try_from(workers).map_err(|e| e.to_string())?;
    let expiry = Duration::from_secs(options.xdp_expiry_seconds.into());
    let pins = state.and_then(|state| pins(options, state));
    let (program, ends) = load(&Plan { workers, slots, addresses: &addresses, expiry }, pins)?;
    Ok(Opened { ends, reason: String::new(), program: Some(program) })
}

/// Where the lane of the relay with this state directory is pinned, if anywhere.
#[cfg(feature = "xdp")]
fn pins(options: &Options, state: &Path) -> Option<super::xdp::pins::Pins> {
    let root = Some(Path::new(&options.xdp_pins)).filter(|root| !root.as_os_str().is_empty())?;
    super::xdp::pins::Pins::below(root, state).ok()
}

/// The interfaces that the settings name, or else those that have the addresses of media.
#[cfg(feature = "xdp")]
fn names(options: &Options, interfaces: &[Interface]) -> Result<Vec<String>, String> {
    if !options.xdp_interfaces.is_empty() {
        return Ok(options.xdp_interfaces.clone());
    }
    let addresses: Vec<_> = interfaces.iter().flat_map(|i| &i.addresses).map(|a| a.bound).collect();
    let found = crate::sys::interfaces::having(&addresses).map_err(|e| e.to_string())?;
    let generic = options.xdp_mode == Mode::Generic
        || options.xdp_mode == Mode::Auto && options.lane == Choice::Express;
    match found.iter().find(|(_, loopback)| *loopback) {
        Some((name, _)) if !generic => Err(format!("{name} has no driver that could take it")),
        _ if found.is_empty() => Err("no interface has the addresses of media".into()),
        _ => Ok(found.into_iter().map(|(name, _)| name).collect()),
    }
}

#[cfg(feature = "xdp")]
impl Opened {
    /// Attaches it.
    pub fn attach(&mut self, options: &Options, interfaces: &[Interface]) -> Result<(), String> {
        let Some(program) = &mut self.program else { return Ok(()) };
        let demanded = options.lane == Choice::Express;
        let attached = program.attach(&names(options, interfaces)?, options.xdp_mode, demanded)?;
        self.reason = format!("express lane on {}", attached.join(", "));
        Ok(())
    }

    /// Whether calls on it outlive the process.
    pub fn keeps(&self) -> bool {
        self.program.as_ref().is_some_and(super::xdp::program::Program::is_pinned)
    }

    /// Whether what [`Self::attach`] said may be otherwise soon: another program may go.
    pub fn may_pass(why: &str) -> bool {
        why.contains(super::xdp::program::TAKEN)
    }
}

/// Unpins the express lane of a relay that stops, unless calls are on it: these go on until a relay is started again, or till
/// they expire.
#[cfg(feature = "xdp")]
pub fn leave(options: &Options, state: &Path) {
    let Some(pins) = pins(options, state) else { return };
    match super::xdp::program::calls(&pins) {
        None => {}
        Some(0) => pins.remove(),
        Some(count) => tracing::warn!(
            "{count} promoted call(s) go on without a relay, for {} seconds or until one is started; to end them: rm -r {}",
            options.xdp_expiry_seconds,
            pins.folder().display()
        ),
    }
}

/// Takes away what is pinned of another relay with this state directory: this one has no express lane that could go on with it.
#[cfg(feature = "xdp")]
pub fn unpin(options: &Options, state: &Path) {
    pins(options, state).iter().for_each(super::xdp::pins::Pins::remove);
}

/// There is nothing that this relay knows of.
#[cfg(not(feature = "xdp"))]
pub const fn unpin(_: &Options, _: &Path) {}

/// There is nothing to unpin.
#[cfg(not(feature = "xdp"))]
pub const fn leave(_: &Options, _: &Path) {}
