//! One step of each kind of cell, for one sequence.

use super::activation::Activation;
use crate::operators::number::Real;

/// The kinds of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Gru { linear_before_reset: bool },
    Lstm { coupled: bool },
}

impl Kind {
    /// How many gates a cell has.
    pub(super) fn gates(self) -> usize {
        match self {
            Self::Plain => 1,
            Self::Gru { .. } => 3,
            Self::Lstm { .. } => 4,
        }
    }
}

/// What a step of a direction needs besides the states.
pub(super) struct Cell<'a, T> {
    pub(super) kind: Kind,
    pub(super) size: usize,
    pub(super) activations: &'a [Activation],
    /// The bound of what activations are given.
    pub(super) clip: Option<T>,
    /// The biases of the recurrence, one for each row of the gates.
    pub(super) recurrent_bias: &'a [T],
    /// The peepholes of the input, output and forget gates, or nothing.
    pub(super) peepholes: &'a [T],
}

impl<T: Real> Cell<'_, T> {
    fn activate(&self, function: usize, value: T) -> T {
        let value = match self.clip {
            Some(clip) => value.greatest(-clip).least(clip),
            None => value,
        };
        self.activations[function].apply(value)
    }

    /// Of an RNN: the gates are the sum of the input's part, the recurrence's and the biases.
    pub(super) fn plain(&self, gates: &[T], state: &mut [T]) {
        for (value, gate) in state.iter_mut().zip(gates) {
            *value = self.activate(0, *gate);
        }
    }

    fn peephole(&self, gate: usize, place: usize) -> T {
        self.peepholes.get(gate * self.size + place).copied().unwrap_or(T::ZERO)
    }

    /// Of an LSTM, whose gates are input, output, forget and cell.
    pub(super) fn lstm(&self, gates: &[T], state: &mut [T], memory: &mut [T], coupled: bool) {
        let size = self.size;
        for place in 0..size {
            let before = memory[place];
            let input = self.activate(0, gates[place] + self.peephole(0, place) * before);
            let forget = if coupled {
                T::ONE - input
            } else {
                self.activate(0, gates[2 * size + place] + self.peephole(2, place) * before)
            };
            let candidate = self.activate(1, gates[3 * size + place]);
            let next = forget * before + input * candidate;
            let output = self.activate(0, gates[size + place] + self.peephole(1, place) * next);
            memory[place] = next;
            state[place] = output * self.activations[2].apply(next);
        }
    }

    /// Of a GRU, the update and reset gates, which are the first two.
    pub(super) fn update_and_reset(&self, gates: &mut [T]) {
        for gate in &mut gates[..2 * self.size] {
            *gate = self.activate(0, *gate);
        }
    }

    /// Of a GRU, the next state: `hidden` is the recurrence's part of the hidden gate, the
    /// reset gate and the bias already in it.
    pub(super) fn gru(&self, gates: &[T], hidden: &[T], state: &mut [T]) {
        let size = self.size;
        for (place, value) in state.iter_mut().enumerate() {
            let update = gates[place];
            let candidate = self.activate(1, gates[2 * size + place] + hidden[place]);
            *value = (T::ONE - update) * candidate + update * *value;
        }
    }
}
