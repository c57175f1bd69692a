use std::time::Instant;

/// A stage of a request's way, as its time is told in logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Reading the head and finding the route.
    Route,
    /// Who asks.
    Auth,
    /// Whether they may.
    Access,
    /// Rates and bounds on concurrency.
    Limit,
    /// The body's size and shape.
    Guard,
    /// Which accounts it is about.
    Account,
    /// Which gateway owns them.
    Fleet,
    /// Reserving their uses.
    Quota,
    /// Looking into the account cache.
    Vault,
    /// Another gateway's answer.
    Forward,
    /// A backend's answer.
    Upstream,
    /// The answers of a composition's parts.
    Compose,
    /// Edits of a body.
    Transform,
}

impl Stage {
    /// All, in the order of a request's way.
    pub const ALL: [Self; 13] = [
        Self::Route,
        Self::Auth,
        Self::Access,
        Self::Limit,
        Self::Guard,
        Self::Account,
        Self::Fleet,
        Self::Quota,
        Self::Vault,
        Self::Forward,
        Self::Upstream,
        Self::Compose,
        Self::Transform,
    ];

    /// The word in logs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Auth => "auth",
            Self::Access => "access",
            Self::Limit => "limit",
            Self::Guard => "guard",
            Self::Account => "account",
            Self::Fleet => "fleet",
            Self::Quota => "quota",
            Self::Vault => "vault",
            Self::Forward => "forward",
            Self::Upstream => "upstream",
            Self::Compose => "compose",
            Self::Transform => "transform",
        }
    }
}

/// Seconds spent in each stage that a request met.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes([Option<f64>; Stage::ALL.len()]);

impl StageTimes {
    /// Adds time that was spent in a stage.
    pub fn add(&mut self, stage: Stage, seconds: f64) {
        if let Some(so_far) = self.0.get_mut(stage as usize) {
            *so_far = Some(so_far.unwrap_or_default() + seconds);
        }
    }

    /// The stages that were met, with the seconds spent there.
    pub fn iter(&self) -> impl Iterator<Item = (Stage, f64)> {
        Stage::ALL.into_iter().zip(self.0).filter_map(|(stage, spent)| Some((stage, spent?)))
    }
}

/// Measures the stages of a request, one after the other.
#[derive(Debug, Default)]
pub struct Stopwatch {
    times: StageTimes,
    current: Option<(Stage, Instant)>,
}

impl Stopwatch {
    /// A stage begins, and the one before it ends.
    pub fn begin(&mut self, stage: Stage) {
        let now = Instant::now();
        self.end_at(now);
        self.current = Some((stage, now));
    }

    /// The stage that is under way ends, whether it let the request pass or not.
    pub fn end(&mut self) {
        if self.current.is_some() {
            self.end_at(Instant::now());
        }
    }

    fn end_at(&mut self, now: Instant) {
        if let Some((stage, from)) = self.current.take() {
            self.times.add(stage, (now - from).as_secs_f64());
        }
    }

    /// What was measured.
    pub fn times(&self) -> StageTimes {
        self.times
    }
}

#[cfg(test)]
pub(super) fn times(stage: Stage, seconds: f64) -> StageTimes {
    let mut times = StageTimes::default();
    times.add(stage, seconds);
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_own_place() {
        for (place, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, place, "{}", stage.word());
        }
    }

    #[test]
    fn a_stage_that_is_met_twice_is_told_once_with_both_times() {
        let mut spent = times(Stage::Quota, 1.0);
        spent.add(Stage::Auth, 2.0);
        spent.add(Stage::Quota, 3.0);
        let told: Vec<_> = spent.iter().collect();
        assert_eq!(told, [(Stage::Auth, 2.0), (Stage::Quota, 4.0)]);
    }
}
