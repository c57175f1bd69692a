use std::sync::{Mutex, PoisonError};

use super::key::Key;

/// Sets of the table; a power of two.
const SETS: usize = 16_384;
/// Buckets of a set: scanned one by one, 24 bytes each.
const WAYS: usize = 16;

/// Arrival times by key, in bounded memory: at most [`SETS`] × [`WAYS`] = 262,144 keys, 6 MiB.
///
/// A key belongs to one set, picked by its secret hash. In a full set the newcomer takes the place
/// of the bucket with the *earliest* arrival time: one that is full again and says nothing, if
/// there is one, else the one with the fewest requests counted. A flood of new keys has one
/// request on each, so its keys push out each other and never a caller that has used up its rate:
/// to make the table forget a caller with n requests counted, every other bucket of the caller's
/// set needs n as well, and since nobody can aim at a set, that takes about n × 262,144 requests.
/// A bucket that is pushed out forgets no more than the least count in its set.
pub(super) struct Buckets {
    sets: Box<[Mutex<Vec<Bucket>>]>,
}

struct Bucket {
    key: Key,
    arrival: u64,
}

impl Buckets {
    pub fn new() -> Self {
        Self { sets: (0..SETS).map(|_| Mutex::new(Vec::new())).collect() }
    }

    /// Replaces a key's arrival time by what `turn` makes of it; 0 for a key that isn't known.
    pub fn update<R>(&self, key: Key, turn: impl FnOnce(u64) -> (u64, R)) -> Option<R> {
        let place = usize::try_from(key.0).unwrap_or_default() % SETS;
        let mut set = self.sets.get(place)?.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = set.iter_mut().find(|bucket| bucket.key == key) {
            let (arrival, outcome) = turn(bucket.arrival);
            bucket.arrival = arrival;
            return Some(outcome);
        }
        let (arrival, outcome) = turn(0);
        let bucket = Bucket { key, arrival };
        if set.len() < WAYS {
            set.push(bucket);
        } else if let Some(least) = set.iter_mut().min_by_key(|bucket| bucket.arrival) {
            *least = bucket;
        }
        Some(outcome)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.sets.iter().map(|set| set.lock().unwrap().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    /// Keys as the hasher gives them: uniform.
    fn keys() -> impl FnMut(u64) -> Key {
        let (first, second) = (RandomState::new(), RandomState::new());
        move |number| Key(first.hash_one(number), second.hash_one(number))
    }

    fn put(buckets: &Buckets, key: Key, arrival: u64) {
        buckets.update(key, |_| (arrival, ())).unwrap();
    }

    fn arrival(buckets: &Buckets, key: Key) -> u64 {
        buckets.update(key, |arrival| (arrival, arrival)).unwrap()
    }

    #[test]
    fn a_flood_of_new_keys_takes_bounded_memory() {
        let (buckets, mut key) = (Buckets::new(), keys());
        for number in 0..1_000_000 {
            put(&buckets, key(number), number);
        }
        assert!(buckets.len() <= SETS * WAYS);
        assert!(buckets.len() > SETS * WAYS * 9 / 10, "the table is used: {}", buckets.len());
    }

    #[test]
    fn a_flood_forgets_no_caller_with_more_requests_than_the_flood_has_on_a_key() {
        let (buckets, mut key) = (Buckets::new(), keys());
        let callers: Vec<Key> = (0..1_000).map(&mut key).collect();
        for caller in &callers {
            put(&buckets, *caller, 1_000);
        }
        for number in 10_000..1_500_000 {
            put(&buckets, key(number), 10);
        }
        for caller in &callers {
            assert_eq!(arrival(&buckets, *caller), 1_000);
        }
    }

    #[test]
    fn a_hundred_thousand_active_keys_are_nearly_all_remembered() {
        let (buckets, mut key) = (Buckets::new(), keys());
        let callers: Vec<Key> = (0..100_000).map(&mut key).collect();
        for caller in &callers {
            put(&buckets, *caller, 7);
        }
        let forgotten = callers
            .iter()
            .filter(|caller| {
                let set = buckets.sets[usize::try_from(caller.0).unwrap() % SETS].lock().unwrap();
                !set.iter().any(|bucket| bucket.key == **caller)
            })
            .count();
        assert!(forgotten < 100, "{forgotten} of 100,000 were forgotten");
    }
}
