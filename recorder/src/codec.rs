//! From RTP payloads to samples. Pure; used by the archiver.

pub mod event;
mod g711;

use crate::label::Codec;
use crate::rate::TICKS;

/// What a payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Speech that can be decoded.
    Speech(Format),
    /// Comfort noise (RFC 3389).
    ComfortNoise,
    /// DTMF and other events (RFC 4733).
    Event,
    /// What nothing here can decode.
    Undecodable,
}

/// A codec that can be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// PCMA.
    ALaw,
    /// PCMU.
    MuLaw,
    /// Opus.
    Opus {
        /// Channels.
        channels: u8,
    },
}

/// A decoder could not be made or could not decode.
#[derive(Debug, thiserror::Error)]
#[error("codec")]
pub struct CodecError;

impl Format {
    /// Samples per second.
    pub const fn rate(self) -> u32 {
        match self {
            Self::Opus { .. } => 48_000,
            _ => 8000,
        }
    }
    /// Duration of a payload in ticks.
    pub fn ticks(self, payload: &[u8]) -> Option<u32> {
        Some(u32::try_from(payload.len()).unwrap_or(0) * TICKS / 8000)
    }
    /// A decoder.
    pub fn decoder(self) -> Result<Decoder, CodecError> {
        Ok(Decoder(self))
    }
}

/// Decodes.
#[derive(Debug)]
pub struct Decoder(Format);

impl Decoder {
    /// Decodes.
    pub fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), CodecError> {
        match self.0 {
            Format::ALaw => out.extend(payload.iter().map(|b| g711::a_law(*b))),
            Format::MuLaw => out.extend(payload.iter().map(|b| g711::mu_law(*b))),
            Format::Opus { .. } => return Err(CodecError),
        }
        Ok(())
    }
}

/// What is known of a payload type.
#[derive(Debug)]
pub struct Known<'a> {
    /// What it carries.
    pub content: Content,
    /// RTP clock.
    pub clock_rate: u32,
    /// Name.
    pub name: &'a str,
}

/// What is known of the payload types of one side.
#[derive(Debug, Default)]
pub struct PayloadTypes {
    codecs: Vec<Codec>,
}

impl PayloadTypes {
    /// Adds what a label says.
    pub fn learn(&mut self, codecs: &[Codec]) {
        for codec in codecs {
            self.codecs.retain(|c| c != codec);
            self.codecs.push(codec.clone());
        }
    }

    /// What it is.
    pub fn find(&self, payload_type: u8) -> Known<'_> {
        if let Some(codec) = self.codecs.iter().rev().find(|c| c.payload_type == payload_type) {
            let content = match codec.name.to_ascii_uppercase().as_str() {
                "PCMA" => Content::Speech(Format::ALaw),
                "PCMU" => Content::Speech(Format::MuLaw),
                "CN" => Content::ComfortNoise,
                "TELEPHONE-EVENT" => Content::Event,
                _ => Content::Undecodable,
            };
            return Known { content, clock_rate: codec.clock_rate.max(1), name: &codec.name };
        }
        let (content, name) = match payload_type {
            0 => (Content::Speech(Format::MuLaw), "PCMU"),
            8 => (Content::Speech(Format::ALaw), "PCMA"),
            13 => (Content::ComfortNoise, "CN"),
            _ => (Content::Undecodable, "unknown"),
        };
        Known { content, clock_rate: 8000, name }
    }
}
