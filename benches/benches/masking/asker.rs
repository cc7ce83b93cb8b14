//! A client of HTTP/1.1 on one thread: connections that are kept, each with one request at a time.
//!
//! As little as will do, since it must never be what is measured: it says afterwards how busy it was.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

/// Longest wait for any answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came back to one request.
#[derive(Debug)]
pub struct Answer<'a> {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: &'a str,
    /// From sending the request to the last byte of its answer.
    pub took: Duration,
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    began: Instant,
    busy: bool,
}

/// Asks `server` over `connections` connections for as long as `lasting`. `next` writes the next request, `taken`
/// takes its answer.
pub fn ask(
    server: SocketAddr,
    connections: usize,
    lasting: Duration,
    mut next: impl FnMut(&mut Vec<u8>),
    mut taken: impl FnMut(Answer<'_>),
) -> Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut all = Vec::with_capacity(connections);
    for index in 0..connections {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&poll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        let (request, answer) = (Vec::with_capacity(1024), vec![0; 16_384]);
        all.push(Connection { stream, request, sent: 0, answer, began: Instant::now(), busy: false });
    }
    let end = Instant::now() + lasting;
    for connection in &mut all {
        connection.send(&mut next)?;
    }
    let mut events = Vec::with_capacity(connections);
    let patience = rustix::time::Timespec::try_from(PATIENCE)?;
    while all.iter().any(|connection| connection.busy) {
        events.clear();
        if epoll::wait(&poll, spare_capacity(&mut events), Some(&patience))? == 0 {
            bail!("no answer within {PATIENCE:?}");
        }
        for event in &events {
            let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let connection = all.get_mut(index).context("an event of no connection")?;
            if connection.receive(&mut taken)? && Instant::now() < end {
                connection.send(&mut next)?;
            }
        }
    }
    Ok(())
}

impl Connection {
    fn send(&mut self, next: &mut impl FnMut(&mut Vec<u8>)) -> Result<()> {
        self.request.clear();
        next(&mut self.request);
        self.sent = 0;
        (self.began, self.busy) = (Instant::now(), true);
        // A request is far shorter than what a socket takes.
        Ok(self.stream.write_all(&self.request)?)
    }

    /// Reads what is there; whether the answer is whole.
    fn receive(&mut self, taken: &mut impl FnMut(Answer<'_>)) -> Result<bool> {
        match self.stream.read(&mut self.answer[self.sent..]) {
            Ok(0) => bail!("the server has closed a connection"),
            Ok(read) => self.sent += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let text = std::str::from_utf8(&self.answer[..self.sent])?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(false) };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() < length.context("an answer without its length")?.parse()? {
            return Ok(false);
        }
        let status = head.get(9..12).and_then(|status| status.parse().ok()).context("no status")?;
        taken(Answer { status, body, took: self.began.elapsed() });
        (self.sent, self.busy) = (0, false);
        Ok(true)
    }
}
