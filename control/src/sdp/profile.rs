//! RTP profiles: what an m-line's protocol says of feedback and of encryption.
//!
//! Pure.

/// The profiles that parties speak (RFC 3551, RFC 4585, RFC 3711, RFC 5124, RFC 5764).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// RTP.
    Avp,
    /// RTP with feedback.
    Avpf,
    /// SRTP.
    Savp,
    /// SRTP with feedback.
    Savpf,
    /// DTLS-SRTP.
    TlsSavp,
    /// DTLS-SRTP with feedback.
    TlsSavpf,
}

/// How packets of a profile are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    None,
    /// SRTP, its keys in the SDP (RFC 4568).
    Sdes,
    /// SRTP, its keys agreed on in the media's own path (RFC 5763).
    Dtls,
}

impl Profile {
    const ALL: [Self; 6] = [Self::Avp, Self::Avpf, Self::Savp, Self::Savpf, Self::TlsSavp, Self::TlsSavpf];

    /// The profile that an m-line names.
    pub fn read(protocol: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == protocol)
    }

    /// As m-lines name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avp => "RTP/AVP",
            Self::Avpf => "RTP/AVPF",
            Self::Savp => "RTP/SAVP",
            Self::Savpf => "RTP/SAVPF",
            Self::TlsSavp => "UDP/TLS/RTP/SAVP",
            Self::TlsSavpf => "UDP/TLS/RTP/SAVPF",
        }
    }

    /// How its packets are protected.
    pub const fn security(self) -> Security {
        match self {
            Self::Avp | Self::Avpf => Security::None,
            Self::Savp | Self::Savpf => Security::Sdes,
            Self::TlsSavp | Self::TlsSavpf => Security::Dtls,
        }
    }

    /// Whether it has RTCP feedback (RFC 4585).
    pub const fn feedback(self) -> bool {
        matches!(self, Self::Avpf | Self::Savpf | Self::TlsSavpf)
    }
}
