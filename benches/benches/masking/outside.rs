//! `bauta-control` as a process: its start, and what it does over HTTP.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{Advice, fadvise};
use tests::ports::Ports;
use tests::programs;

use super::asker::{self, Answer};
use super::cores::{self, Cores};
use super::people::{Dice, People, mixed};
use super::table::{self, Times};
use super::{Options, Part};

/// Longest start.
const START: Duration = Duration::from_secs(300);
/// How often it is looked whether control answers.
const LOOK: Duration = Duration::from_millis(2);

/// Measures what `options` asks for.
pub fn measure(
    options: &Options,
    state: &Path,
    people: People,
    dials: &[[u64; 2]],
    cores: &Cores,
) -> Result<()> {
    build()?;
    let requests = Requests { state, people, dials };
    let start = |files: Files, what: &str| -> Result<()> {
        if options.wants(Part::Start) {
            Control::start(state, cores, files)?.wait(&requests, what)?;
        }
        Ok(())
    };
    // What the decisions in this process have left.
    forget_journal(state)?;
    start(Files::InMemory, "database in the system's cache")?;
    start(Files::OnDisk, "database on disk alone")?;
    if options.wants(Part::Route) {
        Control::start(state, cores, Files::InMemory)?.load(&requests, options, Part::Route)?;
        start(Files::InMemory, "with the journal of these decisions")?;
    }
    if options.wants(Part::Create) {
        Control::start(state, cores, Files::InMemory)?.load(&requests, options, Part::Create)?;
    }
    Ok(())
}

/// Cargo builds no programs of other packages for a bench.
fn build() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(programs::repository("")).args(["build", "--release", "--quiet", "-p", "control"]);
    ensure!(build.status()?.success(), "bauta-control is not built");
    Ok(())
}

