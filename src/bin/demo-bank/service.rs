//! The five account services: the word that ports, counters, switches and books share.

use serde::{Deserialize, Serialize};

/// One of the bank's account services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Current accounts.
    Checking,
    /// Savings accounts.
    Savings,
    /// Credit cards.
    Cards,
    /// Loans.
    Loans,
    /// Depots.
    Investments,
}

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 5] =
        [Self::Checking, Self::Savings, Self::Cards, Self::Loans, Self::Investments];

    /// The word for it in paths, headers and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Savings => "savings",
            Self::Cards => "cards",
            Self::Loans => "loans",
            Self::Investments => "investments",
        }
    }
}

/// One of something for each service.
pub struct ByService<T> {
    checking: T,
    savings: T,
    cards: T,
    loans: T,
    investments: T,
}

impl<T> ByService<T> {
    /// Makes each, in the order of [`Service::ALL`].
    pub fn try_make<E>(mut make: impl FnMut(Service) -> Result<T, E>) -> Result<Self, E> {
        Ok(Self {
            checking: make(Service::Checking)?,
            savings: make(Service::Savings)?,
            cards: make(Service::Cards)?,
            loans: make(Service::Loans)?,
            investments: make(Service::Investments)?,
        })
    }

    /// Hands each over, in the order of [`Service::ALL`], until one fails.
    pub fn try_for_each<E>(
        self,
        mut take: impl FnMut(Service, T) -> Result<(), E>,
    ) -> Result<(), E> {
        take(Service::Checking, self.checking)?;
        take(Service::Savings, self.savings)?;
        take(Service::Cards, self.cards)?;
        take(Service::Loans, self.loans)?;
        take(Service::Investments, self.investments)
    }

    /// The one of this service.
    pub const fn get(&self, service: Service) -> &T {
        match service {
            Service::Checking => &self.checking,
            Service::Savings => &self.savings,
            Service::Cards => &self.cards,
            Service::Loans => &self.loans,
            Service::Investments => &self.investments,
        }
    }

    /// All of them, in the order of [`Service::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Service, &T)> {
        Service::ALL.into_iter().map(|service| (service, self.get(service)))
    }
}
