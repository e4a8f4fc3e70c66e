//! Signals: Fourier transforms, windows, the mel scale.

mod fourier;
pub(super) mod spectrum;
pub(super) mod window;
