use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use serde_json::Value;

use super::Composer;
use super::fetch::{Errand, Fetched, Request, Start};
use super::report::{Fault, PartFailure};
use crate::config::model::{Need, Part, PartTemplatePiece};
use crate::observe::Event;

/// A part that has ended.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) settled: Settled,
    /// What other parts see of it: its answer before edits, its default, or null.
    pub(super) seen: Value,
    /// What goes into the answer; taken out by the merge.
    pub(super) value: Value,
    pub(super) elapsed: Duration,
    pub(super) calls: usize,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Settled {
    Answered,
    Empty,
    Missing(Fault),
    Defaulted(Fault),
}

/// The parts' ends by index, and the failure of the whole if there was one.
pub(super) struct Ran {
    pub(super) finished: Vec<Option<Finished>>,
    pub(super) failure: Option<PartFailure>,
}

/// One composition on its way.
struct Run<'c> {
    composer: &'c Composer,
    request: &'c Request<'c>,
    started: Vec<bool>,
    finished: Vec<Option<Finished>>,
}

/// A part that has ended, and its index.
type Ended = (usize, Result<Fetched, Fault>, Duration, usize);
type Running<'c> = FuturesUnordered<BoxFuture<'c, Ended>>;

/// Runs the parts: each starts as soon as those that it needs have ended. A required part's
/// failure ends the run at once; dropping the run drops the calls in progress.
pub(super) async fn run(composer: &Composer, request: &Request<'_>) -> Ran {
    let parts = &composer.plan.parts;
    let mut run = Run {
        composer,
        request,
        started: vec![false; parts.len()],
        finished: parts.iter().map(|_| None).collect(),
    };
    let failure = run.drive().await.err();
    Ran { finished: run.finished, failure }
}

impl<'c> Run<'c> {
    async fn drive(&mut self) -> Result<(), PartFailure> {
        let mut running = Running::new();
        loop {
            self.start_ready(&mut running)?;
            match running.next().await {
                Some(ended) => self.settle(ended)?,
                None => return Ok(()),
            }
        }
    }

    /// Starts every part whose needs have ended. One that turns out to need no call ends here,
    /// which may make others ready: so until nothing changes.
    fn start_ready(&mut self, running: &mut Running<'c>) -> Result<(), PartFailure> {
        while let Some(index) = (0..self.started.len()).find(|index| self.is_ready(*index)) {
            if let Some(started) = self.started.get_mut(index) {
                *started = true;
            }
            let at_once = match Errand::prepare(self.composer, index, self.request, &self.finished)
            {
                Ok(Start::Errand(errand)) => {
                    running.push(Box::pin(carry_out(index, errand)));
                    continue;
                }
                Ok(Start::Empty) => Ok(Fetched::Empty),
                Err(fault) => Err(fault),
            };
            self.settle((index, at_once, Duration::ZERO, 0))?;
        }
        Ok(())
    }

    fn is_ready(&self, index: usize) -> bool {
        let waits = self.started.get(index) == Some(&false);
        let needs = self.composer.needs_of(index);
        waits && needs.iter().all(|need| matches!(self.finished.get(*need), Some(Some(_))))
    }

    fn settle(&mut self, (index, result, elapsed, calls): Ended) -> Result<(), PartFailure> {
        let Some(part) = self.composer.plan.parts.get(index) else { return Ok(()) };
        let (route, ok) = (self.composer.route.as_str(), result.is_ok());
        self.composer.metrics.record(Event::Part { route, part: &part.name, ok });
        let failure = match (&result, &part.need) {
            (Err(fault), Need::Required) => {
                Some(PartFailure { part: Arc::clone(&part.name), fault: fault.clone() })
            }
            _ => None,
        };
        if let Some(slot) = self.finished.get_mut(index) {
            *slot = Some(Finished { elapsed, calls, ..Finished::of(part, result) });
        }
        failure.map_or(Ok(()), Err)
    }
}

async fn carry_out(index: usize, errand: Errand<'_>) -> Ended {
    let (started, calls) = (errand.started(), errand.calls());
    let result = errand.carry_out().await;
    (index, result, started.elapsed(), calls)
}

impl Finished {
    /// What a part's end means, by its need.
    fn of(part: &Part, result: Result<Fetched, Fault>) -> Self {
        match (result, &part.need) {
            (Ok(Fetched::Empty), _) => Self::new(Settled::Empty, Value::Null, Value::Null),
            (Ok(Fetched::Answer { seen, value }), _) => Self::new(Settled::Answered, seen, value),
            (Err(fault), Need::Optional | Need::Required) => {
                Self::new(Settled::Missing(fault), Value::Null, Value::Null)
            }
            (Err(fault), Need::Default(value)) => {
                Self::new(Settled::Defaulted(fault), value.clone(), value.clone())
            }
        }
    }

    pub(super) fn new(settled: Settled, seen: Value, value: Value) -> Self {
        Self { settled, seen, value, elapsed: Duration::ZERO, calls: 0 }
    }
}

/// Which parts each part has to wait for: those that it is told to, the one whose list it goes
/// through, and those whose values stand in its path.
pub(super) fn needs(parts: &[Part]) -> Vec<Vec<usize>> {
    parts
        .iter()
        .map(|part| {
            let listed = part.for_each.as_ref().map(|for_each| for_each.part);
            let mut needs: Vec<usize> =
                part.needs.iter().copied().chain(listed).chain(read_by(part)).collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        })
        .collect()
}

/// Which parts' answers somebody else reads: only those are kept as they were before edits.
pub(super) fn read_by_others(parts: &[Part]) -> Vec<bool> {
    let mut read = vec![false; parts.len()];
    for part in parts {
        let listed = part.for_each.as_ref().map(|for_each| for_each.part);
        for index in listed.into_iter().chain(read_by(part)) {
            if let Some(read) = read.get_mut(index) {
                *read = true;
            }
        }
    }
    read
}

fn read_by(part: &Part) -> impl Iterator<Item = usize> {
    part.path.pieces.iter().filter_map(|piece| match piece {
        PartTemplatePiece::Part(index, _) => Some(*index),
        PartTemplatePiece::Literal(_)
        | PartTemplatePiece::Request(_)
        | PartTemplatePiece::Item(_) => None,
    })
}
