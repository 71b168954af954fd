//! A small seeded generator, for cutting input: `FASTCGI_SEED=` repeats a run.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of this run, printed so that a failure shows it.
pub fn seed() -> u64 {
    let seed = match env::var("FASTCGI_SEED") {
        Ok(seed) => seed.parse().expect("FASTCGI_SEED must be a number"),
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(1, |time| time.as_nanos() as u64),
    };
    println!("FASTCGI_SEED={seed}");
    seed
}

/// SplitMix64: every seed is a good one.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Sizes of pieces: many of a few bytes, to cut heads, and some large ones, to get on.
    pub fn piece(&mut self) -> usize {
        let limit = [3, 9, 40, 700, 40_000][(self.next() % 5) as usize];
        1 + (self.next() % limit) as usize
    }
}
