//! The requests about calls: ports are taken before a worker is asked and given back if it refuses, so that nothing
//! stays behind from what did not work.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Server, Shared};
use crate::call::CallKey;
use crate::engine::{NewCall, NewStream};
use crate::ports::Pair;
use crate::program::message::{
    CallCounters, LiveCall, LocalPorts, MAX_LIST, MAX_OPAQUE, MAX_STREAMS, Refusal, Reply, Request, Stats,
    Stream,
};
use crate::sys::clock::Now;
use crate::worker::{Answer, Command};

/// What the server keeps of a call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) worker: usize,
    blob: Vec<u8>,
    opened_ns: u64,
    recorded: bool,
    /// Ports per stream, facing caller and callee.
    pub(super) ports: Vec<[Pair; 2]>,
    /// A command about its streams is under way: the next one must wait for the client to hear of this one.
    busy: bool,
}

type Asked = oneshot::Receiver<Result<Answer, Refusal>>;

async fn answered(asked: Asked) -> Result<Answer, Refusal> {
    asked.await.unwrap_or_else(|_| Err(Refusal::Impossible("the worker is gone".into())))
}

/// Carries a request out.
pub(super) async fn handle(server: &Shared, request: Request) -> Result<Reply, Refusal> {
    match request {
        Request::Open { call, blob, max_seconds, label, streams } => {
            let asked = server.borrow_mut().open(call, blob, max_seconds, label, &streams)?;
            let answer = answered(asked).await;
            let mut server = server.borrow_mut();
            match answer {
                Ok(_) => server.opened(call),
                Err(refusal) => {
                    let pairs = server.forget(call);
                    server.put_back(pairs);
                    Err(refusal)
                }
            }
        }
        Request::Update { call, blob, label, streams } => {
            opaque(blob.as_deref())?;
            let labelled = label.is_some();
            let (asked, added) = server.borrow_mut().update(call, label, &streams)?;
            let answer = answered(asked).await;
            server.borrow_mut().updated(call, answer, blob, labelled, added)
        }
        Request::Tap { call, paused } => {
            let asked = server.borrow_mut().ask(call, Command::Tap { call, paused })?;
            answered(asked).await.map(|_| Reply::Done)
        }
        Request::Close { call, label } => {
            opaque(label.as_deref())?;
            let asked = server.borrow_mut().ask(call, Command::Close { call, label })?;
            let counters = counters(answered(asked).await?)?;
            let mut server = server.borrow_mut();
            let now_ns = Now::read().mono_ns;
            server.forget(call).into_iter().flatten().for_each(|pair| server.ports.give(pair, now_ns));
            Ok(Reply::Closed(counters))
        }
        Request::Read { call } => {
            let asked = server.borrow_mut().ask(call, Command::Read(call))?;
            Ok(Reply::Counters(counters(answered(asked).await?)?))
        }
        Request::List { after } => Ok(Reply::Calls(server.borrow().list(after))),
        Request::Drain { draining } => {
            tracing::info!(
                "{}",
                if draining { "draining: no new calls" } else { "new calls are taken again" }
            );
            server.borrow_mut().gate.drain(draining);
            Ok(Reply::Done)
        }
        Request::Stats => stats(server).await.map(Reply::Stats),
        Request::Hello { .. } | Request::Subscribe => Ok(Reply::Done),
    }
}

fn counters(answer: Answer) -> Result<CallCounters, Refusal> {
    match answer {
        Answer::Counters(counters) => Ok(counters),
        Answer::Done | Answer::Stats(_) => {
            Err(Refusal::Impossible("the worker answered something else".into()))
        }
    }
}

