//! A call's figures in the shape that proxies read after `query` and `delete`: totals, tags, medias, streams.
//!
//! Pure. The reply goes to the proxy whose tags these are; it is not for logs.

use std::time::Duration;

use relay::program::message::{CallCounters, Count, Leg, LegCounters, LocalPorts, Quality, Remote};

use super::line::Line;
use super::registry::Live;
use super::sound;
use crate::ng::value::{Text, Value};
use crate::quality::opinion::{Score, millis};
use crate::quality::sound::Sound;

/// The figures; without counters (the relay is away) every count is 0. `now` is in seconds since 1970.
pub fn report(live: &Live, counters: Option<&CallCounters>, now: i64) -> Value {
    let none = CallCounters::default();
    let counters = counters.unwrap_or(&none);
    let call = &live.call;
    let created = call.offered_at.unix_timestamp();
    let tags = Leg::BOTH.into_iter().filter_map(|leg| {
        let tag = call.dialogue.tags(leg).last()?;
        Some((tag.clone().into(), participant(live, leg, tag, counters, (created, now))))
    });
    let sounds = sound::of(call, counters);
    let legs = || counters.streams.iter().flatten();
    let figures = Value::dict([
        ("created", created.into()),
        ("created_us", i64::from(call.offered_at.microsecond()).into()),
        ("last signal", call.signalled_at.unix_timestamp().into()),
        ("SSRC", ssrcs(&sounds, now)),
        ("tags", Value::Dict(tags.collect())),
        (
            "totals",
            Value::dict([
                ("RTP", stats(sum(legs().map(|l| l.rtp)), legs().map(dropped).sum())),
                ("RTCP", stats(sum(legs().map(|l| l.rtcp)), 0)),
            ]),
        ),
    ]);
    if !call.recorded() {
        return figures;
    }
    // As the incumbent has it: whether packets are being recorded now; this one has no forwarding of its kind.
    let on = i64::from(call.pause.is_none());
    figures.with("recording", Value::dict([("call recording", on.into()), ("forwarding", 0_i64.into())]))
}

fn participant(
    live: &Live,
    leg: Leg,
    tag: &str,
    counters: &CallCounters,
    (created, now): (i64, i64),
) -> Value {
    let other = live.call.dialogue.tags(leg.other()).last();
    let others = || {
        let entry =
            |tag: &String| Value::dict([("tag", tag.clone().into()), ("type", "offer/answer".into())]);
        Value::List(other.into_iter().map(entry).collect())
    };
    let medias = live.call.lines.iter().enumerate().map(|(index, line)| {
        let pair = |pair: &[LocalPorts; 2]| if leg == Leg::Caller { pair[0] } else { pair[1] };
        let local = line.stream.and_then(|n| live.ports.get(n)).map(pair);
        let count = line.stream.and_then(|n| counters.streams.get(n)).and_then(|legs| legs.get(leg as usize));
        media(index, line, leg, (local, count), now)
    });
    let participant = Value::dict([
        ("tag", tag.to_owned().into()),
        ("created", created.into()),
        ("subscriptions", others()),
        ("subscribers", others()),
        ("medias", Value::List(medias.collect())),
    ]);
    if live.call.recorded() {
        let none = Value::dict([("excluded", 0_i64.into()), ("forwarding", 0_i64.into())]);
        return participant.with("recording", none);
    }
    participant
}

