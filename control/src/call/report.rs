//! A call's figures in the shape that proxies read after `query` and `delete`: totals, tags, medias, streams.
//!
//! Pure. The reply goes to the proxy whose tags these are; it is not for logs.

use relay::program::message::{CallCounters, Count, Leg, LegCounters, LocalPorts, Remote};

use super::line::Line;
use super::registry::Live;
use crate::ng::value::Value;

/// The figures; without counters (the relay is away) every count is 0. `now` is in seconds since 1970.
pub fn report(live: &Live, counters: Option<&CallCounters>, now: i64) -> Value {
    let none = CallCounters::default();
    let counters = counters.unwrap_or(&none);
    let call = &live.call;
    let created = call.offered_at.unix_timestamp();
    let tags = Leg::BOTH.into_iter().filter_map(|leg| {
        let tag = call.dialogue.tags(leg).last()?;
        Some((tag.clone(), participant(live, leg, tag, counters, (created, now))))
    });
    let legs = || counters.streams.iter().flatten();
    let figures = Value::dict([
        ("created", created.into()),
        ("created_us", i64::from(call.offered_at.microsecond()).into()),
        ("last signal", call.signalled_at.unix_timestamp().into()),
        ("SSRC", Value::Dict(Vec::new())),
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
        ("tag", tag.into()),
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
    let stream = |flag: &str, port: u16, address: Option<std::net::SocketAddr>, count: Count, errors: u64| {
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
        stream
            .with("last packet", last.filter(|_| count.packets > 0).unwrap_or(0))
            .with("flags", vec![Value::from(flag)])
            .with("stats", stats(count, errors))
    };
    let streams = local.map_or(Vec::new(), |ports| {
        vec![
            stream("RTP", ports.rtp, remote.map(|r| r.0), counters.rtp, dropped(counters)),
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
    media.with("streams", streams).with("flags", Vec::new())
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
