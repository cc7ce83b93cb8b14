//! A relay that was built without the express lane finds nothing that outlived another one.
#![allow(clippy::needless_pass_by_value, reason = "as the one with it has them")]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc;

use super::HandoverError;
use crate::lane::express::Opened;
use crate::server;
use crate::tap::{Handles, Writer};
use crate::worker::handover::Step;

/// There is none.
#[derive(Debug)]
pub struct Revived {
    /// Nothing.
    pub server: Option<server::State>,
    never: std::convert::Infallible,
}

impl Revived {
    /// There is none to be found.
    pub const fn find(
        _: &mut Opened,
        _: impl Fn(SocketAddr) -> std::io::Result<OwnedFd> + Copy,
    ) -> Option<Self> {
        None
    }

    /// None.
    pub const fn calls(&self) -> usize {
        match self.never {}
    }

    /// There is nothing to go on with.
    pub fn hand_over(self, _: &[mpsc::Sender<Step>], _: Vec<(Writer, Handles)>) -> Result<(), HandoverError> {
        match self.never {}
    }
}
