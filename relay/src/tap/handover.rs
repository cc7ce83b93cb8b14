//! How the rings change hands: a Unix socket on which the relay gives one recorder at a time the memory and the
//! bell of every ring (`SCM_RIGHTS`). The connection stays open; either side sees by its end that the other died.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::RecvFlags;

use super::ring::{Handles, Poisoned, Reader};
use crate::sys::rights;

/// Most rings of one relay: the kernel passes at most 253 descriptors in one message, two per
/// ring.
pub const MAX_RINGS: usize = rights::MAX / 2;
const GREETING: usize = 24;
const MAGIC: [u8; 8] = *b"bautatap";
const GRANTED: u32 = 0;
const TAKEN: u32 = 1;

/// Why a recorder could not attach.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// No relay listens there.
    #[error("no relay's tap at {path}: {source}")]
    NoRelay {
        /// The socket.
        path: String,
        /// What connecting said.
        source: io::Error,
    },
    /// Another recorder is attached.
    #[error("another recorder is attached to this relay; stop it first")]
    Taken,
    /// What listens there is no relay of this version, or its rings are broken.
    #[error("the relay's tap cannot be used: {0}")]
    Alien(#[from] io::Error),
}

/// All rings of a relay, in the recorder's hands.
#[derive(Debug)]
pub struct Attachment {
    /// Random per relay process: positions of different epochs cannot be compared.
    pub epoch: u64,
    /// One per worker of the relay.
    pub rings: Vec<Reader>,
    link: UnixStream,
}

/// Attaches to the relay whose tap socket is at `path`.
pub fn attach(path: &Path) -> Result<Attachment, TapError> {
    let no_relay = |source| TapError::NoRelay { path: path.display().to_string(), source };
    let link = UnixStream::connect(path).map_err(no_relay)?;
    link.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut greeting = [0; GREETING];
    let mut fds = rights::receive(&link, &mut greeting)?.into_iter();
    let alien = |what| TapError::Alien(io::Error::new(io::ErrorKind::InvalidData, what));
    let (magic, rest) = greeting.split_first_chunk::<8>().ok_or_else(|| alien("greeting"))?;
    let [a, b, c, d, e, f, g, h, epoch @ ..] = *rest.first_chunk::<16>().ok_or_else(|| alien("greeting"))?;
    if *magic != MAGIC {
        return Err(alien("it is no tap"));
    }
    if u32::from_ne_bytes([a, b, c, d]) == TAKEN {
        return Err(TapError::Taken);
    }
    let rings = (0..u32::from_ne_bytes([e, f, g, h]) as usize)
        .map(|index| {
            let (memory, bell) =
                fds.next().zip(fds.next()).ok_or_else(|| alien("descriptors are missing"))?;
            Ok(Reader::open(Handles { memory, bell }, index)?)
        })
        .collect::<Result<Vec<_>, TapError>>()?;
    let epoch = u64::from_ne_bytes(epoch);
    if rings.is_empty() || rings.iter().any(|r| r.epoch() != epoch) {
        return Err(alien("its rings are of another relay"));
    }
    link.set_nonblocking(true)?;
    Ok(Attachment { epoch, rings, link })
}

impl Attachment {
    /// False once the relay's process has closed its end. What it published can still be read.
    pub fn relay_alive(&self) -> bool {
        !ended(&self.link)
    }

    /// Sleeps until a ring has records, the relay is gone, or `timeout` has passed.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let mut sleep = true;
        for ring in &mut self.rings {
            // A poisoned ring is for `next` to report.
            sleep &= ring.may_sleep().unwrap_or(false);
        }
        if sleep {
            let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(&self.link, PollFlags::IN)];
            fds.extend(self.rings.iter().map(|r| PollFd::from_borrowed_fd(r.bell(), PollFlags::IN)));
            match poll(&mut fds, Some(&timespec(timeout))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.rings.iter().for_each(Reader::woke);
        Ok(())
    }
}

/// The recorder that is attached, if one is.
#[derive(Debug, Default)]
struct Current(Mutex<Option<Arc<UnixStream>>>);

