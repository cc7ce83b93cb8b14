//! Quality as people know it: a mean opinion score (MOS) out of what the relay measured, and where such figures go.
//!
//! [`emodel`] and [`codec`] are ITU-T G.107 and G.113, [`opinion`] applies them to the relay's figures, [`sound`] puts
//! together what is told of one leg of a stream: in NG's `query`, over HTTP, in the histograms of [`tally`] and in the
//! call records of [`record`]. All of that is pure. [`journal`] writes the records, on a thread of its own. Used by
//! the calls half.

pub mod codec;
pub mod emodel;
pub mod journal;
pub mod opinion;
pub mod record;
pub mod sound;
pub mod tally;
