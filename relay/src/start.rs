//! How the relay begins: from nothing, or where a running one is. A module of the binary; main thread, before serving.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context;
use relay::engine::Spans;
use relay::handover::revive::Revived;
use relay::handover::{self, Keeper, Offer, Taken};
use relay::interface::{Address, Interface};
use relay::lane::express::{self, Opened};
use relay::lane::{self, LaneKind, Pace};
use relay::options::Options;
use relay::ports::Ports;
use relay::program::message::Stats;
use relay::server::{Limits, Setup};
use relay::settings::PortRange;
use relay::sys::limits;
use relay::worker::{self, Beginning, Handle, Plan};
use relay::{sys, tap};

/// How long another relay's process may take to end.
const DETACHED: Duration = Duration::from_secs(3);

/// Where the relay is reached: the programming socket twice (one is for whoever takes over), and that of upgrades.
struct Listeners {
    programming: [UnixListener; 2],
    upgrade: UnixListener,
}

/// What both beginnings need, made from the settings: nothing that others could notice.
struct Ground {
    lane: LaneKind,
    reason: String,
    cores: Vec<usize>,
    interfaces: Vec<Interface>,
    ports: Ports,
    /// Open files allowed.
    files: u64,
    spans: Spans,
    pace: Pace,
    pin: bool,
    express: Opened,
    missing: Vec<String>,
}

impl Ground {
    fn lay(options: &Options) -> anyhow::Result<Self> {
        let (lane, reason) = lane::choose(options.lane)?;
        tracing::info!("lane {}: {reason}", lane.name());
        let cores = limits::cores()?;
        let files = limits::raise_open_files()?;
        let interfaces = options.interfaces();
        let seed = getrandom::u64().context("no random numbers")?;
        let rest_ns = u64::from(options.port_rest_seconds) * 1_000_000_000;
        let ports = Ports::new(&interfaces, rest_ns, options.receive_buffer_kib as usize * 1024, seed);
        let spans = Spans {
            learn_window_ns: u64::from(options.learn_window_ms) * 1_000_000,
            silence_ns: u64::from(options.silence_seconds) * 1_000_000_000,
        };
        let pace = match options.busy_poll_us {
            0 => Pace::Gather(Duration::from_micros(options.gather_us.into())),
            span => Pace::BusyPoll(Duration::from_micros(span.into())),
        };
        let (pin, missing) = (options.pin, Vec::new());
        let express = Opened::default();
        Ok(Self { lane, reason, cores, interfaces, ports, files, spans, pace, pin, express, missing })
    }

    /// Opens the express lane, if it is wanted; `attach` it now, or by [`Self::attach`].
    fn open_express(
        &mut self,
        options: &Options,
        state: &Path,
        workers: usize,
        slots: u32,
        attach: bool,
    ) -> anyhow::Result<()> {
        self.express = express::open(options, Some(state), &self.interfaces, workers, slots, attach)?;
        // Workers take theirs from the end.
        self.express.ends.reverse();
        Ok(())
    }

    /// Takes what a relay left that was killed; none if nothing can be gone on with.
    fn revive(&mut self, options: &Options) -> Option<Revived> {
        let Self { interfaces, express, .. } = self;
        let dscp = |local: SocketAddr| {
            let mut addresses = interfaces.iter().flat_map(|i| &i.addresses);
            addresses.find(|a| a.bound == local.ip()).map_or(options.dscp, |address| address.dscp)
        };
        let bind = |local| sys::socket::bind(local, options.receive_buffer_kib as usize * 1024, dscp(local));
        Revived::find(express, bind)
    }

