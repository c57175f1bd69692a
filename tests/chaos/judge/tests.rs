use std::time::Duration;

use super::*;

const STRICT: Rule = Rule { name: "few", limit: 3, rolling: false, fast: None };
const FAST: Rule = Rule { name: "fast", limit: 3, rolling: false, fast: Some(2) };

fn request(at: Millis, outcome: Outcome) -> Seen {
    Seen { account: 0, gateway: 0, unsafe_method: false, sent: at, ended: at + 5, outcome }
}

fn requests(outcomes: &[Outcome]) -> Vec<Seen> {
    (0..).step_by(10).zip(outcomes).map(|(at, outcome)| request(at, *outcome)).collect()
}

fn kill(from: Millis) -> Done {
    let fault = Fault::Kill { gateway: 1, away: Duration::ZERO };
    Done { fault, from, to: from + 100, alone: true }
}

struct Told<'a> {
    rule: Rule,
    outcomes: &'a [Outcome],
    faults: &'a [Done],
    backend: u64,
    resumed: u64,
    healed: u64,
    folds: [u64; 3],
}

impl Told<'_> {
    fn judge(&self) -> Verdict {
        let Self { rule, faults, backend, resumed, healed, .. } = *self;
        let requests = requests(self.outcomes);
        let folds = &self.folds;
        let healed_at = 1_000;
        let name = "a";
        let requests = &requests;
        Case { name, rule, requests, faults, backend, resumed, healed, healed_at, folds }.judge()
    }

    fn complaint(&self) -> String {
        let violations = self.judge().violations;
        assert_eq!(violations.len(), 1, "{violations:?}");
        violations[0].clone()
    }
}

use Outcome::{Absent, Broken, Failed, Refused, Served};

fn told(rule: Rule, outcomes: &[Outcome]) -> Told<'_> {
    Told { rule, outcomes, faults: &[], backend: 3, resumed: 0, healed: 3, folds: [3; 3] }
}

#[test]
fn a_limit_that_is_reached_and_kept_is_right() {
    let verdict = told(STRICT, &[Served, Absent, Served, Served, Refused]).judge();
    assert_eq!(verdict, Verdict { admitted: 3, ..Verdict::default() });
}

#[test]
fn one_too_many_under_a_strict_rule_is_wrong_whatever_happened() {
    let faults = [kill(0)];
    let many = [Served, Served, Served, Served, Refused];
    let case = Told { faults: &faults, backend: 4, folds: [4; 3], ..told(STRICT, &many) };
    assert_eq!(case.judge().over, 1);
    let complaint = case.complaint();
    assert!(complaint.contains("account a under rule 'few' (strict, limit 3)"), "{complaint}");
    assert!(complaint.contains("clients were served 4, 3 were allowed"), "{complaint}");
    assert!(complaint.contains("kill gateway 1"), "{complaint}");
}

#[test]
fn the_backend_bears_witness_for_requests_whose_answer_was_lost() {
    let broken = [Served, Served, Served, Broken, Refused];
    let case = Told { backend: 4, folds: [4; 3], ..told(STRICT, &broken) };
    assert!(case.complaint().contains("the backend served 4"));
}

#[test]
fn work_that_came_too_late_for_its_caller_was_given_back_and_is_not_one_too_many() {
    let late = [Served, Served, Failed(504), Served, Refused];
    let case = Told { backend: 4, ..told(STRICT, &late) };
    assert_eq!(case.judge().violations, Vec::<String>::new());
    let more = Told { backend: 5, ..case };
    assert!(more.complaint().contains("the backend served 5"));
}

#[test]
fn a_fast_rule_may_serve_as_many_more_as_it_has_unconfirmed_for_each_crash() {
    let five = [Served, Served, Served, Served, Served, Refused];
    let faults = [kill(0)];
    let crashed = Told { faults: &faults, backend: 5, ..told(FAST, &five) };
    assert_eq!(crashed.judge(), Verdict { admitted: 5, over: 2, ..Verdict::default() });
    let without = Told { faults: &[], ..crashed };
    assert!(without.complaint().contains("clients were served 5, 3 were allowed"));
    let later = [kill(60_000)];
    assert!(!Told { faults: &later, ..without }.judge().violations.is_empty());
}

#[test]
fn what_is_in_doubt_may_have_been_counted_and_never_has_to() {
    let doubt = [Served, Broken, Failed(503), Refused];
    let verdict = told(STRICT, &doubt).judge();
    assert_eq!(verdict, Verdict { admitted: 1, under: 2, ..Verdict::default() });
}

#[test]
fn a_use_that_nobody_asked_for_is_wrong_unless_an_owner_died() {
    let early = [Served, Served, Refused];
    let case = told(STRICT, &early);
    assert_eq!(case.judge().counted_twice, 1);
    let violations = case.judge().violations;
    assert!(violations[0].contains("refused at 25 ms, when 2 requests had been sent"));
    assert!(violations[1].contains("1 uses counted that nobody asked for, 0 may be"));
    let faults = [kill(0)];
    let killed = Told { faults: &faults, ..case };
    assert_eq!(killed.judge().violations, Vec::<String>::new());
    let began_anew = Told { resumed: 1, ..told(STRICT, &early) };
    assert_eq!(began_anew.judge().violations, Vec::<String>::new());
}

#[test]
fn a_refusal_whose_fold_has_not_reached_the_limit_is_unfounded() {
    let case = Told { healed: 2, ..told(STRICT, &[Served, Served, Refused, Served, Refused]) };
    let complaint = case.judge().violations[0].clone();
    assert!(complaint.contains("refused, and the fold has 2 (0 in doubt)"), "{complaint}");
}

#[test]
fn replicas_that_differ_and_uses_that_are_forgotten_are_wrong() {
    let all = [Served, Served, Served, Refused];
    let differ = Told { folds: [3, 4, 3], ..told(STRICT, &all) };
    assert!(differ.complaint().contains("the folds differ: [3, 4, 3]"));
    let forgotten = Told { folds: [2; 3], ..told(STRICT, &all) };
    assert!(forgotten.complaint().contains("3 were served, and a fold has 2"));
}
