//! Seeded chance: SplitMix64.

/// A stream of numbers that follows from its seed.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    /// The seed of this run: `TF_TEST_SEED`, or a new one.
    pub fn seed() -> u64 {
        match std::env::var("TF_TEST_SEED") {
            Ok(text) => text.parse().expect("TF_TEST_SEED is a number"),
            Err(_) => u64::from(uuid::Uuid::new_v4().as_fields().0),
        }
    }

    /// Stream `number` of a seed.
    pub fn new(seed: u64, number: usize) -> Self {
        let mut rng = Self(seed ^ (number as u64).wrapping_mul(0xD6E8_FEB8_6659_FD93));
        rng.next();
        rng
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
