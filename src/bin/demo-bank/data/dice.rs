//! Repeatable chance: the same seed throws the same numbers on every machine and in every run.

use super::money::Money;

/// A SplitMix64 generator (Steele, Lea and Flood, OOPSLA 2014). Good enough for plausible data, and never to be used for keys.
pub struct Dice(u64);

impl Dice {
    /// Dice for exactly these words, in this order.
    pub fn new(words: &[&str]) -> Self {
        // FNV-1a, with each word's length in front so that ("ab", "c") and ("a", "bc") differ.
        let mut seed = 0xcbf2_9ce4_8422_2325_u64;
        let mut stir = |byte: u8| seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for word in words {
            word.len().to_le_bytes().into_iter().for_each(&mut stir);
            word.bytes().for_each(&mut stir);
        }
        Self(seed)
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `low..=high`; `low` when the range is empty.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).saturating_add(1).max(1);
        let (width, thrown) = (i128::from(width), i128::from(self.throw() >> 1));
        // Scaling keeps the better, upper bits; below 2^63 * width the product fits easily.
        let offset = (thrown * width) >> 63;
        low.saturating_add(i64::try_from(offset).unwrap_or(0))
    }

    /// An amount of `low..=high` minor units.
    pub fn money(&mut self, low: i64, high: i64) -> Money {
        Money::cents(self.between(low, high))
    }

    /// One of the choices.
    pub fn pick<T: Copy>(&mut self, choices: Choices<T>) -> T {
        let Choices(first, rest) = choices;
        let index = self.between(-1, i64::try_from(rest.len()).unwrap_or(i64::MAX) - 1);
        usize::try_from(index).ok().and_then(|index| rest.get(index)).copied().unwrap_or(first)
    }
}

/// At least one thing to choose from: the first, and the rest.
#[derive(Clone, Copy)]
pub struct Choices<T: 'static>(pub T, pub &'static [T]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_throw_the_same_numbers() {
        let throws = |words: &[&str]| {
            let mut dice = Dice::new(words);
            [(); 8].map(|()| dice.between(0, 1_000_000))
        };
        assert_eq!(throws(&["cards", "A1"]), throws(&["cards", "A1"]));
        assert_ne!(throws(&["cards", "A1"]), throws(&["card", "sA1"]));
    }

    #[test]
    fn throws_reach_both_ends_and_nothing_beyond() {
        let mut dice = Dice::new(&["ends"]);
        let thrown: std::collections::BTreeSet<i64> =
            (0..1_000).map(|_| dice.between(-2, 3)).collect();
        assert_eq!(thrown.into_iter().collect::<Vec<_>>(), [-2, -1, 0, 1, 2, 3]);
    }

    #[test]
    fn every_choice_comes_up() {
        let mut dice = Dice::new(&["choices"]);
        let picked: std::collections::BTreeSet<&str> =
            (0..200).map(|_| dice.pick(Choices("a", &["b", "c"]))).collect();
        assert_eq!(picked.into_iter().collect::<String>(), "abc");
    }
}
