//! A car loan, paid back in equal instalments.

use serde_json::{Value, json};

use super::date::Month;
use super::dice::{Choices, Dice};
use super::household::Household;
use super::money::{CURRENCY, Money};
use super::statement::{AS_OF, Category, Detail, Entry, FIRST_MONTH, MONTHS, Page, Statement};
use crate::service::Service;

const INSTALMENT_DAY: i64 = 10;

/// What was agreed.
#[derive(Clone, Copy)]
pub struct Terms {
    principal: Money,
    yearly_basis_points: i64,
    instalments: i64,
    paid_out: Month,
}

/// The terms and what follows from them.
pub struct Loan {
    terms: Terms,
    instalment: Money,
}

/// One month of the loan.
struct Instalment {
    month: Month,
    interest: Money,
    principal: Money,
    outstanding: Money,
}

impl Terms {
    /// Terms that this salary can bear. The loan outlasts the history.
    pub fn chosen_by(dice: &mut Dice, salary: Money) -> Self {
        Self {
            principal: salary.share(dice.between(30_000, 45_000)).down_to(10_000),
            yearly_basis_points: dice.between(349, 799),
            instalments: dice.pick(Choices(60, &[66, 72])),
            paid_out: FIRST_MONTH.plus(dice.between(2, 20)),
        }
    }

    /// The lowest instalment that pays the loan back in time, found by halving: exact, without floats.
    fn instalment(&self) -> Money {
        let (mut too_low, mut enough) = (0, self.principal.in_cents() * 2);
        while enough - too_low > 1 {
            let middle = too_low + (enough - too_low) / 2;
            let last = self.schedule(Money::cents(middle)).last();
            if last.is_none_or(|last| last.outstanding == Money::ZERO) {
                enough = middle;
            } else {
                too_low = middle;
            }
        }
        Money::cents(enough)
    }

    fn schedule(&self, instalment: Money) -> impl Iterator<Item = Instalment> {
        let terms = *self;
        (1..=terms.instalments).scan(terms.principal, move |outstanding, number| {
            let interest = outstanding.monthly_interest(terms.yearly_basis_points);
            let principal = (instalment - interest).min(*outstanding);
            *outstanding -= principal;
            let month = terms.paid_out.plus(number);
            Some(Instalment { month, interest, principal, outstanding: *outstanding })
        })
    }
}

impl Loan {
    /// The household's loan.
    pub fn of(household: &Household) -> Self {
        Self { terms: household.loan, instalment: household.loan.instalment() }
    }

    /// What the current account pays in this month, if anything.
    pub fn instalment_in(&self, month: Month) -> Option<Money> {
        self.schedule().find(|due| due.month == month).map(|due| due.principal + due.interest)
    }

    fn schedule(&self) -> impl Iterator<Item = Instalment> {
        self.terms.schedule(self.instalment)
    }

    fn next(&self) -> Option<Instalment> {
        let next_month = FIRST_MONTH.plus(MONTHS);
        self.schedule().find(|due| due.month == next_month)
    }
}

/// The instalments paid so far. The balance is what is still owed.
pub fn statement(household: &Household) -> Statement {
    let end = FIRST_MONTH.plus(MONTHS);
    let entries = Loan::of(household)
        .schedule()
        .take_while(|due| due.month < end)
        .map(|due| Entry {
            date: due.month.day(INSTALMENT_DAY),
            amount: due.principal + due.interest,
            category: Category::LoanPayment,
            payee: "Instalment received".into(),
            balance: due.outstanding,
            detail: Detail::Instalment { principal: due.principal, interest: due.interest },
        })
        .collect();
    Statement { service: Service::Loans, entries }
}

/// The loan with what is owed, the next payment and the last payments.
pub fn view(household: &Household, statement: &Statement) -> Value {
    let loan = Loan::of(household);
    let outstanding = statement.entries.last().map_or(loan.terms.principal, |entry| entry.balance);
    let next_payment = loan.next().map(|due| {
        json!({
            "date": due.month.day(INSTALMENT_DAY),
            "amount": due.principal + due.interest,
            "principal": due.principal,
            "interest": due.interest,
        })
    });
    json!({
        "accountId": household.account,
        "type": "LOAN",
        "product": "AUTO",
        "currency": CURRENCY,
        "principal": loan.terms.principal,
        "balance": { "outstanding": outstanding, "asOf": AS_OF },
        // A decimal string of percent.
        "interestRate": Money::cents(loan.terms.yearly_basis_points),
        "termMonths": loan.terms.instalments,
        "openedOn": loan.terms.paid_out.day(INSTALMENT_DAY),
        "maturesOn": loan.terms.paid_out.plus(loan.terms.instalments).day(INSTALMENT_DAY),
        "nextPayment": next_payment,
        "holder": household.holder_view(),
        "transactions": statement.page(&Page::LATEST),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loan_is_paid_back_to_the_cent() {
        for number in 0..50 {
            let loan = Loan::of(&Household::of(&format!("loan-{number}")));
            let repaid: Money = loan.schedule().map(|due| due.principal).sum();
            assert_eq!(repaid, loan.terms.principal);
            let a_cent_less = loan.instalment - Money::cents(1);
            assert!(loan.terms.schedule(a_cent_less).last().unwrap().outstanding > Money::ZERO);
        }
    }
}
