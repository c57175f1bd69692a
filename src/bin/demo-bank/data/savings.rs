//! The savings account: what the current account leaves over, and interest.

use serde_json::{Value, json};

use super::checking;
use super::date::Month;
use super::dice::Dice;
use super::household::Household;
use super::money::{CURRENCY, Money};
use super::statement::{AS_OF, Category, Entry, Page, Statement, settle};
use crate::service::Service;

/// Five years of the savings account.
pub fn statement(household: &Household) -> Statement {
    let mut entries = Vec::new();
    let mut balance = household.savings_opening;
    for (month, deposit) in checking::sweeps(household) {
        let mut booked = Vec::new();
        if deposit > Money::ZERO {
            booked.push(Entry::new(month.day(28), deposit, Category::Savings, "From checking"));
        }
        booked.extend(holiday(household, month, balance));
        // Interest is earned on what lay there all month.
        let interest = balance.monthly_interest(household.savings_basis_points);
        booked.push(Entry::new(month.last(), interest, Category::Interest, "Interest paid"));
        balance = settle(balance, &mut booked);
        entries.append(&mut booked);
    }
    Statement { service: Service::Savings, entries }
}

/// The account with its rate, its interest of the year and its last transactions.
pub fn view(household: &Household, statement: &Statement) -> Value {
    let balance = statement.entries.last().map_or(household.savings_opening, |entry| entry.balance);
    let year_begins = Month::new(2025, 1).day(1);
    let interest: Money = statement
        .entries
        .iter()
        .filter(|entry| entry.category == Category::Interest && entry.date >= year_begins)
        .map(|entry| entry.amount)
        .sum();
    let dice = &mut Dice::new(&["savings", &household.account]);
    json!({
        "accountId": household.account,
        "type": "SAVINGS",
        "currency": CURRENCY,
        "balance": { "current": balance, "available": balance, "asOf": AS_OF },
        // A rate is a decimal string of percent, for the same reason as amounts are: no float ever.
        "interestRate": Money::cents(household.savings_basis_points),
        "interestThisYear": interest,
        "maskedNumber": format!("******{:04}", dice.between(0, 9_999)),
        "openedOn": Month::new(2020, 12).plus(-dice.between(0, 96)).day(dice.between(1, 28)),
        "holder": household.holder_view(),
        "transactions": statement.page(&Page::LATEST),
    })
}

/// In July of most years a part of a salary is spent on a journey.
fn holiday(household: &Household, month: Month, balance: Money) -> Option<Entry> {
    let dice = &mut Dice::new(&["holiday", &household.account, &month.to_string()]);
    let cost = household.salary.share(dice.between(2_000, 6_000)).down_to(1_000);
    (month.number() == 7 && cost <= balance && dice.between(0, 3) > 0)
        .then(|| Entry::new(month.day(9), -cost, Category::Savings, "Wayfarer Travel"))
}
