//! SDP, read and rewritten line by line.
