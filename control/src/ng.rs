//! NG protocol over UDP, as Kamailio's and OpenSIPS's rtpengine modules speak it.
//!
//! [`server`] owns the socket; everything else is pure: [`value`] and [`bencode`] are the encodings, [`message`]
//! the requests and replies, [`flags`] and [`sides`] the options of a request, [`error`] what a proxy is told when it cannot
//! have what it asked for, [`cache`] the replies given.

pub mod bencode;
pub mod cache;
pub mod counts;
pub mod error;
pub mod flags;
pub mod message;
pub mod server;
pub mod sides;
pub mod value;
