//! A manifest as tables: who sent what, and what is missing when and why.

use std::fmt::Write;

use recorder::manifest::{Cause, Channel, Counts, Gap, Manifest, SilenceCause, Silenced, Span};
use recorder::moment::clock;

use crate::columns::table;

/// Rows of what is missing that are shown; a bad line has thousands.
const SHOWN: usize = 40;

/// What an archive's manifest tells, as an operator reads it.
pub fn archive(manifest: &Manifest) -> String {
    let time = |time: Option<time::OffsetDateTime>| time.map_or("-".into(), second);
    let mut facts = vec![
        ["recording", &manifest.recording.to_string()].map(str::to_owned),
        ["call", &manifest.call].map(str::to_owned),
        ["city", manifest.city.as_deref().unwrap_or("-")].map(str::to_owned),
        ["offered", &time(manifest.offered_at)].map(str::to_owned),
        ["answered", &time(manifest.answered_at)].map(str::to_owned),
        ["audio from", &time(manifest.started_at)].map(str::to_owned),
        ["ended", &format!("{} ({})", time(manifest.ended_at), manifest.ended)].map(str::to_owned),
    ];
    if let Some(before) = &manifest.continues {
        facts.push(["continues".into(), format!("{before}, whose file could not be written any more")]);
    }
    facts.extend(manifest.notes.iter().map(|note| ["note".into(), note.clone()]));
    let missing = missing(&manifest.gaps, &manifest.pauses, &manifest.silenced);
    format!("{}\n{}\n{missing}", table(facts), streams(manifest))
}

/// Stretches in which something is missing, in the order of time.
pub fn missing(gaps: &[Gap], pauses: &[Span], silenced: &[Silenced]) -> String {
    let gaps = gaps.iter().map(|gap| {
        let packets = if gap.packets == 1 { "packet" } else { "packets" };
        let why = format!("{} {packets} {}", gap.packets, cause(gap.cause));
        (gap.from_ms, gap.to_ms, gap.side.name(), "gap", why)
    });
    let pauses =
        pauses.iter().map(|p| (p.from_ms, p.to_ms, "both", "pause", "recording was paused".to_owned()));
    let silenced = silenced.iter().map(|s| {
        let why = match s.cause {
            SilenceCause::Dtmf => "DTMF, which is never kept",
            SilenceCause::Undecoded => "no decoder for the codec; the packets were captured",
        };
        (s.from_ms, s.to_ms, s.side.name(), "silenced", why.to_owned())
    });
    let mut rows: Vec<_> = gaps.chain(pauses).chain(silenced).collect();
    if rows.is_empty() {
        return "nothing is missing: no gap, no pause, nothing silenced\n".into();
    }
    rows.sort();
    let more = rows.len().saturating_sub(SHOWN);
    let heading = ["FROM", "TO", "LENGTH", "SIDE", "WHAT", "WHY"].map(str::to_owned);
    let rows = rows.into_iter().take(SHOWN).map(|(from, to, side, what, why)| {
        [clock(from), clock(to), length(to.saturating_sub(from)), side.into(), what.into(), why]
    });
    let mut text = table(std::iter::once(heading).chain(rows));
    if more > 0 {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "… and {more} more, in the manifest");
    }
    text
}

const fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::NetworkLoss => "lost on the way to the relay",
        Cause::TapOverflow => "forwarded, but the recorder was too far behind",
        Cause::Disk => "forwarded, but the recorder's disk could not be written",
        Cause::Damage => "captured, but the file that held them is damaged",
    }
}

/// Everybody who sent; a side of which only the sum is known is one row.
fn streams(manifest: &Manifest) -> String {
    let heading = ["SIDE", "ROLE", "SSRC", "FROM", "TO", "CODECS", "PACKETS", "LOST", "LATE", "JITTER"];
    let row = |channel: &Channel, place: [String; 3], codecs: &str, counts: &Counts| {
        let [ssrc, from, to] = place;
        let codecs = if codecs.is_empty() { "-" } else { codecs };
        let side = channel.side.name().to_owned();
        let role = channel.role.clone().unwrap_or("-".into());
        let jitter = format!("{}.{} ms", counts.jitter_us / 1000, counts.jitter_us / 100 % 10);
        let [packets, late] = [counts.packets, counts.late].map(|count| count.to_string());
        [side, role, ssrc, from, to, codecs.into(), packets, lost(counts), late, jitter]
    };
    let sides = [&manifest.left, &manifest.right].into_iter().flat_map(|channel| {
        if channel.streams.is_empty() {
            let codecs: Vec<_> = channel.codecs.iter().map(|codec| codec.name.as_str()).collect();
            let unknown = ["-"; 3].map(str::to_owned);
            return vec![row(channel, unknown, &codecs.join(" "), &channel.counts)];
        }
        let each = channel.streams.iter().map(|stream| {
            let place = [stream.ssrc.clone(), clock(stream.from_ms), clock(stream.to_ms)];
            row(channel, place, &stream.codecs.join(" "), &stream.counts)
        });
        each.collect()
    });
    table(std::iter::once(heading.map(str::to_owned)).chain(sides))
}

/// Packets lost, and how many in a hundred.
fn lost(counts: &Counts) -> String {
    let sent = counts.packets.saturating_add(counts.lost);
    match counts.lost.saturating_mul(1000).checked_div(sent) {
        Some(permille @ 1..) => format!("{} ({}.{} %)", counts.lost, permille / 10, permille % 10),
        _ => counts.lost.to_string(),
    }
}

/// A length as a person says it.
fn length(ms: u64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{:03} s", ms / 1000, ms % 1000),
        _ => clock(ms),
    }
}

/// A time to the second.
fn second(time: time::OffsetDateTime) -> String {
    let (date, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
    format!("{date} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use recorder::spool::Side;

    #[test]
    fn what_is_missing_stands_in_the_order_of_time_with_its_cause() {
        let gap =
            |from_ms, cause| Gap { side: Side::Callee, cause, from_ms, to_ms: from_ms + 90_000, packets: 9 };
        let gaps = [gap(5_000, Cause::Disk), gap(1_000, Cause::Damage)];
        let silenced =
            [Silenced { side: Side::Caller, cause: SilenceCause::Dtmf, from_ms: 3_000, to_ms: 3_250 }];
        let text = missing(&gaps, &[Span { from_ms: 2_000, to_ms: 4_500 }], &silenced);
        let expected = "\
FROM          TO            LENGTH        SIDE    WHAT      WHY
00:00:01.000  00:01:31.000  00:01:30.000  callee  gap       9 packets captured, but the file that held them is damaged
00:00:02.000  00:00:04.500  2.500 s       both    pause     recording was paused
00:00:03.000  00:00:03.250  250 ms        caller  silenced  DTMF, which is never kept
00:00:05.000  00:01:35.000  00:01:30.000  callee  gap       9 packets forwarded, but the recorder's disk could not be written
";
        assert_eq!(text, expected);
        let many: Vec<_> = (0..1_000).map(|n| gap(n, Cause::NetworkLoss)).collect();
        let text = missing(&many, &[], &[]);
        assert!(text.lines().count() == 42 && text.ends_with("… and 960 more, in the manifest\n"), "{text}");
        assert_eq!(missing(&[], &[], &[]), "nothing is missing: no gap, no pause, nothing silenced\n");
    }
}
