//! What was booked on an account, and the pages that a caller reads of it.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::date::{Date, Month};
use super::investments::Quantity;
use super::money::{CURRENCY, Money};
use crate::service::Service;

/// The first month of everybody's history.
pub const FIRST_MONTH: Month = Month::new(2021, 1);

/// Five years.
pub const MONTHS: i64 = 60;

/// The bank's business date, the last day of its history. Fixed, so that answers never change from one day to the next.
pub const AS_OF: Date = Date::from_civil(2025, 12, 31);

/// The months of the history, oldest first.
pub fn months() -> impl Iterator<Item = Month> {
    (0..MONTHS).map(|months| FIRST_MONTH.plus(months))
}

/// What a transaction was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Category {
    /// Wages from the employer.
    Salary,
    /// Rent for the home.
    Rent,
    /// Electricity, internet, telephone.
    Utilities,
    /// Premiums.
    Insurance,
    /// Food to cook.
    Groceries,
    /// Food that others cooked.
    Dining,
    /// Fuel, trains, taxis.
    Transport,
    /// Things.
    Shopping,
    /// Pharmacies and practices.
    Health,
    /// Films, music, games.
    Entertainment,
    /// Banknotes from a machine.
    Cash,
    /// The card's monthly bill.
    CardPayment,
    /// An instalment.
    LoanPayment,
    /// Money moved to or from savings.
    Savings,
    /// Securities bought.
    Investment,
    /// Interest earned.
    Interest,
    /// A transfer ordered through this API.
    Transfer,
}

/// What only one kind of account tells of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing more.
    Plain,
    /// The card that paid.
    Card {
        /// Which of the account's cards.
        card_id: String,
    },
    /// How an instalment was split.
    Instalment {
        /// Paid back.
        principal: Money,
        /// Paid for the loan.
        interest: Money,
    },
    /// Securities bought.
    Trade {
        /// Which.
        symbol: &'static str,
        /// How many.
        quantity: Quantity,
        /// At what price each.
        price: Money,
    },
}

/// One booked transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The day of booking.
    pub date: Date,
    /// Below zero when money left the account.
    pub amount: Money,
    /// What for.
    pub category: Category,
    /// Who paid or was paid.
    pub payee: Cow<'static, str>,
    /// The account's balance after this entry.
    pub balance: Money,
    /// What else this kind of account tells.
    pub detail: Detail,
}

impl Entry {
    /// An entry whose balance is not known yet: see [`settle`].
    pub fn new(date: Date, amount: Money, category: Category, payee: &'static str) -> Self {
        Self {
            date,
            amount,
            category,
            payee: payee.into(),
            balance: Money::ZERO,
            detail: Detail::Plain,
        }
    }

    fn view(&self, service: Service, number: usize) -> Value {
        let direction = if self.amount < Money::ZERO { "DEBIT" } else { "CREDIT" };
        let mut view = json!({
            "transactionId": format!("{}-{number:06}", service.name()),
            "date": self.date,
            "amount": self.amount,
            "currency": CURRENCY,
            "direction": direction,
            "category": self.category,
            "payee": self.payee,
            "balanceAfter": self.balance,
        });
        let more = match &self.detail {
            Detail::Plain => json!({}),
            Detail::Card { card_id } => json!({ "cardId": card_id }),
            Detail::Instalment { principal, interest } => {
                json!({ "principal": principal, "interest": interest })
            }
            Detail::Trade { symbol, quantity, price } => {
                json!({ "symbol": symbol, "quantity": quantity, "price": price })
            }
        };
        if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
            view.extend(more);
        }
        view
    }
}

/// Orders the entries by day and writes each one's balance, from the opening balance on. Returns the closing balance.
pub fn settle(opening: Money, entries: &mut [Entry]) -> Money {
    entries.sort_by_key(|entry| entry.date);
    entries.iter_mut().fold(opening, |balance, entry| {
        entry.balance = balance + entry.amount;
        entry.balance
    })
}

/// Everything that was booked on one service's account, oldest first.
pub struct Statement {
    /// Whose numbering the transaction ids follow.
    pub service: Service,
    /// Oldest first.
    pub entries: Vec<Entry>,
}

/// Which transactions a caller wants.
#[derive(Debug)]
pub struct Page {
    /// None before this day.
    pub from: Option<Date>,
    /// None after this day.
    pub to: Option<Date>,
    /// At most this many.
    pub limit: usize,
    /// After leaving out this many of the newest.
    pub offset: usize,
}

impl Page {
    /// The last five, as an account's own answer shows them.
    pub const LATEST: Self = Self { from: None, to: None, limit: 5, offset: 0 };

    fn covers(&self, date: Date) -> bool {
        self.from.is_none_or(|from| from <= date) && self.to.is_none_or(|to| date <= to)
    }
}

impl Statement {
    /// The transactions of that page, newest first.
    pub fn page(&self, page: &Page) -> Vec<Value> {
        self.covered(page)
            .skip(page.offset)
            .take(page.limit)
            .map(|(index, entry)| entry.view(self.service, index + 1))
            .collect()
    }

    /// How many transactions there are in the page's span of days, on this and all other pages.
    pub fn total(&self, page: &Page) -> usize {
        self.covered(page).count()
    }

    fn covered(&self, page: &Page) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries.iter().enumerate().rev().filter(|(_, entry)| page.covers(entry.date))
    }
}
