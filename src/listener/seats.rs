use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::model::ListenerLimits;

/// The connections of one port: how many, and from where.
///
/// Memory is bounded by the connections themselves: an address without any isn't kept.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_network: HashMap<IpAddr, usize>,
}

/// One connection's place; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    network: IpAddr,
}

/// Which bound a connection met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// The port has as many connections as it may.
    Port,
    /// The address has.
    Address,
}

impl Seats {
    /// Takes a seat for a connection from `address`.
    pub fn take(self: &Arc<Self>, address: IpAddr, limits: &ListenerLimits) -> Result<Seat, Full> {
        let network = network(address);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= limits.max_connections {
            return Err(Full::Port);
        }
        let here = taken.by_network.get(&network).copied().unwrap_or_default();
        if here >= limits.max_connections_per_address {
            return Err(Full::Address);
        }
        taken.by_network.insert(network, here + 1);
        taken.all += 1;
        Ok(Seat { seats: self.clone(), network })
    }

    /// Connections that are open.
    pub fn taken(&self) -> usize {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Entry::Occupied(mut entry) = taken.by_network.entry(self.network) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// One customer of an IPv6 network has 2^64 addresses and more, so all of a /64 count as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn limits(all: usize, per_address: usize) -> ListenerLimits {
        ListenerLimits {
            max_connections: all,
            max_connections_per_address: per_address,
            header_timeout: Duration::ZERO,
            body_timeout: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            max_header_bytes: 0,
            max_headers: 0,
            max_uri_bytes: 0,
        }
    }

    fn take(seats: &Arc<Seats>, address: &str, limits: &ListenerLimits) -> Result<Seat, Full> {
        seats.take(address.parse().unwrap(), limits)
    }

    #[test]
    fn a_seat_is_free_again_when_its_connection_is_gone() {
        let (seats, limits) = (Arc::new(Seats::default()), limits(2, 2));
        let first = take(&seats, "192.0.2.1", &limits).unwrap();
        let _second = take(&seats, "192.0.2.2", &limits).unwrap();
        assert_eq!(take(&seats, "192.0.2.3", &limits).unwrap_err(), Full::Port);
        drop(first);
        assert_eq!(seats.taken(), 1);
        take(&seats, "192.0.2.3", &limits).unwrap();
    }

    #[test]
    fn one_address_does_not_take_the_seats_of_others() {
        let (seats, limits) = (Arc::new(Seats::default()), limits(10, 2));
        let _held = [take(&seats, "192.0.2.1", &limits), take(&seats, "192.0.2.1", &limits)];
        assert_eq!(take(&seats, "192.0.2.1", &limits).unwrap_err(), Full::Address);
        assert_eq!(take(&seats, "::ffff:192.0.2.1", &limits).unwrap_err(), Full::Address);
        take(&seats, "192.0.2.2", &limits).unwrap();
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let (seats, limits) = (Arc::new(Seats::default()), limits(10, 1));
        let _held = take(&seats, "2001:db8:1:2::1", &limits).unwrap();
        assert_eq!(take(&seats, "2001:db8:1:2:3::9", &limits).unwrap_err(), Full::Address);
        take(&seats, "2001:db8:1:3::1", &limits).unwrap();
    }

    #[test]
    fn an_address_without_connections_takes_no_memory() {
        let (seats, limits) = (Arc::new(Seats::default()), limits(10, 1));
        for number in 0..1_000u32 {
            drop(seats.take(IpAddr::V4(number.into()), &limits).unwrap());
        }
        assert!(seats.taken.lock().unwrap().by_network.is_empty());
    }
}
