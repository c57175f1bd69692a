use serde_json::Value;

use super::*;

fn open(service: Service, id: &str) -> Account {
    Account::open(service, id, Vec::new())
}

fn text<'a>(view: &'a Value, pointer: &str) -> &'a str {
    view.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn an_account_is_the_same_in_every_run() {
    // Literal values: a change of the generator changes what every demo, test and cached answer says.
    let shown: Vec<String> = Service::ALL
        .into_iter()
        .map(|service| {
            let view = open(service, "ACC-1001").view();
            let newest = view.pointer("/transactions/0").cloned().unwrap_or_default();
            format!(
                "{} {} {}",
                text(&newest, "/transactionId"),
                text(&newest, "/date"),
                text(&newest, "/balanceAfter")
            )
        })
        .collect();
    assert_eq!(shown, GOLDEN);
}

const GOLDEN: [&str; 5] = [
    "checking-001164 2025-12-28 4458.23",
    "savings-000124 2025-12-31 116700.39",
    "cards-000729 2025-12-30 -228.87",
    "loans-000046 2025-12-10 6115.87",
    "investments-000240 2025-12-05 10800.00",
];

#[test]
fn different_accounts_and_services_tell_different_things() {
    let view = |service, id| open(service, id).view().to_string();
    assert_ne!(view(Service::Checking, "A1"), view(Service::Checking, "A2"));
    assert_ne!(view(Service::Checking, "A1"), view(Service::Savings, "A1"));
}

#[test]
fn the_history_spans_five_years_and_never_holds_a_float() {
    fn no_float(value: &Value) -> bool {
        match value {
            Value::Number(number) => !number.is_f64(),
            Value::Array(items) => items.iter().all(no_float),
            Value::Object(members) => members.values().all(no_float),
            Value::Null | Value::Bool(_) | Value::String(_) => true,
        }
    }
    for service in Service::ALL {
        let account = open(service, "A1");
        let entries = &account.statement().entries;
        let (first, last) = (entries.first().unwrap().date, entries.last().unwrap().date);
        assert!(first < Date::new(2022, 11, 1).unwrap(), "{service:?} begins on {first}");
        assert!(
            last > Date::new(2025, 12, 1).unwrap() && last <= AS_OF,
            "{service:?} ends on {last}"
        );
        assert!(no_float(&account.view()), "{service:?}");
    }
    let checking = open(Service::Checking, "A1");
    assert!(checking.statement().entries.len() > 60 * 15);
}

#[test]
fn nobody_is_overdrawn_and_every_balance_is_the_sum_of_what_came_before() {
    for number in 0..300 {
        for service in [Service::Checking, Service::Savings] {
            let account = open(service, &format!("household-{number}"));
            let mut before: Option<Money> = None;
            for entry in &account.statement().entries {
                assert!(entry.balance >= Money::ZERO, "{service:?} {number} {entry:?}");
                assert!(
                    before.is_none_or(|before| before + entry.amount == entry.balance),
                    "{entry:?}"
                );
                before = Some(entry.balance);
            }
        }
    }
}

#[test]
fn what_leaves_the_current_account_arrives_at_the_other_services() {
    let moved = |service, category| -> Money {
        let account = open(service, "A1");
        let of_category =
            account.statement().entries.iter().filter(|entry| entry.category == category);
        of_category.map(|entry| entry.amount).sum()
    };
    let paid = -moved(Service::Checking, Category::CardPayment);
    assert!(paid > Money::ZERO);
    assert_eq!(moved(Service::Cards, Category::CardPayment), paid);
    assert_eq!(
        moved(Service::Loans, Category::LoanPayment),
        -moved(Service::Checking, Category::LoanPayment)
    );
    // The depot's own trades are outflows too.
    assert_eq!(
        moved(Service::Investments, Category::Investment),
        moved(Service::Checking, Category::Investment)
    );
}

#[test]
fn a_transfer_lowers_the_balance_and_leads_the_statement() {
    let amount = Money::cents(2_500);
    let transfer = Entry::new(AS_OF, -amount, Category::Transfer, "A2");
    let (before, after) =
        (open(Service::Checking, "A1"), Account::open(Service::Checking, "A1", vec![transfer]));
    assert_eq!(after.balance(), before.balance() - amount);
    assert_eq!(text(&after.view(), "/transactions/0/payee"), "A2");
}

#[test]
fn pages_join_without_gap_or_overlap() {
    let account = open(Service::Checking, "A1");
    let span = |limit, offset| Page {
        from: Date::new(2023, 1, 1),
        to: Date::new(2023, 12, 31),
        limit,
        offset,
    };
    let whole = account.statement().page(&span(10_000, 0));
    assert_eq!(whole.len(), account.statement().total(&span(1, 0)));
    let joined: Vec<Value> =
        (0..whole.len()).step_by(7).flat_map(|o| account.statement().page(&span(7, o))).collect();
    assert_eq!(joined, whole);
    assert!(whole.iter().all(|entry| text(entry, "/date").starts_with("2023-")));
}

#[test]
fn positions_agree_with_the_depot() {
    let account = open(Service::Investments, "A1");
    let view = account.view();
    let positions = view.get("positions").and_then(Value::as_array).unwrap();
    assert!((3..=5).contains(&positions.len()));
    for position in positions {
        let alone = account.position(text(position, "/symbol")).unwrap();
        assert_eq!(alone.get("value"), position.get("value"));
        assert_eq!(alone.get("prices").and_then(Value::as_array).map(Vec::len), Some(12));
    }
    assert_eq!(account.position("NOPE"), None);
}

#[test]
fn odd_ids_are_no_accounts() {
    for id in ["", "none", "none-7", "a b", "a/b", "ä", "a_b", &"a".repeat(65)] {
        assert!(!exists(id), "{id}");
    }
    for id in ["1", "A-1", "nono", &"a".repeat(64)] {
        assert!(exists(id), "{id}");
    }
}
