//! The report: what was done, what clients saw, and whether the count was exact.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::config::RULES;
use crate::fault::Kind;
use crate::judge::Done;
use crate::round::{PATIENCE, Played};
use crate::seen::{Millis, Outage, Outcome, Seen};

/// Sums over rounds.
#[derive(Default)]
pub struct Table {
    kinds: BTreeMap<Kind, Row>,
    rules: BTreeMap<&'static str, Counts>,
    answers: BTreeMap<String, u64>,
    requests: usize,
    rounds: usize,
    lasted: Duration,
    /// Longest outage in a storm.
    storm: Millis,
    pub violations: Vec<String>,
}

/// One kind of fault.
#[derive(Default)]
struct Row {
    count: usize,
    alone: usize,
    requests: usize,
    failed: usize,
    failed_unsafe: usize,
    /// Longest outage of each fault that came alone.
    worst: Vec<Millis>,
}

#[derive(Default)]
struct Counts {
    accounts: u64,
    admitted: u64,
    over: u64,
    over_at_most: u64,
    under: u64,
    counted_twice: u64,
}

impl Table {
    pub fn add(&mut self, played: &Played) {
        self.rounds += 1;
        self.lasted += played.lasted;
        self.requests += played.seen.len();
        for seen in &played.seen {
            *self.answers.entry(words(seen.outcome)).or_default() += 1;
        }
        for done in &played.done {
            self.add_fault(done, &played.seen, &played.outages);
        }
        let storm = played.done.iter().filter(|done| !done.alone).map(|done| done.from).min();
        if let Some(from) = storm {
            let outages = played.outages.iter().filter(|outage| outage.from >= from);
            let longest = outages.map(|outage| outage.lasts()).max().unwrap_or(0);
            self.storm = self.storm.max(longest);
        }
        for (rule, verdict) in &played.verdicts {
            let counts = self.rules.entry(rule).or_default();
            counts.accounts += 1;
            counts.admitted += verdict.admitted;
            counts.over += verdict.over;
            counts.over_at_most = counts.over_at_most.max(verdict.over);
            counts.under += verdict.under;
            counts.counted_twice += verdict.counted_twice;
            self.violations.extend(verdict.violations.iter().cloned());
        }
        self.violations.extend(played.violations.iter().cloned());
    }

    fn add_fault(&mut self, done: &Done, seen: &[Seen], outages: &[Outage]) {
        let row = self.kinds.entry(done.fault.kind()).or_default();
        row.count += 1;
        if !done.alone {
            return;
        }
        row.alone += 1;
        let during = |at: Millis| (done.from..done.to).contains(&at);
        for seen in seen.iter().filter(|seen| during(seen.sent)) {
            row.requests += 1;
            let failed = seen.outcome.is_doubtful() && seen.outcome != Outcome::Failed(500);
            row.failed += usize::from(failed);
            row.failed_unsafe += usize::from(failed && seen.unsafe_method);
        }
        // What is not answered yet as the next fault begins is that one's.
        let met = outages.iter().filter(|outage| during(outage.from + PATIENCE));
        row.worst.push(met.map(|outage| outage.lasts()).max().unwrap_or(0));
    }

    pub fn faults(&self) -> usize {
        self.kinds.values().map(|row| row.count).sum()
    }

    /// In Markdown.
    pub fn report(&self, title: &str) -> String {
        let mut text = format!(
            "{title}: {} faults in {} rounds and {} min, {} requests on {} accounts\n\n",
            self.faults(),
            self.rounds,
            self.lasted.as_secs() / 60,
            self.requests,
            self.rules.values().map(|counts| counts.accounts).sum::<u64>()
        );
        let _ = self.fault_rows(&mut text);
        let _ = self.rule_rows(&mut text);
        let _ = writeln!(text, "\nViolations: {}", self.violations.len());
        text
    }

    fn fault_rows(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "| fault | done | alone | requests meanwhile | failed | of those POST \
             | worst outage, median | worst outage |\n|---|---|---|---|---|---|---|---|"
        )?;
        for (kind, row) in &self.kinds {
            let (median, worst) = median_and_worst(&row.worst);
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {median} | {worst} |",
                kind.words(),
                row.count,
                row.alone,
                row.requests,
                row.failed,
                row.failed_unsafe
            )?;
        }
        writeln!(text, "\nWorst outage of an account in a storm: {}\n", seconds(self.storm))?;
        let answers = self.answers.iter().map(|(words, count)| format!("{words}: {count}"));
        writeln!(text, "Clients saw: {}\n", answers.collect::<Vec<_>>().join(", "))
    }

    fn rule_rows(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "| rule | accounts | admitted | one account over by at most | over in all \
             | under in all | of those counted twice |\n|---|---|---|---|---|---|---|"
        )?;
        for rule in RULES {
            let Some(counts) = self.rules.get(rule.name) else { continue };
            let accuracy = rule.fast.map_or("strict".to_owned(), |most| format!("fast: {most}"));
            let window = if rule.rolling { "rolling" } else { "fixed" };
            writeln!(
                text,
                "| {accuracy}, {window}, limit {} | {} | {} | {} | {} | {} | {} |",
                rule.limit,
                counts.accounts,
                counts.admitted,
                counts.over_at_most,
                counts.over,
                counts.under,
                counts.counted_twice
            )?;
        }
        Ok(())
    }
}

fn words(outcome: Outcome) -> String {
    match outcome {
        Outcome::Served => "200".to_owned(),
        Outcome::Refused => "429".to_owned(),
        Outcome::Absent => "not connected".to_owned(),
        Outcome::Failed(status) => status.to_string(),
        Outcome::Broken => "broken off".to_owned(),
        Outcome::Unanswered => "no answer in 20 s".to_owned(),
    }
}

fn median_and_worst(outages: &[Millis]) -> (String, String) {
    let mut sorted = outages.to_vec();
    sorted.sort_unstable();
    let at = |place: usize| sorted.get(place).map_or("-".to_owned(), |millis| seconds(*millis));
    (at(sorted.len() / 2), at(sorted.len().saturating_sub(1)))
}

fn seconds(millis: Millis) -> String {
    format!("{}.{} s", millis / 1000, millis % 1000 / 100)
}
