//! control: masks numbers, answers the SIP proxy, programs the relay.
//!
//! One process on one current-thread runtime; the store has a thread of its own, and so has the journal of call records.
//! The **masking** half knows numbers, trips, pools and route decisions and is asked over HTTP.
//! The **calls** half knows NG, SDP and the relay. They meet in two places: [`route::RouteBook`]
//! (what was decided for a SIP Call-ID) and [`live::LiveCalls`] (what is going on now).

#![forbid(unsafe_code)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "documentation is for who works here: built with private items"
)]

pub mod call;
pub mod city;
pub mod directory;
pub mod forecast;
pub mod http;
pub mod live;
pub mod masking;
pub mod metrics;
pub mod moment;
pub mod name;
pub mod ng;
pub mod number;
pub mod pace;
pub mod pool;
pub mod quality;
pub mod route;
pub mod sdp;
pub mod secret;
pub mod settings;
pub mod store;
pub mod token;
pub mod trip;
pub mod vital;
