//! Transfers that were ordered through the API: the only thing in the bank's books that a request can change.

use std::collections::HashMap;
use std::sync::Mutex;

use super::hold;
use crate::data::{AS_OF, Category, Entry, Money};

/// More are refused until the next reset: the books must not fill the memory.
const MOST_TRANSFERS: usize = 100_000;

/// All transfers, by the account that pays.
#[derive(Default)]
pub struct Transfers(Mutex<Ordered>);

#[derive(Default)]
struct Ordered {
    count: usize,
    by_account: HashMap<String, Vec<Entry>>,
}

/// Why a transfer was not booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBooked {
    /// The account does not hold that much.
    TooLittle,
    /// No more transfers are taken.
    Full,
}

impl Transfers {
    /// Books a transfer from an account that held `before` when nothing had been transferred yet, and numbers it, from 1 on.
    ///
    /// Two equal orders are two transfers: a retry that should not have been shows. Of two orders at the same time for the
    /// last of the money, one is booked.
    pub fn book(
        &self,
        from: &str,
        before: Money,
        amount: Money,
        to: &str,
    ) -> Result<usize, NotBooked> {
        let mut ordered = hold(&self.0);
        if ordered.count >= MOST_TRANSFERS {
            return Err(NotBooked::Full);
        }
        let transferred = ordered.by_account.get(from).into_iter().flatten();
        let held = before + transferred.map(|entry| entry.amount).sum();
        if held < amount {
            return Err(NotBooked::TooLittle);
        }
        ordered.count += 1;
        let mut entry = Entry::new(AS_OF, -amount, Category::Transfer, "");
        entry.payee = to.to_owned().into();
        ordered.by_account.entry(from.to_owned()).or_default().push(entry);
        Ok(ordered.count)
    }

    /// What this account paid, oldest first.
    pub fn of(&self, account: &str) -> Vec<Entry> {
        hold(&self.0).by_account.get(account).cloned().unwrap_or_default()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        hold(&self.0).count
    }

    /// Forgets them all.
    pub fn clear(&self) {
        *hold(&self.0) = Ordered::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_order_is_a_second_transfer() {
        let transfers = Transfers::default();
        let book = |amount| transfers.book("A1", Money::cents(250), Money::cents(amount), "A2");
        assert_eq!((book(100), book(100)), (Ok(1), Ok(2)));
        assert_eq!((book(100), book(50)), (Err(NotBooked::TooLittle), Ok(3)));
        assert_eq!((transfers.of("A1").len(), transfers.of("A2").len()), (3, 0));
        transfers.clear();
        assert_eq!((transfers.of("A1").len(), transfers.count()), (0, 0));
    }
}