fn forget_journal(state: &Path) -> Result<()> {
    for file in std::fs::read_dir(state)?.flatten() {
        if file.file_name().to_string_lossy().starts_with("routes.journal") {
            std::fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

/// Where the database is when control starts.
#[derive(Clone, Copy)]
enum Files {
    /// In the system's cache.
    InMemory,
    /// On the disk alone.
    OnDisk,
}

impl Files {
    fn put(self, state: &Path) -> Result<()> {
        for name in std::fs::read_dir(state)?.flatten().filter(|file| file.path().is_file()) {
            let file = File::open(name.path())?;
            match self {
                Self::InMemory => drop(std::io::copy(&mut &file, &mut std::io::sink())?),
                Self::OnDisk => {
                    file.sync_all()?;
                    fadvise(&file, 0, None, Advice::DontNeed)?;
                }
            }
        }
        Ok(())
    }
}

/// A process of control on the measured core. It ends with this.
struct Control {
    process: Child,
    began: Instant,
    ports: Ports,
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

impl Control {
    fn start(state: &Path, cores: &Cores, files: Files) -> Result<Self> {
        files.put(state)?;
        let ports = Ports::take();
        let settings = state.join("pop.toml");
        std::fs::write(
            &settings,
            format!("[control]\nng = \"{}\"\nhttp = \"{}\"\n", ports.ng(), ports.http()),
        )?;
        let mut command = Command::new(programs::ours("bauta-control"));
        command.arg("--state").arg(state).arg("--config").arg(&settings).env_remove("RUST_LOG");
        let log = File::create(state.join("control.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A new process has the core of the thread that starts it.
        cores.take_ours()?;
        let began = Instant::now();
        let process = command.spawn()?;
        cores.take_theirs()?;
        Ok(Self { process, began, ports })
    }

    /// Waits for the first decision, and says what it took.
    fn wait(&mut self, requests: &Requests<'_>, what: &str) -> Result<()> {
        let took = self.answers(requests)?;
        let (cpu, (now, most)) = (cores::cpu(self.process.id()), cores::memory(self.process.id()));
        println!();
        println!("| start | until the first decision | CPU s | resident MiB | at most MiB |");
        println!("|---|---|---|---|---|");
        println!("| {what} | {:.2} s | {:.2} | {now} | {most} |", took.as_secs_f64(), cpu.as_secs_f64());
        Ok(())
    }

    /// How long after its start it answers.
    fn answers(&mut self, requests: &Requests<'_>) -> Result<Duration> {
        while self.began.elapsed() < START {
            ensure!(
                self.process.try_wait()?.is_none(),
                "control has ended: see control.log in the state directory"
            );
            if TcpStream::connect(self.ports.http()).is_ok() {
                let mut writer = requests.writer(Part::Route)?;
                let mut took = None;
                asker::ask(
                    self.ports.http(),
                    1,
                    Duration::ZERO,
                    |request| writer.next(request),
                    |answer| {
                        took = is_right(Part::Route, &answer).then(|| self.began.elapsed());
                    },
                )?;
                return took.context("control's first decision is wrong");
            }
            std::thread::sleep(LOOK);
        }
        bail!("control does not answer within {START:?}")
    }

    /// Asks as fast as it is answered, once it answers.
    fn load(&mut self, requests: &Requests<'_>, options: &Options, part: Part) -> Result<()> {
        self.answers(requests)?;
        std::thread::sleep(Duration::from_secs(options.idle));
        let what = if part == Part::Route { "decision over HTTP" } else { "trip made over HTTP" };
        let http = self.ports.http();
        let mut writer = requests.writer(part)?;
        let warm = Duration::from_millis(500);
        asker::ask(http, options.connections, warm, |request| writer.next(request), |_| {})?;
        table::head();
        let pid = self.process.id();
        let (threads, asker, began) =
            (cores::cpu_by_thread(pid), cores::cpu_of_this_thread(), Instant::now());
        let mut times = Times::begin(&format!("{what}, {} connections", options.connections), pid);
        let mut wrong = 0;
        let lasting = Duration::from_secs(options.seconds);
        asker::ask(
            http,
            options.connections,
            lasting,
            |request| writer.next(request),
            |answer| {
                times.add(answer.took);
                wrong += u64::from(!is_right(part, &answer));
            },
        )?;
        let (asked, count) = (cores::cpu_of_this_thread().saturating_sub(asker), times.count());
        times.end();
        let share = |time: Duration| time.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0;
        let mut split = String::new();
        for (thread, time) in cores::cpu_by_thread(pid) {
            let time = time.saturating_sub(threads.get(&thread).copied().unwrap_or_default());
            write!(split, "{thread} {:.1} %, ", share(time))?;
        }
        println!();
        println!(
            "{split}the client {:.1} % of its own core; {wrong} of {count} answers were wrong",
            share(asked)
        );
        let (now, most) = cores::memory(pid);
        println!("memory of bauta-control: {now} MiB, {most} MiB at most");
        ensure!(wrong == 0, "answers were wrong");
        Ok(())
    }
}

/// Whether an answer is what was asked for: a call that connects, or a new trip.
fn is_right(part: Part, answer: &Answer<'_>) -> bool {
    match part {
        Part::Route => answer.status == 200 && answer.body.contains("\"decision\":\"connect\""),
        _ => answer.status == 201,
    }
}

/// What is asked.
#[derive(Clone, Copy)]
struct Requests<'a> {
    state: &'a Path,
    people: People,
    dials: &'a [[u64; 2]],
}

/// Writes one request after the other.
struct Writer<'a> {
    requests: Requests<'a>,
    part: Part,
    token: String,
    dice: Dice,
    /// Different in each run: no Call-ID, and no trip, comes again.
    turn: u64,
    body: Vec<u8>,
}

impl<'a> Requests<'a> {
    fn writer(self, part: Part) -> Result<Writer<'a>> {
        let scope = if part == Part::Route { "proxy" } else { "business" };
        let token = std::fs::read_to_string(self.state.join("tokens").join(scope))?.trim().to_owned();
        let turn = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() << 24;
        Ok(Writer { requests: self, part, token, dice: Dice(turn), turn, body: Vec::with_capacity(1024) })
    }
}

impl Writer<'_> {
    fn next(&mut self, request: &mut Vec<u8>) {
        self.turn += 1;
        self.body.clear();
        let path = match self.part {
            Part::Route => self.question(),
            _ => self.trip(),
        };
        write!(
            request,
            "POST {path} HTTP/1.1\r\nHost: control\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.token,
            self.body.len()
        )
        .expect("a Vec takes it");
        request.extend_from_slice(&self.body);
    }

    /// A party of a live trip calls.
    fn question(&mut self) -> &'static str {
        let trip = self.dice.below(self.requests.people.trips);
        let party = usize::try_from(self.dice.below(2)).expect("0 or 1");
        let phone = self.requests.people.phones(trip)[party];
        let dial = self.requests.dials[usize::try_from(trip).expect("an index")][party];
        write!(
            self.body,
            "{{\"call_id\":\"{:016x}@192.0.2.1\",\"from\":\"sip:+{phone}@198.51.100.7;user=phone\",\
             \"to\":\"sip:+{dial}@203.0.113.9;user=phone\",\"trunk\":\"default\"}}",
            mixed(self.turn)
        )
        .expect("a Vec takes it");
        "/v1/route"
    }

    /// The people of some trip have another one.
    fn trip(&mut self) -> &'static str {
        let trip = self.dice.below(self.requests.people.trips);
        let request = self.requests.people.request(trip, self.turn);
        serde_json::to_writer(&mut self.body, &request).expect("JSON");
        "/v1/trips"
    }
}