async fn stats(server: &Shared) -> Result<Stats, Refusal> {
    let (asked, mut stats) = {
        let mut server = server.borrow_mut();
        let asked: Vec<Asked> =
            (0..server.workers.len()).map(|w| server.command(w, Command::Stats)).collect();
        let mut stats = server.stats.clone();
        stats.calls = server.calls.len() as u64;
        stats.draining = server.gate.draining();
        stats.interfaces = server.ports.stats(Now::read().mono_ns);
        stats.pairs_free = stats.interfaces.iter().map(|i| i.pairs_free).sum();
        stats.pairs_resting = stats.interfaces.iter().map(|i| i.pairs_resting).sum();
        stats.pairs_total = stats.interfaces.iter().map(|i| i.pairs_total).sum();
        (asked, stats)
    };
    for asked in asked {
        if let Answer::Stats(worker) = answered(asked).await? {
            stats.workers.push(worker);
        }
    }
    Ok(stats)
}

fn opaque(bytes: Option<&[u8]>) -> Result<(), Refusal> {
    match bytes.map_or(0, <[u8]>::len) {
        length if length > MAX_OPAQUE => Err(Refusal::Impossible(format!(
            "a blob or label of {length} bytes; the largest is {MAX_OPAQUE}"
        ))),
        _ => Ok(()),
    }
}

fn stream_count(streams: usize) -> Result<(), Refusal> {
    if (1..=MAX_STREAMS).contains(&streams) {
        Ok(())
    } else {
        Err(Refusal::Impossible(format!("{streams} streams; a call has 1 to {MAX_STREAMS}")))
    }
}

impl Server {
    fn open(
        &mut self,
        call: CallKey,
        blob: Vec<u8>,
        max_seconds: u32,
        label: Option<Vec<u8>>,
        streams: &[Stream],
    ) -> Result<Asked, Refusal> {
        opaque(Some(&blob))?;
        opaque(label.as_deref())?;
        stream_count(streams.len())?;
        if self.calls.contains_key(&call) {
            return Err(Refusal::CallExists);
        }
        self.gate.admits(self.calls.len(), self.balance.sum())?;
        let (ports, streams) = self.take_ports(streams)?;
        let worker = self.balance.least();
        self.balance.opened(worker, streams.len());
        let recorded = label.is_some();
        self.calls.insert(
            call,
            Entry { worker, blob, opened_ns: Now::read().wall_ns, recorded, ports, busy: true },
        );
        Ok(self.command(worker, Command::Open(NewCall { call, label, max_seconds, streams })))
    }

    fn opened(&mut self, call: CallKey) -> Result<Reply, Refusal> {
        let entry = self.calls.get_mut(&call).ok_or(Refusal::UnknownCall)?;
        entry.busy = false;
        let ports = local(&entry.ports);
        self.note(call);
        Ok(Reply::Opened(ports))
    }

    /// Has a call's worker know what is known of it here, where calls outlive the process.
    fn note(&mut self, call: CallKey) {
        let Some(entry) = self.calls.get(&call).filter(|_| self.keeps) else { return };
        // Plain data: it can always be written.
        let (worker, book) = (entry.worker, postcard::to_stdvec(entry).unwrap_or_default());
        drop(self.command(worker, Command::Book { call, book }));
    }

    fn update(
        &mut self,
        call: CallKey,
        label: Option<Vec<u8>>,
        streams: &[Stream],
    ) -> Result<(Asked, Vec<[Pair; 2]>), Refusal> {
        opaque(label.as_deref())?;
        stream_count(streams.len())?;
        let entry = self.calls.get_mut(&call).ok_or(Refusal::UnknownCall)?;
        if entry.busy {
            return Err(Refusal::Impossible("another change of this call is under way".into()));
        }
        let Some((old, new)) = streams.split_at_checked(entry.ports.len()) else {
            return Err(Refusal::Impossible("streams cannot be taken away from a call".into()));
        };
        entry.busy = true;
        let worker = entry.worker;
        match self.take_ports(new) {
            Ok((ports, added)) => Ok((
                self.command(worker, Command::Update { call, label, streams: old.to_vec(), added }),
                ports,
            )),
            Err(refusal) => {
                self.calls.entry(call).and_modify(|e| e.busy = false);
                Err(refusal)
            }
        }
    }