    /// Attaches the express lane where another relay had its own until now: it goes with that one's process.
    fn attach(&mut self, options: &Options) {
        let end = Instant::now() + DETACHED;
        while let Err(why) = self.express.attach(options, &self.interfaces) {
            if Instant::now() >= end || !Opened::may_pass(&why) {
                self.express.reason = format!("no express lane: {why}");
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Slots of each of so many workers.
    fn sockets(&self, workers: usize) -> anyhow::Result<u32> {
        // Registered files count against the limit per ring, and each worker may come to serve every call.
        // A little more than there are ports: the slots of a closed call come back a moment after its ports.
        let own = limits::own_files(workers);
        let sockets = self.files.saturating_sub(own).min(2 * self.ports.total() as u64 + own);
        u32::try_from(sockets).context("too many sockets")
    }

    fn worker(&mut self, index: usize, sockets: u32, beginning: Beginning) -> anyhow::Result<Handle> {
        let core = self.cores.get(index).copied().filter(|_| self.pin);
        let express = self.express.ends.pop();
        let Self { lane, spans, pace, .. } = *self;
        let plan = Plan { index, core, lane, pace, sockets, beginning, spans, express };
        let (handle, pinned) = worker::start(plan).with_context(|| format!("worker {index} cannot start"))?;
        if let Err(e) = pinned {
            self.missing.push(format!("worker {index} is not pinned to a core: {e}"));
        }
        Ok(handle)
    }

    /// Starts the threads that recorders and new relays are served by, and gives what the server starts with.
    fn finish(
        self,
        options: &Options,
        workers: Vec<Handle>,
        sockets: u32,
        listeners: Listeners,
        host: tap::Host,
        epoch: u64,
    ) -> anyhow::Result<Setup> {
        let Self { lane, mut reason, interfaces, ports, files, express, mut missing, .. } = self;
        if !express.reason.is_empty() {
            tracing::info!("{}", express.reason);
            reason = format!("{reason}; {}", express.reason);
        }
        missing.extend(limits::missing(files, ports.total(), workers.len()));
        missing.iter().for_each(|m| tracing::info!("{m}"));
        let Listeners { programming: [listener, programming], upgrade } = listeners;
        let (tell, recorder) = tokio::sync::mpsc::unbounded_channel();
        let (ask, freezes) = tokio::sync::mpsc::unbounded_channel();
        let host = Arc::new(host);
        let keeper =
            Keeper { listener: upgrade, programming, host: Arc::clone(&host), epoch, sockets, freezes: ask };
        std::thread::Builder::new().name("tap".into()).spawn(move || {
            let _guard = worker::EndsWithProcess;
            let attached = |attached| {
                // The server is gone only when the process ends.
                let _ = tell.send(attached);
            };
            if let Err(e) = host.serve(attached) {
                tracing::error!("no recorder can attach any more: {e}");
            }
        })?;
        std::thread::Builder::new().name("upgrade".into()).spawn(move || {
            let _guard = worker::EndsWithProcess;
            keeper.serve();
        })?;
        let stats = Stats { lane: lane.name().into(), lane_reason: reason, missing, ..Stats::default() };
        for Interface { name, addresses } in &interfaces {
            for Address { bound, ports: PortRange { first, last }, dscp, .. } in addresses {
                tracing::info!("interface {name}: {bound} ports {first}-{last}, DSCP {dscp}");
            }
        }
        tracing::info!("ready: {} worker(s), {} port pairs", workers.len(), ports.total());
        let interfaces = interfaces.iter().map(Interface::told).collect();
        let limits = Limits {
            calls: options.max_calls,
            packets_per_second: options.max_packets_per_second,
            cpu_percent: options.max_cpu_percent,
        };
        Ok(Setup {
            listener,
            workers,
            ports,
            limits,
            interfaces,
            epoch,
            stats,
            recorder,
            freezes,
            taken_over: None,
            express,
        })
    }
}

/// Begins without calls.
pub fn fresh(options: &Options, state: &Path) -> anyhow::Result<Setup> {
    let run = state.join("run");
    let listen =
        |name: &str| sys::unix::listen(&run.join(name)).with_context(|| format!("{name} cannot be opened"));
    let listener = listen("relay.sock")?;
    let epoch = getrandom::u64().context("no random numbers")?;
    let mut ground = Ground::lay(options)?;
    let count = options.workers_of(ground.cores.len());
    let sockets = ground.sockets(count)?;
    ground.open_express(options, state, count, sockets, true)?;
    if !ground.express.keeps() {
        express::unpin(options, state);
    }
    let mut revived = ground.revive(options);
    let (mut workers, mut rings, mut steps, mut writers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for index in 0..count {
        let capacity = options.tap_ring_mib as usize * 1024 * 1024;
        let (tap, ring) = tap::create(capacity, epoch).context("the tap ring cannot be made")?;
        let beginning = if revived.is_some() {
            let (sender, receiver) = mpsc::channel();
            steps.push(sender);
            writers.push((tap, ring.try_clone()?));
            Beginning::TakeOver(receiver, epoch)
        } else {
            Beginning::Fresh(tap)
        };
        rings.push(ring);
        workers.push(ground.worker(index, sockets, beginning)?);
    }
    let mut server = None;
    if let Some(mut revived) = revived.take() {
        server = revived.server.take();
        server.iter_mut().for_each(|server| server.settle(&mut ground.ports));
        tracing::warn!("{} promoted call(s) of a relay that ended in mid-call go on", revived.calls());
        revived.hand_over(&steps, writers)?;
    }
    let upgrade = listen("upgrade.sock")?;
    let host = tap::Host::bind(&run.join("tap.sock"), rings, epoch).context("tap.sock cannot be opened")?;
    let listeners = Listeners { programming: [listener.try_clone()?, listener], upgrade };
    let setup = ground.finish(options, workers, sockets, listeners, host, epoch)?;
    Ok(Setup { taken_over: server.map(|server| (server, Vec::new())), ..setup })
}

/// Begins with everything that the relay running in this state directory has.
pub fn take_over(options: &Options, state: &Path) -> anyhow::Result<Setup> {
    let mut ground = Ground::lay(options)?;
    let offer = Offer::ask(&state.join("run"))?;
    let handover::Welcome { program, epoch, workers: count, sockets } = offer.welcome.clone();
    tracing::info!("taking over from {program}");
    if count != options.workers_of(ground.cores.len()) {
        tracing::warn!(
            "there stay {count} worker(s), whatever relay.workers says: their tap rings are taken over; a start from nothing changes it"
        );
    }
    let sockets = ground.sockets(count)?.max(sockets);
    ground.open_express(options, state, count, sockets, false)?;
    let (mut workers, mut steps) = (Vec::new(), Vec::new());
    for index in 0..count {
        let (sender, receiver) = mpsc::channel();
        steps.push(sender);
        workers.push(ground.worker(index, sockets, Beginning::TakeOver(receiver, epoch))?);
    }
    let Taken { programming, tap, upgrade, rings, recorder, server, connections, calls, still } =
        offer.take(&steps, |server| server.settle(&mut ground.ports))?;
    // From here on there is no way back, and nobody else who forwards.
    ground.attach(options);
    if !ground.express.keeps() {
        express::unpin(options, state);
    }
    let done = format!("{} took over {calls} call(s) from {program} in {still:.1?}", handover::name());
    let host = tap::Host::resume(tap, rings, epoch, recorder);
    let setup = ground.finish(options, workers, sockets, Listeners { programming, upgrade }, host, epoch)?;
    tracing::info!("{done}");
    // Whoever wanted to know may be gone.
    let _ = writeln!(std::io::stdout(), "{done}");
    Ok(Setup { taken_over: Some((server, connections)), ..setup })
}
