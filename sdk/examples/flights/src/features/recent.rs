//! The last few values of a series.

use std::collections::VecDeque;

/// The last `N` values.
#[derive(Debug)]
pub struct Recent<const N: usize>(VecDeque<i64>);

impl<const N: usize> Recent<N> {
    pub fn new() -> Recent<N> {
        Recent(VecDeque::with_capacity(N))
    }

    pub fn push(&mut self, value: i64) {
        if self.0.len() == N {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    pub fn max(&self) -> Option<i64> {
        self.0.iter().copied().max()
    }

    pub fn mean(&self) -> Option<f64> {
        let sum: i64 = self.0.iter().sum();
        (!self.0.is_empty()).then(|| sum as f64 / self.0.len() as f64)
    }
}
