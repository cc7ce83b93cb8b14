//! What happens to a call beside its packets, and how a spool writes it: lines `KEY=value` of systemd's
//! Journal Export Format.

use std::fmt::Write as _;

use super::Side;
use crate::label::Label;

/// Where a call's records come from. One spool holds records of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The relay process: positions of different epochs cannot be compared.
    pub epoch: u64,
    /// Which of the relay's rings.
    pub ring: u32,
    /// The call's name inside the relay.
    pub call: u64,
}

/// An event of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Where it comes from.
    pub origin: Origin,
    /// The tap's position; the recorder's own events repeat the position before.
    pub position: u64,
    /// When, nanoseconds since 1970 (UTC).
    pub at_ns: u64,
    /// What happened.
    pub kind: EventKind,
    /// Control's label, where the event brought one that could be read.
    pub label: Option<Label>,
    /// The recording of the same call that this one goes on from, in its first event.
    pub continues: Option<uuid::Uuid>,
    /// What a human should know; why a call was closed.
    pub note: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The first event of every spool.
    Open,
    /// A new label, or a note of the recorder's.
    Label,
    /// The tap is paused.
    Pause,
    /// The tap goes on.
    Resume,
    /// The tap's ring was full.
    Gap {
        /// Whose packets are missing.
        side: Side,
        /// Index of the stream.
        stream: u8,
        /// How many.
        packets: u64,
        /// When the first of them arrived.
        since_ns: u64,
    },
    /// The spool could not be written for a while; the note says why. Packets that the tap lost meanwhile were lost by it.
    Stalled {
        /// When it was first refused.
        since_ns: u64,
    },
    /// So many bytes here were damaged, and left out when the spool was made an archive's.
    Damaged {
        /// How many.
        bytes: u64,
    },
    /// A restarted recorder goes on with this spool.
    Continued,
    /// The last event.
    Close,
}

impl EventKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Label => "label",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Gap { .. } => "gap",
            Self::Stalled { .. } => "stalled",
            Self::Damaged { .. } => "damaged",
            Self::Continued => "continued",
            Self::Close => "close",
        }
    }
}

impl Event {
    pub(super) fn to_text(&self) -> String {
        let Origin { epoch, ring, call } = self.origin;
        let (at, position, name) = (self.at_ns, self.position, self.kind.name());
        let mut text = format!(
            "__REALTIME_TIMESTAMP={}\nMESSAGE=recording: {name}\nBAUTA_EVENT={name}\nBAUTA_AT_NS={at}\n\
             BAUTA_EPOCH={epoch:016x}\nBAUTA_RING={ring}\nBAUTA_POSITION={position}\nBAUTA_CALL={call:016x}\n",
            at / 1000,
        );
        // Writing to a String cannot fail.
        if let EventKind::Gap { side, stream, packets, since_ns } = self.kind {
            let _ = write!(
                text,
                "BAUTA_LEG={}\nBAUTA_STREAM={stream}\nBAUTA_PACKETS={packets}\nBAUTA_SINCE_NS={since_ns}\n",
                side.name()
            );
        }
        if let EventKind::Stalled { since_ns } = self.kind {
            let _ = writeln!(text, "BAUTA_SINCE_NS={since_ns}");
        }
        if let EventKind::Damaged { bytes } = self.kind {
            let _ = writeln!(text, "BAUTA_BYTES={bytes}");
        }
        if let Some(continues) = self.continues {
            let _ = writeln!(text, "BAUTA_CONTINUES={continues}");
        }
        if let Some(label) = &self.label {
            // JSON escapes line feeds, so a label is one line.
            let _ = writeln!(text, "BAUTA_LABEL={}", String::from_utf8_lossy(&label.to_bytes()));
        }
        if let Some(note) = &self.note {
            let _ = writeln!(text, "BAUTA_NOTE={}", note.replace('\n', " "));
        }
        text
    }

    pub(super) fn from_text(text: &str) -> Option<Self> {
        let field = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
        let number = |key: &str| field(key)?.parse::<u64>().ok();
        let hex = |key: &str| u64::from_str_radix(field(key)?, 16).ok();
        let kind = match field("BAUTA_EVENT")? {
            "open" => EventKind::Open,
            "label" => EventKind::Label,
            "pause" => EventKind::Pause,
            "resume" => EventKind::Resume,
            "gap" => EventKind::Gap {
                side: Side::from_name(field("BAUTA_LEG")?)?,
                stream: field("BAUTA_STREAM")?.parse().ok()?,
                packets: number("BAUTA_PACKETS")?,
                since_ns: number("BAUTA_SINCE_NS")?,
            },
            "stalled" => EventKind::Stalled { since_ns: number("BAUTA_SINCE_NS")? },
            "damaged" => EventKind::Damaged { bytes: number("BAUTA_BYTES")? },
            "continued" => EventKind::Continued,
            "close" => EventKind::Close,
            _ => return None,
        };
        Some(Self {
            origin: Origin {
                epoch: hex("BAUTA_EPOCH")?,
                ring: field("BAUTA_RING")?.parse().ok()?,
                call: hex("BAUTA_CALL")?,
            },
            position: number("BAUTA_POSITION")?,
            at_ns: number("BAUTA_AT_NS")?,
            kind,
            label: field("BAUTA_LABEL").and_then(|l| Label::from_bytes(l.as_bytes()).ok()),
            continues: field("BAUTA_CONTINUES").and_then(|id| id.parse().ok()),
            note: field("BAUTA_NOTE").map(str::to_owned),
        })
    }
}
