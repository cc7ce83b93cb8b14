//! Calls at a relay that is programmed directly, in control's place.

use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use relay::program::Client;
use relay::program::message::{
    CallKey, Clock, Family, LegMedia, LocalPorts, PayloadTypes, Place, Remote, Reply, Request, Stream,
};
use tokio::runtime::{Builder, Runtime};

use super::ng::Fault;
use super::options::Format;
use super::proxy::Failure;
use super::timing::{Timing, Verb};
use super::traffic::Ends;

/// The programming connection, with a runtime of its own: one request at a time.
pub struct Programmer {
    runtime: Runtime,
    client: Client,
    format: Format,
    open: HashMap<u32, CallKey>,
    /// How long opens and closes took.
    pub timing: Timing,
}

impl Programmer {
    /// Connects to the relay at `socket`.
    pub fn connect(socket: &Path, format: Format) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (client, _events) = runtime.block_on(Client::connect(socket)).context(
            "a relay takes one control: stop bauta-control first; its socket is STATE/run/relay.sock",
        )?;
        Ok(Self { runtime, client, format, open: HashMap::new(), timing: Timing::default() })
    }

    /// Opens the call `number` between two parties, who receive at `ours`; where each is to send to.
    pub fn open(&mut self, number: u32, ours: [Ends; 2]) -> Result<[Ends; 2], Failure> {
        let fail = |reason: String| Failure { verb: Verb::Offer, fault: Fault::Refused(reason) };
        let call = CallKey(getrandom::u64().map_err(|e| fail(e.to_string()))?);
        let legs = ours.map(|ends| self.leg(ends));
        let streams = vec![Stream { legs, ..Stream::default() }];
        let request = Request::Open { call, blob: Vec::new(), max_seconds: 0, label: None, streams };
        let start = Instant::now();
        let reply = self.runtime.block_on(self.client.ask(request)).map_err(|e| fail(e.to_string()))?;
        let took = start.elapsed();
        let ports = match reply {
            Reply::Opened(ports) => ports.first().copied(),
            _ => None,
        };
        self.timing.record(Verb::Offer, took);
        self.timing.record(Verb::SetUp, took);
        self.open.insert(number, call);
        Ok(ports.ok_or_else(|| fail("it gave no ports".into()))?.map(ends))
    }

    /// Closes the call `number`; nothing happens to one that is not open.
    pub fn close(&mut self, number: u32) -> Result<(), Failure> {
        let Some(call) = self.open.remove(&number) else { return Ok(()) };
        let ask = self.client.ask(Request::Close { call, label: None });
        let closed = self.timing.time(Verb::Delete, || self.runtime.block_on(ask));
        let fail = |reason: String| Failure { verb: Verb::Delete, fault: Fault::Refused(reason) };
        closed.map(drop).map_err(|e| fail(e.to_string()))
    }

    fn leg(&self, ends: Ends) -> LegMedia {
        let accepts = PayloadTypes::NONE.with(self.format.payload_type());
        let mut media = LegMedia {
            place: Place { interface: 0, family: Family::of(ends.rtp.ip()) },
            remote: Some(Remote { rtp: ends.rtp, rtcp: ends.rtcp }),
            accepts,
            ..LegMedia::default()
        };
        if let Some(clock) = media.clocks.first_mut() {
            *clock = Clock { payload_types: accepts, hz: self.format.clock() };
        }
        media
    }
}

fn ends(ports: LocalPorts) -> Ends {
    let at = |port| std::net::SocketAddr::new(ports.address, port);
    Ends { rtp: at(ports.rtp), rtcp: at(ports.rtcp) }
}
