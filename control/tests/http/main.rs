//! The HTTP API over real sockets: every route, its token, its mistakes; and that no number leaves by any of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(clippy::needless_pass_by_value, reason = "JSON is written where it is sent")]

mod access;
mod calling;
mod contract;
mod description;
mod doors;
mod drain;
mod leaks;
mod life;
mod pauses;
mod pools;
mod privacy;
mod readme;
mod recordings;
mod refusals;
mod routes;
mod server;
