//! Credit cards. Each answer carries the full `number` beside the masked one, so that a gateway has something worth masking.

use serde_json::{Value, json};

use super::date::Month;
use super::dice::{Choices, Dice};
use super::household::Household;
use super::money::{CURRENCY, Money};
use super::statement::{
    AS_OF, Category, Detail, Entry, FIRST_MONTH, Page, Statement, months, settle,
};
use crate::service::Service;

/// The day of the month on which last month's purchases are paid from the current account.
pub const BILL_DAY: i64 = 15;

const SHOPS: Choices<(Category, &str, i64, i64)> = Choices(
    (Category::Dining, "Noodle House", 800, 4_200),
    &[
        (Category::Dining, "Blue Door Cafe", 450, 1_900),
        (Category::Dining, "Trattoria Lungomare", 2_200, 8_500),
        (Category::Transport, "City Transit", 250, 3_000),
        (Category::Transport, "Quickfill Fuel", 2_800, 6_500),
        (Category::Shopping, "Maple Department Store", 1_500, 14_000),
        (Category::Shopping, "Paper & Pine Books", 900, 4_500),
        (Category::Health, "Wellspring Pharmacy", 600, 5_500),
        (Category::Entertainment, "Orpheum Cinema", 1_200, 3_600),
        (Category::Entertainment, "Streamline Video", 1_299, 1_299),
    ],
);

struct Card {
    id: String,
    brand: &'static str,
    number: String,
    expires: Month,
    limit: Money,
}

/// Five years of purchases and payments. The balance is below zero while something is owed.
pub fn statement(household: &Household) -> Statement {
    let cards = cards(household);
    let mut entries = Vec::new();
    for month in months() {
        entries.extend(purchases(household, month).into_iter().zip(0_usize..).map(
            |(mut entry, index)| {
                let card = index.checked_rem(cards.len()).and_then(|index| cards.get(index));
                entry.detail =
                    card.map_or(Detail::Plain, |card| Detail::Card { card_id: card.id.clone() });
                entry
            },
        ));
        let bill = bill_due(household, month);
        if bill > Money::ZERO {
            let payee = "Payment received, thank you";
            entries.push(Entry::new(month.day(BILL_DAY), bill, Category::CardPayment, payee));
        }
    }
    settle(Money::ZERO, &mut entries);
    Statement { service: Service::Cards, entries }
}

/// What is paid on [`BILL_DAY`] of this month: the purchases of the month before.
pub fn bill_due(household: &Household, month: Month) -> Money {
    if month == FIRST_MONTH {
        return Money::ZERO;
    }
    purchases(household, month.plus(-1)).iter().map(|entry| -entry.amount).sum()
}

/// The cards with their limits, what is owed in all, and the last transactions.
pub fn view(household: &Household, statement: &Statement) -> Value {
    let owed = statement.entries.last().map_or(Money::ZERO, |entry| -entry.balance);
    let cards = cards(household);
    let limit: Money = cards.iter().map(|card| card.limit).sum();
    json!({
        "accountId": household.account,
        "type": "CARDS",
        "currency": CURRENCY,
        "balance": { "owed": owed, "creditLimit": limit, "available": limit - owed, "asOf": AS_OF },
        "nextPayment": {
            "date": Month::new(2026, 1).day(BILL_DAY),
            "amount": bill_due(household, Month::new(2026, 1)),
        },
        "cards": cards.iter().map(Card::view).collect::<Vec<_>>(),
        "holder": household.holder_view(),
        "transactions": statement.page(&Page::LATEST),
    })
}

fn purchases(household: &Household, month: Month) -> Vec<Entry> {
    let dice = &mut Dice::new(&["cards", &household.account, &month.to_string()]);
    (0..dice.between(8, 14))
        .map(|_| {
            let (category, shop, low, high) = dice.pick(SHOPS);
            let amount = household.scaled(dice.money(low, high));
            Entry::new(month.day(dice.between(1, 31)), -amount, category, shop)
        })
        .collect()
}

fn cards(household: &Household) -> Vec<Card> {
    let dice = &mut Dice::new(&["plastic", &household.account]);
    (1..=dice.between(1, 3))
        .map(|number| {
            let (brand, prefix) = dice.pick(Choices(("VISA", 400_000), &[("MASTERCARD", 555_555)]));
            Card {
                id: format!("card-{number}"),
                brand,
                number: with_check_digit(&format!("{prefix}{:09}", dice.between(0, 999_999_999))),
                expires: Month::new(2026, 6).plus(dice.between(0, 48)),
                limit: household.salary.share(dice.between(8_000, 20_000)).down_to(10_000),
            }
        })
        .collect()
}

impl Card {
    fn view(&self) -> Value {
        let last_four: String = self.number.chars().skip(12).collect();
        json!({
            "cardId": self.id,
            "brand": self.brand,
            "status": "ACTIVE",
            "number": self.number,
            "maskedNumber": format!("**** **** **** {last_four}"),
            "expires": self.expires.to_string(),
            "creditLimit": self.limit,
        })
    }
}

/// Appends the check digit of ISO/IEC 7812-1 (Luhn).
fn with_check_digit(digits: &str) -> String {
    let sum: u32 = digits
        .chars()
        .rev()
        .filter_map(|digit| digit.to_digit(10))
        .zip([true, false].into_iter().cycle())
        .map(|(digit, doubled)| if doubled { digit * 2 / 10 + digit * 2 % 10 } else { digit })
        .sum();
    format!("{digits}{}", (10 - sum % 10) % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_pass_the_luhn_check() {
        // The well-known test numbers of two card schemes.
        assert_eq!(with_check_digit("411111111111111"), "4111111111111111");
        assert_eq!(with_check_digit("555555555555444"), "5555555555554444");
    }

    #[test]
    fn a_card_is_shown_in_full_and_masked() {
        let household = Household::of("A1");
        let view = view(&household, &statement(&household));
        let number = view.pointer("/cards/0/number").and_then(Value::as_str).unwrap();
        let masked = view.pointer("/cards/0/maskedNumber").and_then(Value::as_str).unwrap();
        assert_eq!(number.len(), 16);
        assert_eq!(masked, format!("**** **** **** {}", &number[12..]));
    }
}
