//! RNN, GRU, LSTM.

pub(super) mod activation;
pub(super) mod cells;
pub(super) mod layer;
