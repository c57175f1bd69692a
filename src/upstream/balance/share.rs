use crate::config::model::Endpoint;

/// Turns weights into small whole shares.
///
/// Made from the configuration alone: if shares were made from the addresses at hand, one that
/// leaves could change everybody's, and with it most places on a hash ring.
#[derive(Debug)]
pub(in crate::upstream) struct Shares {
    divisor: u32,
    largest: u32,
}

impl Shares {
    /// Shares for a cluster's entries.
    pub fn new(entries: &[Endpoint]) -> Self {
        let divisor =
            entries.iter().fold(0, |so_far, entry| greatest_divisor(so_far, entry.weight));
        let largest = entries.iter().map(|entry| entry.weight).max().unwrap_or(1);
        Self { divisor: divisor.max(1), largest: largest.max(1) }
    }

    /// The share of a weight: in proportion to the others, from 1 to `most`. Rounded only where
    /// `most` is too small for the configuration's weights.
    pub fn of(&self, weight: u32, most: u32) -> u32 {
        let exact = weight / self.divisor;
        if self.largest / self.divisor <= most {
            return exact.max(1);
        }
        let scaled = u64::from(weight) * u64::from(most) / u64::from(self.largest);
        u32::try_from(scaled).unwrap_or(most).clamp(1, most)
    }
}

fn greatest_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[u32], most: u32) -> Vec<u32> {
        let entries: Vec<Endpoint> = weights
            .iter()
            .map(|weight| Endpoint { host: "10.0.0.1".into(), port: 80, weight: *weight })
            .collect();
        let shares = Shares::new(&entries);
        weights.iter().map(|weight| shares.of(*weight, most)).collect()
    }

    #[test]
    fn shares_are_the_weights_without_their_common_divisor() {
        assert_eq!(shares(&[100, 100], 1000), [1, 1]);
        assert_eq!(shares(&[300, 200, 100], 1000), [3, 2, 1]);
        assert_eq!(shares(&[99, 1], 1000), [99, 1]);
    }

    #[test]
    fn huge_weights_are_scaled_down_and_nobody_is_left_without_a_share() {
        assert_eq!(shares(&[u32::MAX, u32::MAX / 2, 1], 100), [100, 49, 1]);
        assert_eq!(shares(&[], 100), [0; 0]);
    }
}
