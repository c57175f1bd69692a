//! The bank's books: what each service knows of an account.
//!
//! Everything follows from the service and the account id, so that every run, every machine and every instance tells the same.
//! Only transfers ordered through the API add to it.

mod cards;
mod checking;
mod date;
mod dice;
mod household;
mod investments;
mod loans;
mod money;
mod savings;
mod statement;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub use date::Date;
pub use money::{CURRENCY, Money};
pub use statement::{AS_OF, Category, Entry, Page, Statement};

use crate::service::Service;
use household::Household;

/// One account as one service knows it.
pub struct Account {
    service: Service,
    household: Household,
    statement: Statement,
}

impl Account {
    /// Opens the books. `transfers` were ordered through the API; only the checking service has any.
    pub fn open(service: Service, id: &str, transfers: Vec<Entry>) -> Self {
        let household = Household::of(id);
        let statement = match service {
            Service::Checking => checking::statement(&household, transfers),
            Service::Savings => savings::statement(&household),
            Service::Cards => cards::statement(&household),
            Service::Loans => loans::statement(&household),
            Service::Investments => investments::statement(&household),
        };
        Self { service, household, statement }
    }

    /// The account with its balances and its last five transactions.
    pub fn view(&self) -> Value {
        let view = match self.service {
            Service::Checking => checking::view,
            Service::Savings => savings::view,
            Service::Cards => cards::view,
            Service::Loans => loans::view,
            Service::Investments => investments::view,
        };
        view(&self.household, &self.statement)
    }

    /// All transactions, oldest first.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// One position of a depot, or `None` when there is no such position.
    pub fn position(&self, symbol: &str) -> Option<Value> {
        match self.service {
            Service::Investments => {
                investments::position_view(&self.household, &self.statement, symbol)
            }
            Service::Checking | Service::Savings | Service::Cards | Service::Loans => None,
        }
    }

    /// What is in the account now.
    pub fn balance(&self) -> Money {
        self.statement.entries.last().map_or(Money::ZERO, |entry| entry.balance)
    }
}

/// Whether the bank has this account: every id of letters, digits and hyphens, up to 64, but for those that start with `none`.
pub fn exists(id: &str) -> bool {
    let fits = (1..=64).contains(&id.len());
    fits && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !id.starts_with("none")
}
