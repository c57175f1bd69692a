use std::sync::Arc;

use super::{Accept, Endpoint, Progress, Shares};

/// Most turns of one endpoint in a round.
const MOST_TURNS: u32 = 1000;

/// Round robin by weight, interleaved: weights 3 and 1 give `A A B A`, not bursts.
///
/// Pingora's own round robin sends all of a weight's requests in a row, forgets whose turn it was
/// whenever the list changes, and stores a weight of a million as a million entries.
#[derive(Debug)]
pub(super) struct InTurn {
    /// Indices of endpoints.
    turns: Box<[u32]>,
}

impl InTurn {
    pub fn new(endpoints: &[Arc<Endpoint>], shares: &Shares) -> Self {
        let mut turns: Vec<(u64, u32)> = Vec::new();
        for (index, endpoint) in (0..).zip(endpoints) {
            let share = u64::from(shares.of(endpoint.weight, MOST_TURNS));
            // The middle of each of the endpoint's equal parts of the round.
            turns.extend((0..share).map(|turn| (((2 * turn + 1) << 32) / (2 * share), index)));
        }
        turns.sort_unstable();
        Self { turns: turns.into_iter().map(|(_, index)| index).collect() }
    }

    pub fn select<'e>(
        &self,
        endpoints: &'e [Arc<Endpoint>],
        progress: &Progress,
        accept: Accept<'_>,
    ) -> Option<&'e Arc<Endpoint>> {
        for miss in 0..self.turns.len() {
            // A turn that can't be taken is used up: if its neighbour took it, the neighbour
            // would carry the whole share of one that is down.
            let turn = progress.next_turn().checked_rem(self.turns.len())?;
            let index = usize::try_from(*self.turns.get(turn)?).ok()?;
            if let Some(endpoint) = endpoints.get(index).filter(|endpoint| accept(endpoint)) {
                return Some(endpoint);
            }
            if miss == 0 && !endpoints.iter().any(|endpoint| accept(endpoint)) {
                return None;
            }
        }
        // Others took the turns in between.
        endpoints.iter().find(|endpoint| accept(endpoint))
    }
}
