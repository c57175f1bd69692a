//! The people behind an account id: all five services tell of the same household, so that a consolidated answer adds up.

use serde::Serialize;
use serde_json::{Value, json};

use super::dice::{Choices, Dice};
use super::loans::Terms;
use super::money::Money;

/// Who holds the account, and the household's budget. Derived from the account id alone.
pub struct Household {
    /// The account id that it was derived from.
    pub account: String,
    /// The account holder.
    pub holder: Holder,
    /// Who pays the salary.
    pub employer: &'static str,
    /// Who gets the rent.
    pub landlord: &'static str,
    /// Net, each month.
    pub salary: Money,
    /// Each month.
    pub rent: Money,
    /// Each month.
    pub internet: Money,
    /// Each month.
    pub phone: Money,
    /// Each month.
    pub insurance: Money,
    /// Each month, before the season's influence.
    pub electricity: Money,
    /// Invested each month.
    pub contribution: Money,
    /// The loan of the loans service.
    pub loan: Terms,
    /// Yearly interest of the savings account.
    pub savings_basis_points: i64,
    /// In the savings account when the history begins.
    pub savings_opening: Money,
}

/// A person with an address. Every one of them is made up.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    name: String,
    email: String,
    street: String,
    city: &'static str,
    region: &'static str,
    postal_code: String,
    country: &'static str,
}

const GIVEN_NAMES: Choices<&str> = Choices(
    "Amara",
    &[
        "Benedikt", "Chiara", "Daniel", "Elif", "Farid", "Grace", "Hana", "Ivan", "Julia", "Kwame",
        "Lucia", "Mateo", "Noor", "Oscar", "Priya", "Quentin", "Rosa", "Samuel", "Tove", "Umar",
        "Vera", "Wei", "Yusuf", "Zofia",
    ],
);
const FAMILY_NAMES: Choices<&str> = Choices(
    "Adeyemi",
    &[
        "Berg",
        "Castillo",
        "Dubois",
        "Eriksen",
        "Fischer",
        "Garcia",
        "Haddad",
        "Ito",
        "Jensen",
        "Kaya",
        "Lindqvist",
        "Moreau",
        "Novak",
        "Okafor",
        "Patel",
        "Quinn",
        "Rossi",
        "Silva",
        "Tanaka",
        "Usman",
        "Varga",
        "Walker",
        "Young",
    ],
);
const STREETS: Choices<&str> = Choices(
    "Alder Street",
    &["Birch Lane", "Canal Road", "Dover Avenue", "Elm Court", "Foundry Row", "Harbor Way"],
);
const TOWNS: Choices<(&str, &str, i64)> = Choices(
    ("Portland", "OR", 97_201),
    &[
        ("Madison", "WI", 53_703),
        ("Austin", "TX", 78_701),
        ("Durham", "NC", 27_701),
        ("Tucson", "AZ", 85_701),
        ("Buffalo", "NY", 14_201),
        ("Boise", "ID", 83_702),
    ],
);
const EMPLOYERS: Choices<&str> = Choices(
    "Northwind Logistics",
    &[
        "Cedar County Schools",
        "Halcyon Software",
        "Mercy Clinic",
        "Brightwater Utilities",
        "Kestrel Foods",
        "Union Rail",
    ],
);
const LANDLORDS: Choices<&str> = Choices(
    "Lakeside Residences",
    &["Fairview Homes", "Oak & Main Properties", "Riverbend Apartments", "Summit Living"],
);

impl Household {
    /// The household of this account id: always the same for the same id.
    pub fn of(account: &str) -> Self {
        let dice = &mut Dice::new(&["household", account]);
        let salary = dice.money(240_000, 780_000);
        Self {
            account: account.to_owned(),
            holder: Holder::chosen_by(dice),
            employer: dice.pick(EMPLOYERS),
            landlord: dice.pick(LANDLORDS),
            salary,
            rent: salary.share(dice.between(2_600, 3_200)).down_to(500),
            internet: dice.money(3_900, 6_900).down_to(100),
            phone: dice.money(2_500, 6_000).down_to(100),
            insurance: salary.share(dice.between(200, 400)),
            electricity: salary.share(dice.between(150, 300)),
            contribution: salary.share(400).down_to(1_000),
            loan: Terms::chosen_by(dice, salary),
            savings_basis_points: dice.between(150, 450),
            savings_opening: salary.share(dice.between(10_000, 60_000)),
        }
    }

    /// An amount that fits a net salary of 5000.00, fitted to this household's.
    pub fn scaled(&self, amount: Money) -> Money {
        Money::cents((amount.in_cents() * self.salary.in_cents() / 500_000).max(100))
    }

    /// The holder, as every service shows it.
    pub fn holder_view(&self) -> Value {
        json!(self.holder)
    }
}

impl Holder {
    fn chosen_by(dice: &mut Dice) -> Self {
        let (given, family) = (dice.pick(GIVEN_NAMES), dice.pick(FAMILY_NAMES));
        let (city, region, first_postal_code) = dice.pick(TOWNS);
        Self {
            name: format!("{given} {family}"),
            // A domain that RFC 2606 keeps free: no real person gets mail from a demo.
            email: format!("{}.{}@example.com", given.to_lowercase(), family.to_lowercase()),
            street: format!("{} {}", dice.between(1, 499), dice.pick(STREETS)),
            city,
            region,
            postal_code: (first_postal_code + dice.between(0, 8)).to_string(),
            country: "US",
        }
    }
}
