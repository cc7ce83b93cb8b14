//! Which lane runs, and why: the setting, then what the kernel allows. Found out once at start.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{EventfdFlags, eventfd};

use super::{Pace, Uring};
use crate::settings::Setting;

/// The lanes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaneKind {
    /// io_uring.
    Uring,
    /// epoll, recvmmsg, sendmmsg.
    Mmsg,
}

impl LaneKind {
    /// The name in settings, metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Mmsg => "mmsg",
        }
    }
}

/// The setting `relay.lane`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The best lane that the kernel allows.
    Auto,
    /// The express lane, beside the best socket lane, or none.
    Express,
    /// This lane alone, or none.
    Only(LaneKind),
}

impl Setting for Choice {
    const KIND: &'static str = "\"auto\", \"xdp\", \"uring\" or \"mmsg\"";
    fn read(value: &toml_edit::Value) -> Result<Self, String> {
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some("xdp") => Ok(Self::Express),
            Some("uring") => Ok(Self::Only(LaneKind::Uring)),
            Some("mmsg") => Ok(Self::Only(LaneKind::Mmsg)),
            _ => Err(format!("expected {}", Self::KIND)),
        }
    }
    fn show(&self) -> String {
        match self {
            Self::Auto => "\"auto\"".into(),
            Self::Express => "\"xdp\"".into(),
            Self::Only(kind) => format!("\"{}\"", kind.name()),
        }
    }
}

/// Tries what was chosen. Gives the socket lane and the reason, a sentence; an error only where a lane was demanded that
/// the kernel refuses.
pub fn choose(choice: Choice) -> io::Result<(LaneKind, String)> {
    choose_with(choice, probe)
}

fn choose_with(choice: Choice, probe: impl Fn() -> io::Result<()>) -> io::Result<(LaneKind, String)> {
    match (choice, choice != Choice::Only(LaneKind::Mmsg)) {
        (Choice::Only(LaneKind::Mmsg), _) | (_, false) => {
            Ok((LaneKind::Mmsg, "relay.lane = \"mmsg\" in the settings".into()))
        }
        (Choice::Auto | Choice::Express, true) => Ok(match probe() {
            Ok(()) => (LaneKind::Uring, "the kernel offers io_uring with all that the lane needs".into()),
            Err(e) => (LaneKind::Mmsg, format!("io_uring is refused ({})", explain(&e))),
        }),
        (Choice::Only(LaneKind::Uring), true) => probe()
            .map(|()| (LaneKind::Uring, "relay.lane = \"uring\" in the settings".into()))
            .map_err(|e| {
                io::Error::new(
                    e.kind(),
                    format!("relay.lane = \"uring\", but io_uring is refused ({})", explain(&e)),
                )
            }),
    }
}

fn explain(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM) => "; a container's seccomp profile or kernel.io_uring_disabled forbids it",
        Some(libc::ENOSYS) => "; this kernel is built without it or seccomp hides it",
        Some(libc::EINVAL) => "; the kernel is too old: 6.6 or newer is needed",
        Some(libc::ENOMEM) => "; the limit of locked memory is too low (ulimit -l)",
        _ => "",
    };
    format!("{error}{hint}")
}

/// Makes a small lane and throws it away: needs everything that a large one needs.
fn probe() -> io::Result<()> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC)?;
    Uring::new(4, wake.as_fd(), Pace::PROMPT).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> io::Result<()> {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }

    #[test]
    fn a_refused_io_uring_falls_back_and_says_why() {
        let (kind, reason) = choose_with(Choice::Auto, refused).unwrap();
        assert_eq!(kind, LaneKind::Mmsg);
        assert!(reason.contains("seccomp"), "{reason}");
        assert_eq!(choose_with(Choice::Auto, || Ok(())).unwrap().0, LaneKind::Uring);
    }

    #[test]
    fn a_demanded_lane_is_that_lane_or_an_error() {
        assert!(
            choose_with(Choice::Only(LaneKind::Uring), refused)
                .unwrap_err()
                .to_string()
                .contains("relay.lane")
        );
        assert_eq!(choose_with(Choice::Only(LaneKind::Mmsg), || Ok(())).unwrap().0, LaneKind::Mmsg);
    }
}
