//! A depot: the same amount is invested each month, so that quantities, prices and values agree with the trades.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::date::Month;
use super::dice::Dice;
use super::household::Household;
use super::money::{CURRENCY, Money};
use super::statement::{AS_OF, Category, Detail, Entry, Page, Statement, months};
use crate::service::Service;

/// A number of securities in ten-thousandths of one. Shown as a decimal string: `"12.3456"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantity(i64);

impl Quantity {
    /// As many as this amount buys at this price, rounded down.
    fn bought(amount: Money, price: Money) -> Self {
        Self((amount.in_cents() * 10_000).checked_div(price.in_cents()).unwrap_or(0))
    }

    /// What they are worth at this price, rounded to the nearest minor unit.
    fn worth(self, price: Money) -> Money {
        Money::cents((self.0 * price.in_cents() + 5_000).div_euclid(10_000))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:04}", self.0 / 10_000, self.0 % 10_000)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

struct Security {
    symbol: &'static str,
    name: &'static str,
    first_price: Money,
}

/// Made-up funds: nobody should take a demo's prices for news.
const SECURITIES: [Security; 7] = [
    Security { symbol: "TGW", name: "Global Equity Index Fund", first_price: Money::cents(8_240) },
    Security { symbol: "TGB", name: "Aggregate Bond Index Fund", first_price: Money::cents(4_975) },
    Security { symbol: "TGE", name: "Emerging Markets Fund", first_price: Money::cents(3_310) },
    Security { symbol: "TGS", name: "Small Companies Fund", first_price: Money::cents(12_460) },
    Security { symbol: "TGR", name: "Real Estate Fund", first_price: Money::cents(6_125) },
    Security { symbol: "TGD", name: "Dividend Fund", first_price: Money::cents(10_050) },
    Security { symbol: "TGC", name: "Clean Energy Fund", first_price: Money::cents(2_780) },
];

struct Position {
    security: &'static Security,
    quantity: Quantity,
    price: Money,
    cost: Money,
}

impl Position {
    fn view(&self) -> Value {
        let value = self.quantity.worth(self.price);
        json!({
            "symbol": self.security.symbol,
            "name": self.security.name,
            "currency": CURRENCY,
            "quantity": self.quantity,
            "price": self.price,
            "value": value,
            "cost": self.cost,
            "gain": value - self.cost,
            "asOf": AS_OF,
        })
    }
}

/// Five years of monthly purchases. The balance is what was invested so far.
pub fn statement(household: &Household) -> Statement {
    let chosen = chosen(household);
    let shares = shares(household, chosen.len());
    let markets: Vec<_> = chosen
        .into_iter()
        .zip(shares)
        .map(|(security, share)| (security, share, prices(security)))
        .collect();
    let mut invested = Money::ZERO;
    let mut entries = Vec::new();
    for (month, number) in months().zip(0_usize..) {
        for (security, share, prices) in &markets {
            let price = prices.get(number).copied().unwrap_or(security.first_price);
            invested += *share;
            entries.push(purchase(month, security, *share, price, invested));
        }
    }
    Statement { service: Service::Investments, entries }
}

/// The depot with its positions and its last trades.
pub fn view(household: &Household, statement: &Statement) -> Value {
    let positions = positions(household, statement);
    let value: Money =
        positions.iter().map(|position| position.quantity.worth(position.price)).sum();
    let cost: Money = positions.iter().map(|position| position.cost).sum();
    json!({
        "accountId": household.account,
        "type": "INVESTMENT",
        "currency": CURRENCY,
        "balance": { "value": value, "cost": cost, "gain": value - cost, "asOf": AS_OF },
        "positions": positions.iter().map(Position::view).collect::<Vec<_>>(),
        "holder": household.holder_view(),
        "transactions": statement.page(&Page::LATEST),
    })
}

/// One position with the prices of its last twelve months, or `None` when the depot holds no such security.
pub fn position_view(household: &Household, statement: &Statement, symbol: &str) -> Option<Value> {
    let position = positions(household, statement)
        .into_iter()
        .find(|position| position.security.symbol == symbol)?;
    let last_year: Vec<Value> = months()
        .zip(prices(position.security))
        .filter(|(month, _)| *month >= Month::new(2025, 1))
        .map(|(month, price)| json!({ "date": month.last(), "price": price }))
        .collect();
    let mut view = json!({ "accountId": household.account });
    if let (Some(view), Value::Object(position)) = (view.as_object_mut(), position.view()) {
        view.extend(position);
        view.insert("prices".to_owned(), Value::Array(last_year));
    }
    Some(view)
}

fn positions(household: &Household, statement: &Statement) -> Vec<Position> {
    chosen(household)
        .into_iter()
        .map(|security| {
            let price = prices(security).last().copied().unwrap_or(security.first_price);
            let none =
                Position { security, quantity: Quantity::default(), price, cost: Money::ZERO };
            statement.entries.iter().fold(none, Position::with)
        })
        .collect()
}

impl Position {
    fn with(mut self, entry: &Entry) -> Self {
        if let Detail::Trade { symbol, quantity, .. } = entry.detail
            && symbol == self.security.symbol
        {
            self.quantity.0 += quantity.0;
            self.cost += -entry.amount;
        }
        self
    }
}

fn purchase(
    month: Month,
    security: &'static Security,
    amount: Money,
    price: Money,
    invested: Money,
) -> Entry {
    let quantity = Quantity::bought(amount, price);
    Entry {
        balance: invested,
        detail: Detail::Trade { symbol: security.symbol, quantity, price },
        ..Entry::new(month.day(5), -amount, Category::Investment, security.name)
    }
}

/// Three to five of the securities.
fn chosen(household: &Household) -> Vec<&'static Security> {
    let dice = &mut Dice::new(&["investments", &household.account]);
    let mut chosen: Vec<&Security> = SECURITIES.iter().collect();
    while chosen.len() > usize::try_from(dice.between(3, 5)).unwrap_or(3) {
        let last = i64::try_from(chosen.len()).unwrap_or(1) - 1;
        chosen.remove(usize::try_from(dice.between(0, last)).unwrap_or(0));
    }
    chosen
}

/// The monthly contribution in equal parts; the first also gets what doesn't divide.
fn shares(household: &Household, securities: usize) -> impl Iterator<Item = Money> {
    let parts = i64::try_from(securities.max(1)).unwrap_or(1);
    let each = household.contribution.in_cents() / parts;
    let first = household.contribution.in_cents() - each * (parts - 1);
    (0..parts).map(move |part| Money::cents(if part == 0 { first } else { each }))
}

/// The price at the end of each month of the history: the same for every depot.
fn prices(security: &Security) -> Vec<Money> {
    let dice = &mut Dice::new(&["prices", security.symbol]);
    months()
        .scan(security.first_price, |price, _| {
            // Mostly up, as five good years are: -4 % to +5.4 % a month.
            *price = price.share(10_000 + dice.between(-400, 540));
            Some(*price)
        })
        .collect()
}
