//! The section `[recorder]` of `pop.toml`.

relay::settings::settings! {
    /// The recorder: what is kept of a recorded call, and how it is encoded.
    pub struct Settings in "recorder" {
        /// Whether the captured packets are kept beside the audio, as the master that its hashes are checked against.
        keep_packets: bool = true;
        /// Bits per second of each channel of the audio, 6000 to 128000.
        bitrate: u32 = 16_000, check |v: &u32| if (6_000..=128_000).contains(v) { Ok(()) } else { Err("is not within 6000 to 128000".into()) };
        /// CPU against quality of the encoder, 0 to 10.
        complexity: u8 = 5, check |v: &u8| if *v <= 10 { Ok(()) } else { Err("is over 10".into()) };
        /// Threads that encode, 0 to 255; 0: one per core.
        encoders: u8 = 0;
    }
}
