//! The judge. It counts what clients saw, hears the backend as a second witness, and asks the
//! gateways only what their folds say once all is healed. Pure: no clock, no I/O.

use crate::config::Rule;
use crate::fault::{Fault, GATEWAYS, Kind};
use crate::seen::{Millis, Outcome, Seen};

/// What a fault sets off may come this much later: a group's session ends, a replaced gateway wakes.
const AFTERMATH: Millis = 15_000;

/// A fault that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    pub fault: Fault,
    pub from: Millis,
    pub to: Millis,
    /// Nothing else was done meanwhile.
    pub alone: bool,
}

/// All that is known of one account.
pub struct Case<'a> {
    pub name: &'a str,
    pub rule: Rule,
    /// In no particular order.
    pub requests: &'a [Seen],
    pub faults: &'a [Done],
    /// How often the backend answered 200.
    pub backend: u64,
    /// How often an owner began anew by itself, of one partition at most: it had heard nothing of
    /// Kafka for too long, as on a machine that has too much to do. No plan knows of it.
    pub resumed: u64,
    /// Uses in the fold after healing, before anything else was asked for.
    pub healed: u64,
    /// When the faults were over.
    pub healed_at: Millis,
    /// Uses in each gateway's fold at the end, when the account was refused.
    pub folds: &'a [u64],
}

/// What is found of one account.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Answers of 200.
    pub admitted: u64,
    /// Admitted beyond the limit.
    pub over: u64,
    /// Refused although fewer than the limit had been admitted.
    pub under: u64,
    /// Of those, how many no request of a client in doubt explains: uses that a gateway counted
    /// twice because it sent a request again after an owner had died.
    pub counted_twice: u64,
    /// In words.
    pub violations: Vec<String>,
}

impl Case<'_> {
    pub fn judge(&self) -> Verdict {
        let admitted = self.count(|seen| seen.outcome == Outcome::Served);
        let doubtful = self.count(|seen| seen.outcome.is_doubtful());
        let under = self.rule.limit.saturating_sub(admitted);
        let mut verdict = Verdict {
            admitted,
            over: admitted.saturating_sub(self.rule.limit),
            under,
            counted_twice: under.saturating_sub(doubtful),
            violations: Vec::new(),
        };
        let complaints =
            [self.too_many(admitted), self.forgotten(admitted), self.unequal(), self.unfounded()];
        let complaints = complaints.into_iter().chain([self.too_few(verdict.counted_twice)]);
        verdict.violations = complaints.flatten().map(|text| self.explain(&text)).collect();
        verdict
    }

    fn count(&self, which: impl Fn(&Seen) -> bool) -> u64 {
        self.requests.iter().filter(|seen| which(seen)).count() as u64
    }

    /// Faults while the account was in use that may end an epoch without order.
    fn crashes(&self) -> u64 {
        self.faults_in_life().filter(|done| done.fault.kind().is_crash()).count() as u64
    }

    fn faults_in_life(&self) -> impl Iterator<Item = &Done> {
        let first = self.requests.iter().map(|seen| seen.sent).min().unwrap_or(0);
        let counted = self.requests.iter().filter(|seen| seen.may_count());
        let last = counted.map(|seen| seen.ended).max().unwrap_or(0);
        let met =
            move |done: &&Done| done.from <= last && done.to.saturating_add(AFTERMATH) >= first;
        self.faults.iter().filter(met)
    }

    /// Strict: never one; fast: W for each crash. The backend has not seen more either, but for
    /// requests that a gateway answered with 504: it gave their use back, and the backend may have
    /// done its work too late for the caller.
    fn too_many(&self, admitted: u64) -> Option<String> {
        let spare = self.rule.fast.unwrap_or(0) * self.crashes();
        let allowed = self.rule.limit + spare;
        let late = self.count(|seen| seen.outcome == Outcome::Failed(504));
        let (who, many) = match (admitted > allowed, self.backend > allowed + late) {
            (true, _) => ("clients were served", admitted),
            (false, true) => ("the backend served", self.backend),
            (false, false) => return None,
        };
        Some(format!("{who} {many}, {allowed} were allowed ({} and {spare})", self.rule.limit))
    }

    /// What was served under a strict rule stands in every fold.
    fn forgotten(&self, admitted: u64) -> Option<String> {
        let least = self.folds.iter().min()?;
        (self.rule.fast.is_none() && *least < admitted)
            .then(|| format!("{admitted} were served, and a fold has {least}"))
    }

    fn unequal(&self) -> Option<String> {
        let differ = self.folds.windows(2).any(|pair| pair[0] != pair[1]);
        differ.then(|| format!("the folds differ: {:?}", self.folds))
    }

    /// Whoever was refused can be shown a fold that had reached the limit, less what was given
    /// back since.
    fn unfounded(&self) -> Option<String> {
        let refused = |seen: &Seen| seen.outcome == Outcome::Refused && seen.ended < self.healed_at;
        let at = self.requests.iter().filter(|seen| refused(seen)).map(|seen| seen.ended).min()?;
        let doubtful = self.count(|seen| seen.outcome.is_doubtful());
        if self.healed + doubtful < self.rule.limit {
            let healed = self.healed;
            return Some(format!("refused, and the fold has {healed} ({doubtful} in doubt)"));
        }
        let before = self.count(|seen| seen.sent <= at && seen.may_count());
        let most = before + self.most_counted_twice();
        (most < self.rule.limit)
            .then(|| format!("refused at {at} ms, when {before} requests had been sent"))
    }

    fn too_few(&self, counted_twice: u64) -> Option<String> {
        let most = self.most_counted_twice();
        (counted_twice > most)
            .then(|| format!("{counted_twice} uses counted that nobody asked for, {most} may be"))
    }

    /// A request that was on its way when an owner went is sent again, and may count again.
    fn most_counted_twice(&self) -> u64 {
        let moves = |done: &Done| match done.fault.kind() {
            Kind::RollingRestart => GATEWAYS as u64,
            Kind::Restart => 1,
            kind => u64::from(kind.is_crash()),
        };
        2 * (self.resumed + self.faults_in_life().map(moves).sum::<u64>())
    }

    fn explain(&self, complaint: &str) -> String {
        let Rule { name: rule, limit, fast, .. } = self.rule;
        let accuracy = fast.map_or("strict".to_owned(), |most| format!("fast: {most}"));
        let outcomes = |which: fn(&Seen) -> bool| self.count(which);
        let mut text = format!(
            "account {} under rule '{rule}' ({accuracy}, limit {limit}): {complaint}\n    \
             clients: {} served, {} refused, {} in doubt; backend: {}; folds: {:?}, healed {}\n",
            self.name,
            outcomes(|seen| seen.outcome == Outcome::Served),
            outcomes(|seen| seen.outcome == Outcome::Refused),
            outcomes(|seen| seen.outcome.is_doubtful()),
            self.backend,
            self.folds,
            self.healed
        );
        for done in self.faults_in_life() {
            text += &format!("    {:>7} to {:>7} ms: {}\n", done.from, done.to, done.fault);
        }
        text
    }
}

#[cfg(test)]
mod tests;
