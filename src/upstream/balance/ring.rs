use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use pingora_load_balancing::Backend;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent};

use super::{Accept, Endpoint, Shares};

/// Most shares of one endpoint on the ring; each is 160 points.
const MOST_SHARES: u32 = 100;
const POINTS_OF_A_SHARE: usize = 160;

/// Ketama's ring: when an endpoint leaves, only its own keys move.
pub(super) struct Ring {
    ring: Arc<Consistent>,
    points: usize,
}

/// Where a point's endpoint stands in the list.
#[derive(Clone, Copy)]
struct Index(usize);

impl Ring {
    pub fn new(endpoints: &[Arc<Endpoint>], shares: &Shares) -> Self {
        let mut backends = BTreeSet::new();
        let mut points = 0;
        for (index, endpoint) in endpoints.iter().enumerate() {
            let share = shares.of(endpoint.weight, MOST_SHARES) as usize;
            let mut backend = Backend {
                addr: pingora::protocols::l4::socket::SocketAddr::Inet(endpoint.address),
                weight: share,
                ext: http::Extensions::new(),
            };
            backend.ext.insert(Index(index));
            points += share * POINTS_OF_A_SHARE;
            backends.insert(backend);
        }
        Self { ring: Arc::new(Consistent::build(&backends)), points }
    }

    pub fn select<'e>(
        &self,
        endpoints: &'e [Arc<Endpoint>],
        key: &str,
        accept: Accept<'_>,
    ) -> Option<&'e Arc<Endpoint>> {
        let mut walk = self.ring.iter(key.as_bytes());
        // The iterator goes round for ever.
        for miss in 0..self.points {
            let Index(index) = walk.next()?.ext.get::<Index>()?;
            if let Some(endpoint) = endpoints.get(*index).filter(|endpoint| accept(endpoint)) {
                return Some(endpoint);
            }
            if miss == 0 && !endpoints.iter().any(|endpoint| accept(endpoint)) {
                return None;
            }
        }
        // Two hosts with one address share its points; the other one is found here.
        endpoints.iter().find(|endpoint| accept(endpoint))
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} points)", self.points)
    }
}
