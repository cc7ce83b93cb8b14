//! From RTP payloads to samples: what a payload type carries, how long a payload lasts, and a decoder for each
//! codec that has one.
//!
//! Pure; used by the archiver: one [`PayloadTypes`] per side of a call, one [`Decoder`] per sender (SSRC). A codec
//! is added as a variant of [`Format`].
//!
//! # What is not decoded, and why
//! - **AMR and AMR-WB**: no decoder was found that may be shipped for certain. ffmpeg's is LGPL. opencore-amr
//!   (Apache-2.0) is C, and no maintained safe binding of it was found. `rvoip-codec-core` has both in Rust and is
//!   marked MIT, but takes its tables from 3GPP's reference sources (TS 26.073, 26.173), whose terms, quoted in its
//!   own documents, forbid to pass them on. A label also does not carry `octet-align` (RFC 4867, section 8), without
//!   which a payload cannot be taken apart for certain.
//! - **G.729's comfort noise** (annex B, the 2 octets at a payload's end) is silence of its length, as RFC 3389's is.
//!   Speech is decoded by `oxideav-g729` (MIT, written from the Recommendation): what bcg729 encodes it decodes as
//!   ffmpeg does, to a correlation of 0.99. `g729-sys` is marked MIT but follows bcg729, which is under the GPL.
//! - GSM, G.723.1, G.726, G.728, DVI4, Speex, iLBC, SILK, EVS and redundancy (RFC 2198): not asked for.
//!
//! AMR and the last are [`Content::Undecodable`]: their packets are kept, and the manifest says that they were not
//! decoded.

mod decoder;
pub mod event;
mod format;
mod g711;
mod payload_types;

pub use decoder::{DecodeError, Decoder};
pub use format::Format;
pub use payload_types::{Known, PayloadTypes};

/// What a payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// Sound, in a codec that can be decoded.
    Speech(Format),
    /// Comfort noise (RFC 3389): the sender is silent and says how its silence sounds.
    ComfortNoise,
    /// Telephone events (RFC 4733): keys, of which [`event`] tells only how long they were pressed.
    Event,
    /// A codec for which there is no decoder here.
    Undecodable,
}
