use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::header::CONTENT_ENCODING;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use super::Composer;
use super::graph::{Finished, Settled};
use super::path::{NoPath, Values, render};
use super::report::Fault;
use crate::config::model::{ForEach, Part};
use crate::request::{Facts, MAX_JSON_DEPTH, parse_json};
use crate::transform::apply_json;
use crate::upstream::{Answer, BackendRequest, CallLimits, LiveCluster};

/// What all parts of one composition share.
pub(super) struct Request<'a> {
    pub(super) facts: Facts<'a>,
    /// Sent with every call.
    pub(super) headers: HeaderMap,
    /// The request's own deadline.
    pub(super) deadline: Option<Instant>,
}

/// The calls that one part makes: one, or one for each item of a list.
pub(super) struct Errand<'c> {
    part: &'c Part,
    cluster: &'c Arc<LiveCluster>,
    headers: &'c HeaderMap,
    targets: Vec<PathAndQuery>,
    hash: Option<String>,
    started: Instant,
    deadline: Instant,
    is_read: bool,
}

/// How a part begins.
pub(super) enum Start<'c> {
    /// With calls.
    Errand(Errand<'c>),
    /// Not at all: it needs a value of a part that had nothing there.
    Empty,
}

/// What a part's calls gave.
pub(super) enum Fetched {
    /// The backend said that nothing is there.
    Empty,
    /// An answer, or the list of all items' answers.
    Answer {
        /// Before edits, if another part reads it; else null.
        seen: Value,
        /// After edits.
        value: Value,
    },
}

impl<'c> Errand<'c> {
    /// Makes a part's calls ready; the parts that it needs have ended.
    ///
    /// # Errors
    /// A part that it needs is missing, its list is none or too long, or a value is absent.
    pub(super) fn prepare(
        composer: &'c Composer,
        index: usize,
        request: &'c Request<'c>,
        finished: &[Option<Finished>],
    ) -> Result<Start<'c>, Fault> {
        let (part, cluster) = composer.part(index).ok_or(Fault::NeedsMissing)?;
        if composer.needs_of(index).iter().any(|need| is_missing(finished, *need)) {
            return Err(Fault::NeedsMissing);
        }
        let targets = match &part.for_each {
            Some(for_each) => items(for_each, finished)?
                .iter()
                .map(|item| target(part, request, Some(item), finished))
                .collect(),
            None => target(part, request, None, finished).map(|target| vec![target]),
        };
        let targets = match targets {
            Ok(targets) => targets,
            Err(NoPath::Empty) => return Ok(Start::Empty),
            Err(NoPath::Absent) => return Err(Fault::ValueAbsent),
            Err(NoPath::DotSegment) => return Err(Fault::DotSegment),
            Err(NoPath::NotAPath) => return Err(Fault::NotAPath),
        };
        let started = Instant::now();
        let own = started + part.deadline;
        let hash = cluster.hash_value(&request.facts).map(Cow::into_owned);
        Ok(Start::Errand(Self {
            part,
            cluster,
            headers: &request.headers,
            targets,
            hash,
            started,
            deadline: request.deadline.map_or(own, |deadline| deadline.min(own)),
            is_read: composer.is_read(index),
        }))
    }

    /// How many calls it makes, tries apart.
    pub(super) fn calls(&self) -> usize {
        self.targets.len()
    }

    /// When its time began to run.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Makes the calls. The deadline holds for all of them together; the first failure ends the
    /// rest.
    pub(super) async fn carry_out(self) -> Result<Fetched, Fault> {
        let at_once = self.part.for_each.as_ref().map_or(1, |for_each| for_each.concurrency.max(1));
        let mut answers = vec![Value::Null; self.targets.len()];
        let mut bytes_left = self.part.max_body;
        let this = &self;
        let mut calls = stream::iter(0..this.targets.len())
            .map(|nth| async move { (nth, this.call(nth).await) })
            .buffer_unordered(at_once);
        while let Some((nth, body)) = calls.next().await {
            let Some(body) = body? else { continue };
            let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
            bytes_left =
                bytes_left.checked_sub(length).ok_or(Fault::TooLarge(self.part.max_body))?;
            if let Some(answer) = answers.get_mut(nth) {
                *answer = parse_json(&body, MAX_JSON_DEPTH).map_err(Fault::Unreadable)?;
            }
        }
        drop(calls);
        Ok(self.finish(answers))
    }

    /// One call's body; `None` where nothing is there.
    async fn call(&self, nth: usize) -> Result<Option<Bytes>, Fault> {
        let request = BackendRequest {
            method: Method::GET,
            path_and_query: self.targets.get(nth).cloned().ok_or(Fault::NotAPath)?,
            headers: self.headers.clone(),
            body: Bytes::new(),
        };
        // The call holds the deadline, not a timer around it: a call that is dropped would not
        // count against an endpoint that never answers.
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Fault::Deadline);
        }
        let limits = CallLimits { deadline: left, max_body: self.part.max_body };
        let answer = self.cluster.call(&request, limits, self.hash.as_deref()).await;
        self.judge(answer.map_err(Fault::Call)?)
    }

    fn judge(&self, answer: Answer) -> Result<Option<Bytes>, Fault> {
        let nothing = [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT];
        if self.part.empty_on.contains(&answer.status) || nothing.contains(&answer.status) {
            return Ok(None);
        }
        if !answer.status.is_success() {
            return Err(Fault::Status(answer.status));
        }
        if answer.headers.get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(Fault::Encoded);
        }
        Ok(Some(answer.body))
    }

    /// Edits are for each answer; where there is none, there is nothing to edit.
    fn finish(&self, answers: Vec<Value>) -> Fetched {
        let seen = if self.is_read { answers.clone() } else { Vec::new() };
        let mut values = answers;
        for value in values.iter_mut().filter(|value| !value.is_null()) {
            apply_json(&self.part.edits, value);
        }
        if self.part.for_each.is_some() {
            return Fetched::Answer { seen: Value::Array(seen), value: Value::Array(values) };
        }
        match values.pop() {
            None | Some(Value::Null) => Fetched::Empty,
            Some(value) => {
                Fetched::Answer { seen: seen.into_iter().next().unwrap_or_default(), value }
            }
        }
    }
}

fn is_missing(finished: &[Option<Finished>], index: usize) -> bool {
    match finished.get(index).and_then(Option::as_ref) {
        None => true,
        Some(part) => matches!(part.settled, Settled::Missing(_)),
    }
}

/// The list that `for_each` goes through: empty where its part had nothing there, or null.
fn items<'f>(for_each: &ForEach, finished: &'f [Option<Finished>]) -> Result<&'f [Value], Fault> {
    let listed = finished.get(for_each.part).and_then(Option::as_ref).ok_or(Fault::NeedsMissing)?;
    if matches!(listed.settled, Settled::Empty) {
        return Ok(&[]);
    }
    match for_each.list.find(&listed.seen) {
        Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) if items.len() <= for_each.max_items => Ok(items),
        Some(Value::Array(_)) => Err(Fault::TooManyItems(for_each.max_items)),
        _ => Err(Fault::NoList),
    }
}

fn target(
    part: &Part,
    request: &Request<'_>,
    item: Option<&Value>,
    parts: &[Option<Finished>],
) -> Result<PathAndQuery, NoPath> {
    render(&part.path, Values { facts: &request.facts, item, parts })
}