impl Current {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<UnixStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The relay's end: gives the rings to one recorder at a time.
#[derive(Debug)]
pub struct Host {
    listener: UnixListener,
    handles: Vec<Handles>,
    epoch: u64,
    current: Current,
}

/// While it is held, no recorder comes or goes.
#[derive(Debug)]
pub struct Seat<'a> {
    host: &'a Host,
    current: MutexGuard<'a, Option<Arc<UnixStream>>>,
}

impl Seat<'_> {
    /// The connection of the attached recorder.
    pub fn recorder(&self) -> Option<BorrowedFd<'_>> {
        self.current.as_deref().map(AsFd::as_fd)
    }

    /// The socket that recorders connect to.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.host.listener.as_fd()
    }
}

impl Host {
    /// Listens at `path` (mode 0600; a socket left behind by a dead relay is replaced).
    pub fn bind(path: &Path, handles: Vec<Handles>, epoch: u64) -> io::Result<Self> {
        if handles.len() > MAX_RINGS {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("more than {MAX_RINGS} rings")));
        }
        Ok(Self::resume(crate::sys::unix::listen(path)?, handles, epoch, None))
    }

    /// Goes on where another process's host was, with its recorder.
    pub fn resume(
        listener: UnixListener,
        handles: Vec<Handles>,
        epoch: u64,
        recorder: Option<UnixStream>,
    ) -> Self {
        Self { listener, handles, epoch, current: Current(Mutex::new(recorder.map(Arc::new))) }
    }

    /// The rings' handles.
    pub fn handles(&self) -> &[Handles] {
        &self.handles
    }

    /// Keeps recorders from coming and going.
    pub fn seat(&self) -> Seat<'_> {
        Seat { host: self, current: self.current.lock() }
    }

    /// Serves recorders for ever, on a thread of its own; tells each change of the attached recorder.
    pub fn serve(&self, mut attached: impl FnMut(bool)) -> io::Result<()> {
        loop {
            let current = self.current.lock().clone();
            let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
            fds.extend(current.iter().map(|c| PollFd::new(c, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let incoming = fds.first().is_some_and(|f| !f.revents().is_empty());
            let mut seat = self.current.lock();
            if seat.as_deref().is_some_and(ended) {
                *seat = None;
                attached(false);
            }
            if incoming {
                let link = match self.listener.accept() {
                    Ok((link, _)) => link,
                    Err(e) => {
                        // Want of descriptors or memory passes.
                        tracing::warn!("a recorder could not connect: {e}");
                        drop(seat);
                        std::thread::sleep(Duration::from_millis(100));
                        continue;
                    }
                };
                let granted = seat.is_none();
                if let Err(e) = self.greet(&link, granted) {
                    tracing::warn!("a recorder could not be given the tap: {e}");
                } else if granted {
                    link.set_nonblocking(true)?;
                    *seat = Some(Arc::new(link));
                    attached(true);
                } else {
                    tracing::warn!("a second recorder was refused");
                }
            }
        }
    }

    fn greet(&self, link: &UnixStream, granted: bool) -> io::Result<()> {
        let handles = if granted { self.handles.as_slice() } else { &[] };
        let verdict = if granted { GRANTED } else { TAKEN };
        let rings = u32::try_from(handles.len()).unwrap_or(0);
        let mut greeting = MAGIC.to_vec();
        greeting.extend(
            verdict.to_ne_bytes().into_iter().chain(rings.to_ne_bytes()).chain(self.epoch.to_ne_bytes()),
        );
        let fds: Vec<BorrowedFd<'_>> = handles.iter().flat_map(Handles::fds).collect();
        rights::send(link, &greeting, &fds)
    }
}

/// Whether the other process has closed its end (nothing is ever sent on the link after the greeting).
fn ended(link: &UnixStream) -> bool {
    match rustix::net::recv(link, &mut [0_u8; 1], RecvFlags::DONTWAIT) {
        Ok((_, n)) => n == 0,
        Err(e) => e != rustix::io::Errno::AGAIN && e != rustix::io::Errno::INTR,
    }
}

fn timespec(timeout: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    }
}

impl From<Poisoned> for io::Error {
    fn from(poisoned: Poisoned) -> Self {
        Self::new(io::ErrorKind::InvalidData, poisoned)
    }
}
