use std::sync::Arc;

use super::{Accept, Endpoint, Progress};

/// Random draws that may hit endpoints that are down before all are looked at in order.
const DRAWS: usize = 8;

/// The less busy of two, drawn by weight (Mitzenmacher, "The power of two choices in randomized
/// load balancing", 2001): nearly as good as asking all, and gateways that don't know of each
/// other don't all run to the same idle endpoint.
#[derive(Debug)]
pub(super) struct LessBusy {
    /// Sums of the weights so far.
    sums: Box<[u64]>,
    total: u64,
}

impl LessBusy {
    pub fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        let mut total = 0;
        let sums = endpoints
            .iter()
            .map(|endpoint| {
                total += u64::from(endpoint.weight);
                total
            })
            .collect();
        Self { sums, total }
    }

    pub fn select<'e>(
        &self,
        endpoints: &'e [Arc<Endpoint>],
        progress: &Progress,
        accept: Accept<'_>,
    ) -> Option<&'e Arc<Endpoint>> {
        let first = self.draw(endpoints, progress, accept)?;
        let another = |endpoint: &Endpoint| !std::ptr::eq(endpoint, &**first) && accept(endpoint);
        let Some(second) = self.draw(endpoints, progress, &another) else {
            return Some(first);
        };
        // Drawn by weight, the first stands if both are as busy: an idle cluster is used by weight.
        Some(if load(second, first) < load(first, second) { second } else { first })
    }

    fn draw<'e>(
        &self,
        endpoints: &'e [Arc<Endpoint>],
        progress: &Progress,
        accept: Accept<'_>,
    ) -> Option<&'e Arc<Endpoint>> {
        for _ in 0..DRAWS.min(4 * endpoints.len()) {
            let mark = progress.roll(self.total);
            let index = self.sums.partition_point(|sum| *sum <= mark);
            if let Some(endpoint) = endpoints.get(index).filter(|endpoint| accept(endpoint)) {
                return Some(endpoint);
            }
        }
        // Most are down or tried: start anywhere, so that the first one left isn't run over.
        let start = usize::try_from(progress.roll(endpoints.len() as u64)).unwrap_or(0);
        endpoints.iter().cycle().skip(start).take(endpoints.len()).find(|it| accept(it))
    }
}

/// Requests in progress for each share, times the other's weight: compares without division.
fn load(endpoint: &Endpoint, other: &Endpoint) -> u128 {
    endpoint.in_flight() as u128 * u128::from(other.weight)
}