    fn updated(
        &mut self,
        call: CallKey,
        answer: Result<Answer, Refusal>,
        blob: Option<Vec<u8>>,
        labelled: bool,
        added: Vec<[Pair; 2]>,
    ) -> Result<Reply, Refusal> {
        if let Err(refusal) = answer {
            self.put_back(added);
            if let Some(entry) = self.calls.get_mut(&call) {
                entry.busy = false;
            }
            return Err(refusal);
        }
        let Some(entry) = self.calls.get_mut(&call) else {
            self.put_back(added);
            return Err(Refusal::UnknownCall);
        };
        entry.busy = false;
        self.balance.opened(entry.worker, added.len());
        entry.ports.extend(added);
        entry.recorded |= labelled;
        if let Some(blob) = blob {
            entry.blob = blob;
        }
        let ports = local(&entry.ports);
        self.note(call);
        Ok(Reply::Opened(ports))
    }

    /// Binds ports for every stream, or for none.
    fn take_ports(&mut self, streams: &[Stream]) -> Result<(Vec<[Pair; 2]>, Vec<NewStream>), Refusal> {
        let now_ns = Now::read().mono_ns;
        let mut pairs = Vec::with_capacity(streams.len());
        let mut new = Vec::with_capacity(streams.len());
        for stream in streams {
            match self.take_both(stream, now_ns) {
                Ok((legs, stream)) => {
                    pairs.push(legs);
                    new.push(stream);
                }
                Err(refusal) => {
                    self.put_back(pairs);
                    return Err(refusal);
                }
            }
        }
        Ok((pairs, new))
    }

    /// Binds a pair for each leg of a stream, or none.
    fn take_both(&mut self, stream: &Stream, now_ns: u64) -> Result<([Pair; 2], NewStream), Refusal> {
        let seeds = [random()?, random()?];
        let [caller, callee] = &stream.legs;
        let caller = self.ports.take(caller.place, now_ns)?;
        let callee = match self.ports.take(callee.place, now_ns) {
            Ok(callee) => callee,
            Err(refusal) => {
                self.ports.put_back(caller.pair);
                return Err(refusal);
            }
        };
        let sockets = [caller.sockets, callee.sockets];
        Ok(([caller.pair, callee.pair], NewStream { stream: *stream, sockets, seeds }))
    }

    /// Gives back what nobody was told of.
    fn put_back(&mut self, pairs: Vec<[Pair; 2]>) {
        pairs.into_iter().flatten().for_each(|pair| self.ports.put_back(pair));
    }

    fn ask(&mut self, call: CallKey, command: Command) -> Result<Asked, Refusal> {
        let worker = self.calls.get(&call).ok_or(Refusal::UnknownCall)?.worker;
        Ok(self.command(worker, command))
    }

    /// Drops a call from the books; its ports are for the caller to give back.
    fn forget(&mut self, call: CallKey) -> Vec<[Pair; 2]> {
        let Some(entry) = self.calls.remove(&call) else { return Vec::new() };
        self.balance.closed(entry.worker, entry.ports.len());
        entry.ports
    }

    fn list(&self, after: Option<CallKey>) -> Vec<LiveCall> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.calls
            .range((from, Unbounded))
            .take(MAX_LIST)
            .map(|(call, entry)| LiveCall {
                call: *call,
                blob: entry.blob.clone(),
                opened_ns: entry.opened_ns,
                recorded: entry.recorded,
                ports: local(&entry.ports),
            })
            .collect()
    }
}

fn local(ports: &[[Pair; 2]]) -> Vec<[LocalPorts; 2]> {
    ports.iter().map(|legs| legs.map(|pair| pair.local)).collect()
}

/// Without random numbers nothing would hide one party's stream from the other: no call, then.
fn random() -> Result<u64, Refusal> {
    getrandom::u64().map_err(|e| Refusal::Impossible(format!("no random numbers: {e}")))
}
