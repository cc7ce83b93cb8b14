//! The section `[recorder]` of `pop.toml`.

relay::settings::settings! {
    /// The recorder: what is kept of a recorded call, and how it is encoded.
    pub struct Settings in "recorder" {
        /// Whether the captured packets are kept beside the audio, as the master that its hashes are checked against.
        keep_packets: bool = true;
        /// Bits per second of each side of the audio that has 8 kHz, 12000 to 128000; one of 16 kHz and more gets twice as
        /// many. benches/RESULTS.md (encoding) has the table that this and the next one were chosen by.
        bitrate: u32 = 40_000, check |v: &u32| if (12_000..=128_000).contains(v) { Ok(()) } else { Err("is not within 12000 to 128000".into()) };
        /// CPU against quality of the encoder, 0 to 10. More bits do more than more of this.
        complexity: u8 = 0, check |v: &u8| if *v <= 10 { Ok(()) } else { Err("is over 10".into()) };
        /// Level in dBFS below which a side is written as silence, -90 to -40, after 200 ms; 0: never.
        silence_dbfs: i8 = -60, check |v: &i8| if (-90..=-40).contains(v) || *v == 0 { Ok(()) } else { Err("is neither within -90 to -40 nor 0".into()) };
        /// Threads that encode; 0: one per core.
        encoders: u16 = 0, check |v: &u16| if *v <= 256 { Ok(()) } else { Err("is over 256".into()) };
    }
}
