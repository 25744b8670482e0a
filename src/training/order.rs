//! The order in which a run sees its pictures: a new permutation every epoch, a function of the seed alone.

use crate::kernels::random::{Purpose, picture_key, threefry2x32};

/// The pictures' order, by position in the whole run.
#[derive(Clone, Debug)]
pub struct Order {
    seed: [u32; 2],
    len: usize,
    epoch: Option<usize>,
    permutation: Vec<u32>,
}

impl Order {
    /// The order of `len` pictures under a seed.
    pub fn new(seed: u64, len: usize) -> Self {
        Self { seed: [seed as u32, (seed >> 32) as u32], len, epoch: None, permutation: Vec::new() }
    }

    /// The picture at a position counted from the run's beginning.
    pub fn picture(&mut self, position: usize) -> usize {
        let epoch = position / self.len;
        if self.epoch != Some(epoch) {
            self.permutation = self.shuffle(epoch);
            self.epoch = Some(epoch);
        }
        self.permutation[position % self.len] as usize
    }

    /// Fisher & Yates' shuffle with the epoch's own random numbers.
    fn shuffle(&self, epoch: usize) -> Vec<u32> {
        let key = picture_key(self.seed, Purpose::Order, epoch as u32);
        let mut permutation: Vec<u32> = (0..self.len as u32).collect();
        for last in (1..self.len).rev() {
            let [low, high] = threefry2x32(key, [0, last as u32]);
            let random = u64::from(low) | u64::from(high) << 32;
            permutation.swap(last, (random % (last as u64 + 1)) as usize);
        }
        permutation
    }

    /// Whether the picture at a position is mirrored.
    pub fn is_flipped(&self, position: usize) -> bool {
        let key = picture_key(self.seed, Purpose::Flip, (position >> 32) as u32);
        threefry2x32(key, [0, position as u32])[0] & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_sees_every_picture_once_in_another_order() {
        let mut order = Order::new(7, 100);
        let mut epoch = |number: usize| (0..100).map(|i| order.picture(number * 100 + i)).collect::<Vec<_>>();
        let (first, second) = (epoch(0), epoch(1));
        assert_ne!(first, second);
        assert_eq!(first, epoch(0), "an order can be asked for again");
        let mut sorted = second.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        let flipped = (0..1000).filter(|&position| order.is_flipped(position)).count();
        assert!((400..600).contains(&flipped));
    }
}
