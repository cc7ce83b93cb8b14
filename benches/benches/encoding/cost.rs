//! What a core carries: by the encoder alone, and from a spool to a finished archive.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, BytesMut};
use recorder::encode::{Ogg, Quality, Sound, Voices};
use recorder::label::Label;
use recorder::rate::Rate;
use recorder::settings::Settings;
use recorder::spool::{self, Event, EventKind, Origin, Packet, Side};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

use super::speech::{Call, FRAME};

/// One way to encode a call: its name, and what does it once and gives the CPU time that it took.
pub struct Way<'a> {
    pub name: String,
    pub run: Box<dyn Fn() -> Result<Duration> + 'a>,
}

/// Ours: what the encoder takes alone, and all that the archiver does.
pub fn ways(call: &Call, quality: Quality) -> Result<Vec<Way<'_>>> {
    let spool = Spool::of(call)?;
    let (share, bits) = encoded(call, quality)?;
    println!(
        "\n{}, {} s: {share:.0} % of the packets are encoded, {bits:.0} bit/s of audio\n",
        call.name(),
        call.seconds
    );
    Ok(vec![
        Way {
            name: "bauta, samples to Ogg Opus".into(),
            run: Box::new(move || timed(|| encode(call, quality).map(drop))),
        },
        Way { name: "bauta, spool to archive".into(), run: Box::new(move || spool.archive()) },
    ])
}

/// Runs all of them in turn and prints the table; the first of `ours` is what others are compared with.
pub fn race(call: &Call, ours: &[Way], peers: &[Way], rounds: usize) -> Result<()> {
    let ways: Vec<&Way> = ours.iter().chain(peers).collect();
    let mut least = vec![Duration::MAX; ways.len()];
    for round in 0..=rounds {
        for (way, least) in ways.iter().zip(&mut least) {
            let took = (way.run)()?;
            if round > 0 {
                *least = took.min(*least);
            }
        }
    }
    println!("| {} | CPU of an hour | calls per core | CPU against the first |", call.name());
    println!("|---|---|---|---|");
    for (way, took) in ways.iter().zip(&least) {
        let of_a_second = took.as_secs_f64() / call.seconds as f64;
        println!(
            "| {} | {:.2} s | {:.0} | {:.2} |",
            way.name,
            of_a_second * 3600.0,
            1.0 / of_a_second,
            took.as_secs_f64() / least[0].as_secs_f64()
        );
    }
    Ok(())
}

/// CPU time of this process, all threads.
fn timed(run: impl FnOnce() -> Result<()>) -> Result<Duration> {
    let now = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).context("a clock");
    let before = now()?;
    run()?;
    Ok(now()?.saturating_sub(before))
}

/// CPU time of a program that runs to its end.
pub fn timed_program(command: &mut Command) -> Result<Duration> {
    // Fields 16 and 17 of proc_pid_stat(5): ticks of children that were waited for. A tick is 10 ms on every Linux.
    let children = || -> Result<u64> {
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let (_, fields) = stat.rsplit_once(')').context("fields")?;
        Ok(fields.split_whitespace().skip(13).take(2).map(|n| n.parse::<u64>().unwrap_or(0)).sum())
    };
    let before = children()?;
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Duration::from_millis((children()? - before) * 10))
}

/// Encodes the whole call into memory; gives the encoders and the file.
fn encode(call: &Call, quality: Quality) -> Result<(Voices, Vec<u8>)> {
    let mut voices = Voices::new([Rate::Narrow; 2], quality)?;
    let mut ogg = Ogg::new(Vec::new(), 1, Rate::Narrow, voices.look_ahead())?;
    let mut packet = Vec::new();
    let [caller, callee] = &call.samples;
    for (caller, callee) in caller.chunks_exact(FRAME).zip(callee.chunks_exact(FRAME)) {
        voices.frame([Sound::Samples(caller), Sound::Samples(callee)], &mut packet)?;
        ogg.packet(&packet)?;
    }
    let length = call.seconds as u64 * 48_000;
    while ogg.missing(length) > 0 {
        voices.frame([Sound::Samples(&[0; FRAME]); 2], &mut packet)?;
        ogg.packet(&packet)?;
    }
    let file = ogg.finish(length)?;
    Ok((voices, file))
}

/// How many per cent of the packets are encoded, and the bits per second of the file.
fn encoded(call: &Call, quality: Quality) -> Result<(f64, f64)> {
    let (voices, file) = encode(call, quality)?;
    let [encoded, silent] =
        voices.tally().iter().fold([0, 0], |[e, s], tally| [e + tally.encoded, s + tally.silent]);
    let share = encoded as f64 / (encoded + silent) as f64 * 100.0;
    Ok((share, file.len() as f64 * 8.0 / call.seconds as f64))
}

/// The call as capture leaves it.
struct Spool {
    bytes: BytesMut,
    name: Uuid,
    state: tempfile::TempDir,
}

impl Spool {
    fn of(call: &Call) -> Result<Self> {
        const START: u64 = 1_795_363_200_000_000_000;
        let label = Label::new(Uuid::now_v7());
        let mut bytes = BytesMut::new();
        spool::header(&mut bytes);
        let mut position = 0;
        let event = |position, at_ns, kind| {
            let origin = Origin { epoch: 1, ring: 0, call: 1 };
            Event { origin, position, at_ns, kind, label: Some(label.clone()), continues: None, note: None }
        };
        spool::write_event(&mut bytes, &event(0, START, EventKind::Open));
        let mut at_ns = START;
        for n in 0..call.alaw[0].len() / FRAME {
            at_ns = START + n as u64 * 20_000_000;
            for side in Side::BOTH {
                position += 1;
                let mut rtp = BytesMut::new();
                rtp.put_slice(&[0x80, 8]);
                rtp.put_u16(u16::try_from(n % 65_536)?);
                rtp.put_u32(u32::try_from(n * FRAME)?);
                rtp.put_u32(side as u32 + 1);
                rtp.put_slice(&side.of(&call.alaw)[n * FRAME..(n + 1) * FRAME]);
                let packet = Packet { side, stream: 0, at_ns, position, dropped: 0 };
                spool::write_packet(&mut bytes, &packet, &rtp);
            }
        }
        spool::write_event(&mut bytes, &event(position + 1, at_ns, EventKind::Close));
        let state = tempfile::Builder::new().prefix("encoding-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        Ok(Self { bytes, name: label.recording, state })
    }

    /// Archives it; the archive goes afterwards.
    fn archive(&self) -> Result<Duration> {
        let spool: PathBuf = self.state.path().join(format!("{}.{}", self.name, spool::EXTENSION));
        std::fs::write(&spool, &self.bytes)?;
        let state = self.state.path().join("state");
        let settings = Settings { keep_packets: false, ..Settings::default() };
        let took = timed(|| {
            let archived = recorder::archiver::archive(&spool, &state, &settings, &AtomicBool::new(false))?;
            ensure!(archived.is_some(), "no archive");
            Ok(())
        });
        std::fs::remove_dir_all(&state)?;
        took
    }
}
