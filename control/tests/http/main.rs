//! The HTTP API over real sockets: every route, its token, its mistakes; and that no number leaves by any of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod access;
mod calling;
mod contract;
mod description;
mod doors;
mod leaks;
mod life;
mod routes;
mod server;
