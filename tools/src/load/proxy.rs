//! Calls over NG, as a SIP proxy sets them up: offer, answer, and delete in the end.

use std::collections::HashMap;
use std::time::Instant;

use control::ng::value::Value;

use super::ng::{Client, Fault};
use super::options::Format;
use super::recorded::Routes;
use super::sdp::{Party, ends};
use super::timing::{Timing, Verb};
use super::traffic::Ends;

/// What every request of a load has in common.
#[derive(Clone)]
pub struct Manner {
    /// What the parties speak.
    pub format: Format,
    /// Milliseconds of a packet.
    pub ptime: u16,
    /// Ask for recording.
    pub record: bool,
    /// Keys of their own, of offers and answers.
    pub keys: Vec<(String, Value)>,
    /// Entries of their `flags`.
    pub flags: Vec<Value>,
    /// Where routes are asked for, before the offer.
    pub routes: Option<Routes>,
}

/// Why a call was not set up, or not ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {fault}", .verb.name())]
pub struct Failure {
    /// What was asked.
    pub verb: Verb,
    /// What came of it.
    pub fault: Fault,
}

/// A proxy with one NG socket: one request at a time.
pub struct Proxy {
    ng: Client,
    manner: Manner,
    /// Every run has Call-IDs of its own.
    run: u64,
    calls: u64,
    open: HashMap<u32, Dialog>,
    /// How long each verb took.
    pub timing: Timing,
}

/// The SIP names of a call.
#[derive(Clone)]
struct Dialog {
    call_id: String,
    from_tag: String,
    to_tag: String,
}

impl Proxy {
    /// A proxy that asks by `ng`.
    pub fn new(ng: Client, manner: Manner) -> Result<Self, getrandom::Error> {
        Ok(Self {
            ng,
            manner,
            run: getrandom::u64()?,
            calls: 0,
            open: HashMap::new(),
            timing: Timing::default(),
        })
    }

    /// Whether anybody is there.
    pub fn ping(&mut self) -> Result<(), Fault> {
        self.ng.ask(&Value::dict([("command", "ping".into())])).map(drop)
    }

    /// Questions that were sent again because no answer came in time.
    pub const fn repeated(&self) -> u64 {
        self.ng.repeated
    }

    /// Sets up the call `number` between two parties, who receive at `ours`; where each is to send to. A call that the relay
    /// may have taken, and that did not come about, is deleted again.
    pub fn open(&mut self, number: u32, ours: [Ends; 2]) -> Result<[Ends; 2], Failure> {
        self.calls += 1;
        let (run, call) = (self.run, self.calls);
        let dialog = Dialog {
            call_id: format!("{run:016x}-{call}@load.invalid"),
            from_tag: format!("{:08x}", run.rotate_left(17).wrapping_add(call) & 0xffff_ffff),
            to_tag: format!("{:08x}", run.rotate_left(43).wrapping_sub(call) & 0xffff_ffff),
        };
        if let Some(routes) = &self.manner.routes {
            let routed = self.timing.time(Verb::Route, || routes.ask(&dialog.call_id));
            routed.map_err(|fault| Failure { verb: Verb::Route, fault })?;
        }
        let [caller, callee] = ours;
        let start = Instant::now();
        let described = self.describe(Verb::Offer, &dialog, caller);
        let described =
            described.and_then(|offered| Ok([self.describe(Verb::Answer, &dialog, callee)?, offered]));
        let took = start.elapsed();
        let refused =
            |failure: &Failure| failure.verb == Verb::Offer && matches!(failure.fault, Fault::Refused(_));
        match &described {
            Ok(_) => self.timing.record(Verb::SetUp, took),
            Err(failure) if refused(failure) => return described,
            Err(_) => {}
        }
        self.open.insert(number, dialog);
        if described.is_err() {
            // What is told is why the call came to nothing; a delete that fails too changes nothing about it.
            let _ = self.close(number);
        }
        described
    }

    /// Ends the call `number`; nothing happens to one that is not open.
    pub fn close(&mut self, number: u32) -> Result<(), Failure> {
        let Some(dialog) = self.open.remove(&number) else { return Ok(()) };
        // No call of a load is offered again: its ports can be given back at once.
        let question =
            dialog.question("delete").with("to-tag", dialog.to_tag.clone()).with("delete-delay", 0_i64);
        self.ask(Verb::Delete, &question).map(drop)
    }

    /// Offers or answers with `ends`; where the relay wants the other party to send to.
    fn describe(&mut self, verb: Verb, dialog: &Dialog, ends_of_party: Ends) -> Result<Ends, Failure> {
        let fail = |fault| Failure { verb, fault };
        let answers = verb == Verb::Answer;
        let Manner { format, ptime, .. } = self.manner;
        let session = self.run.wrapping_add(self.calls << 1 | u64::from(answers));
        let party = Party { ends: ends_of_party, format, ptime, session };
        let question = dialog.question(verb.name());
        let question = if answers { question.with("to-tag", dialog.to_tag.clone()) } else { question };
        let reply = self.ask(verb, &self.dressed(question, &party))?;
        if let (true, Some(warning)) = (self.manner.record, reply.get("warning").and_then(Value::text))
            && warning.contains("not recorded")
        {
            return Err(fail(Fault::NotRecorded(format!("{warning}; name the POP's --state"))));
        }
        reply.get("sdp").and_then(Value::text).and_then(ends).ok_or_else(|| fail(Fault::NoAddress))
    }

    /// Adds what a proxy says beside the SDP.
    fn dressed(&self, question: Value, party: &Party) -> Value {
        let ip = party.ends.rtp.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        let flags = [vec!["trust-address".into()], self.manner.flags.clone()].concat();
        let mut question = question
            .with("sdp", party.describe())
            .with("flags", flags)
            .with("replace", vec!["origin".into()])
            .with("ICE", "remove")
            .with("received-from", vec![family.into(), ip.to_string().into()])
            .with("supports", vec!["load limit".into()]);
        if self.manner.record {
            question = question.with("record-call", "yes");
        }
        self.manner
            .keys
            .iter()
            .fold(question, |question, (key, value)| question.with(key.clone(), value.clone()))
    }

    fn ask(&mut self, verb: Verb, question: &Value) -> Result<Value, Failure> {
        let ng = &mut self.ng;
        self.timing.time(verb, || ng.ask(question)).map_err(|fault| Failure { verb, fault })
    }
}

impl Dialog {
    fn question(&self, command: &'static str) -> Value {
        Value::dict([
            ("command", command.into()),
            ("call-id", self.call_id.clone().into()),
            ("from-tag", self.from_tag.clone().into()),
        ])
    }
}
