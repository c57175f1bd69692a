//! The current account: salary in, life out.

use serde_json::{Value, json};

use super::cards;
use super::date::Month;
use super::dice::{Choices, Dice};
use super::household::Household;
use super::loans::Loan;
use super::money::{CURRENCY, Money};
use super::statement::{AS_OF, Category, Entry, Page, Statement, months, settle};
use crate::service::Service;

const GROCERS: Choices<&str> = Choices(
    "Fairway Market",
    &["Green Basket", "Corner Grocer", "Harvest Co-op", "Daily Bread Bakery"],
);

const OPENING_RENTS: i64 = 3;
const SPARE_RENTS: i64 = 2;
const SWEEP_DAY: i64 = 28;

/// Five years of transactions of the current account, oldest first. Transfers ordered through this API are not among them.
pub fn history(household: &Household) -> Vec<Entry> {
    let loan = Loan::of(household);
    let mut entries = Vec::with_capacity(2_000);
    let mut balance = opening(household);
    for month in months() {
        let mut booked = fixed_bills(household, month);
        booked.extend(daily_life(household, month));
        booked.push(card_bill(household, month));
        booked.extend(loan.instalment_in(month).map(|amount| {
            Entry::new(month.day(10), -amount, Category::LoanPayment, "Tollgate Demo Bank Loans")
        }));
        booked.retain(|entry| entry.amount != Money::ZERO);
        booked.extend(sweep(household, month, balance, &booked));
        balance = settle(balance, &mut booked);
        entries.append(&mut booked);
    }
    entries
}

/// What moves to the savings account each month, as (month, amount): the savings service books the same amounts.
pub fn sweeps(household: &Household) -> Vec<(Month, Money)> {
    let history = history(household);
    months()
        .map(|month| {
            let moved = history
                .iter()
                .filter(|entry| {
                    entry.category == Category::Savings && entry.date == month.day(SWEEP_DAY)
                })
                .map(|entry| -entry.amount)
                .sum();
            (month, moved)
        })
        .collect()
}

/// The account with its last transactions.
pub fn view(household: &Household, statement: &Statement) -> Value {
    let current =
        statement.entries.last().map_or_else(|| opening(household), |entry| entry.balance);
    let dice = &mut Dice::new(&["holds", &household.account]);
    // Card purchases that were authorised and not yet booked.
    let held = household.scaled(dice.money(0, 8_000)).min(current.max(Money::ZERO));
    json!({
        "accountId": household.account,
        "type": "CHECKING",
        "currency": CURRENCY,
        "balance": { "current": current, "available": current - held, "asOf": AS_OF },
        "maskedNumber": format!("******{:04}", dice.between(0, 9_999)),
        "openedOn": Month::new(2020, 12).plus(-dice.between(0, 120)).day(dice.between(1, 28)),
        "holder": household.holder_view(),
        "transactions": statement.page(&Page::LATEST),
    })
}

/// The statement: the history, then the transfers that were ordered through this API.
pub fn statement(household: &Household, transfers: Vec<Entry>) -> Statement {
    let mut entries = history(household);
    entries.extend(transfers);
    settle(opening(household), &mut entries);
    Statement { service: Service::Checking, entries }
}

fn opening(household: &Household) -> Money {
    household.rent.share(10_000 * OPENING_RENTS)
}

fn fixed_bills(household: &Household, month: Month) -> Vec<Entry> {
    let out =
        |day, amount: Money, category, payee| Entry::new(month.day(day), -amount, category, payee);
    vec![
        out(1, household.rent, Category::Rent, household.landlord),
        out(3, household.insurance, Category::Insurance, "Beacon Mutual Insurance"),
        out(5, household.contribution, Category::Investment, "Tollgate Demo Bank Investments"),
        out(7, electricity(household, month), Category::Utilities, "Brightwater Electric"),
        out(12, household.internet, Category::Utilities, "Fiberline Internet"),
        out(18, household.phone, Category::Utilities, "Clearcall Mobile"),
        Entry::new(month.day(25), household.salary, Category::Salary, household.employer),
    ]
}

/// Dearer in winter and, for the air conditioning, in high summer.
fn electricity(household: &Household, month: Month) -> Money {
    let season = match month.number() {
        12 | 1 | 2 => 13_500,
        7 | 8 => 12_500,
        _ => 9_500,
    };
    let weather = Dice::new(&["weather", &month.to_string()]).between(9_200, 10_800);
    household.electricity.share(season).share(weather)
}

fn daily_life(household: &Household, month: Month) -> Vec<Entry> {
    let dice = &mut Dice::new(&["checking", &household.account, &month.to_string()]);
    let mut entries = Vec::new();
    for _ in 0..dice.between(6, 10) {
        let amount = household.scaled(dice.money(1_200, 7_800));
        let day = month.day(dice.between(1, 31));
        entries.push(Entry::new(day, -amount, Category::Groceries, dice.pick(GROCERS)));
    }
    for _ in 0..dice.between(1, 3) {
        let amount = dice.money(4_000, 12_000).down_to(2_000);
        let day = month.day(dice.between(1, 31));
        entries.push(Entry::new(day, -amount, Category::Cash, "ATM withdrawal"));
    }
    entries
}

/// Last month's purchases with the cards, in one amount.
fn card_bill(household: &Household, month: Month) -> Entry {
    let bill = cards::bill_due(household, month);
    Entry::new(month.day(cards::BILL_DAY), -bill, Category::CardPayment, "Tollgate Demo Bank Cards")
}

/// Half of what the month leaves over, beyond a reserve of two rents.
fn sweep(household: &Household, month: Month, before: Money, booked: &[Entry]) -> Option<Entry> {
    let at_month_end = before + booked.iter().map(|entry| entry.amount).sum();
    let spare = at_month_end - household.rent.share(10_000 * SPARE_RENTS);
    let moved = spare.share(5_000).down_to(1_000);
    (moved > Money::ZERO)
        .then(|| Entry::new(month.day(SWEEP_DAY), -moved, Category::Savings, "To savings"))
}
