//! Live calls, programmed into the relay.