fn media(
    index: usize,
    line: &Line,
    leg: Leg,
    (local, counters): (Option<LocalPorts>, Option<&LegCounters>),
    now: i64,
) -> Value {
    let none = LegCounters::default();
    let counters = counters.unwrap_or(&none);
    let remote = line.side(leg).remote().map(|Remote { rtp, rtcp }| match counters.settled {
        Some(settled) => (settled, rtcp),
        None => (rtp, rtcp),
    });
    let last = counters.last_packet_ms.map(|ms| now.saturating_sub_unsigned(ms / 1000));
    let stream =
        |kind: &'static str, port: u16, address: Option<std::net::SocketAddr>, count: Count, errors: u64| {
            let mut stream = Value::dict([("local port", i64::from(port).into())]);
            if let Some(local) = local {
                stream = stream.with("local address", local.address.to_string());
                stream = stream.with("family", if local.address.is_ipv4() { "IPv4" } else { "IPv6" });
            }
            if let Some(address) = address {
                let endpoint = Value::dict([
                    ("family", if address.is_ipv4() { "IPv4" } else { "IPv6" }.into()),
                    ("address", address.ip().to_string().into()),
                    ("port", i64::from(address.port()).into()),
                ]);
                stream = stream.with("endpoint", endpoint.clone()).with("advertised endpoint", endpoint);
            }
            let mut flags = vec![Value::from(kind)];
            // rtpengine's word for what its own fast path moves.
            flags.extend((kind == "RTP" && counters.express).then(|| Value::from("kernelized")));
            stream
                .with("last packet", last.filter(|_| count.packets > 0).unwrap_or(0))
                .with("flags", flags)
                .with("stats", stats(count, errors))
        };
    let ssrc = || counters.quality.map(|quality| Value::from(i64::from(quality.ssrc)));
    let streams = local.map_or(Vec::new(), |ports| {
        let rtp = stream("RTP", ports.rtp, remote.map(|r| r.0), counters.rtp, dropped(counters));
        vec![
            match ssrc() {
                Some(ssrc) => rtp.with("SSRC", ssrc),
                None => rtp,
            },
            stream("RTCP", ports.rtcp, remote.map(|r| r.1), counters.rtcp, 0),
        ]
    });
    let media = Value::dict([
        ("index", i64::try_from(index + 1).unwrap_or(i64::MAX).into()),
        ("type", line.kind.clone().into()),
        ("protocol", line.protocol.clone().into()),
    ]);
    let codec = line.speaks(leg).map(|codec| codec.name.clone());
    let media = match codec {
        Some(name) => media.with("codec", name),
        None => media,
    };
    // Their figures are under "SSRC", once. What the relay sends under a name of its own is not told.
    let ingress: Vec<_> = ssrc().into_iter().map(|ssrc| Value::dict([("SSRC", ssrc)])).collect();
    let events = counters.events;
    media
        .with("streams", streams)
        .with("flags", Vec::new())
        .with("ingress SSRCs", ingress)
        .with("egress SSRCs", Vec::new())
        .with("telephone events", events)
}

/// What was measured, by SSRC in decimal digits. Should both parties have chosen the same one, the caller's counts.
fn ssrcs(sounds: &[[Sound<'_>; 2]], now: i64) -> Value {
    let mut entries: Vec<(Text, Value)> = Vec::new();
    for stream in sounds {
        let round_trip = stream.iter().filter_map(Sound::round_trip).sum();
        for sound in stream {
            let Some(quality) = sound.counters.quality else { continue };
            let id = quality.ssrc.to_string();
            if !entries.iter().any(|(known, _)| *known == id) {
                entries.push((id.into(), ssrc(sound, &quality, round_trip, now)));
            }
        }
    }
    Value::Dict(entries)
}

fn ssrc(sound: &Sound<'_>, quality: &Quality, round_trip: Duration, now: i64) -> Value {
    let [lost, ..] = sound.troubles();
    let entry = Value::dict([
        ("bytes", sound.counters.rtp.bytes.into()),
        ("packets", sound.counters.rtp.packets.into()),
        ("last RTP timestamp", i64::from(quality.timestamp).into()),
        ("last RTP seq", i64::from(quality.sequence).into()),
        ("cumulative loss", lost.into()),
    ]);
    let trips = (round_trip, sound.round_trip().unwrap_or_default());
    let Some(opinion) = sound.opinion else { return entry };
    let scores = [opinion.average, opinion.lowest, opinion.highest].map(|of| score(&of, trips));
    let [Some(average), Some(lowest), Some(highest)] = scores else { return entry };
    entry
        .with("average MOS", average.with("samples", i64::from(quality.spans.max(1))))
        // When a span was is not kept: they are of the time of this report.
        .with("lowest MOS", lowest.with("reported at", now))
        .with("highest MOS", highest.with("reported at", now))
}

/// A score in the incumbent's units: tenths, microseconds, milliseconds, per cent.
fn score(score: &Score, (round_trip, of_leg): (Duration, Duration)) -> Option<Value> {
    let micros = |time: Duration| Value::from(i64::try_from(time.as_micros()).unwrap_or(i64::MAX));
    Some(Value::dict([
        ("MOS", whole(score.mos? * 10.0)),
        ("round-trip time", micros(round_trip)),
        ("round-trip time leg", micros(of_leg)),
        ("jitter", whole(millis(score.jitter))),
        ("packet loss", whole(score.loss * 100.0)),
    ]))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "scores, per cent and milliseconds: small, and as saturates"
)]
fn whole(figure: f64) -> Value {
    Value::from(figure.round() as i64)
}

fn stats(count: Count, errors: u64) -> Value {
    Value::dict([("packets", count.packets.into()), ("bytes", count.bytes.into()), ("errors", errors.into())])
}

fn sum(counts: impl Iterator<Item = Count>) -> Count {
    counts.fold(Count::default(), |a, b| Count { packets: a.packets + b.packets, bytes: a.bytes + b.bytes })
}

fn dropped(leg: &LegCounters) -> u64 {
    leg.drops.iter().map(|(_, n)| n).sum()
}
