//! Stub.
use crate::rate::Rate;
/// Resampler.
#[derive(Debug)]
pub struct Resampler;
impl Resampler {
    /// New.
    pub fn new(_: u32, _: Rate) -> Self {
        Self
    }
    /// Push.
    pub fn push(&mut self, _: &[i16], _: &mut Vec<i16>) {}
    /// Delay.
    pub fn delay(&self) -> i64 {
        0
    }
    /// Reset.
    pub fn reset(&mut self) {}
}
