use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::StatusCode;

use crate::request::{JsonError, Refusal};
use crate::upstream::{CallError, Failure};

/// What a composition leaves behind for the request that it answers: shared between the request's
/// context and the in-process backend. Empty until the composition has ended, and for good if
/// it was broken off because the client went.
#[derive(Clone, Default)]
pub struct ComposeOutcome(Arc<ArcSwapOption<ComposeReport>>);

impl ComposeOutcome {
    /// The report, once there is one.
    pub fn report(&self) -> Option<Arc<ComposeReport>> {
        self.0.load_full()
    }

    /// The refusal, if the composition has failed.
    pub fn refusal(&self) -> Option<Refusal> {
        self.report()?.refusal()
    }

    pub(super) fn set(&self, report: ComposeReport) {
        self.0.store(Some(Arc::new(report)));
    }
}

impl fmt::Debug for ComposeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ComposeOutcome").field(&self.report()).finish()
    }
}

/// How a composition went.
#[derive(Clone, Debug)]
pub struct ComposeReport {
    /// Every part, in the configuration's order.
    pub parts: Vec<PartReport>,
    /// The part for which the whole request failed.
    pub failure: Option<PartFailure>,
    /// From start to end.
    pub elapsed: Duration,
}

/// How a part went.
#[derive(Clone, Debug)]
pub struct PartReport {
    /// Its name.
    pub name: Arc<str>,
    /// What became of it.
    pub state: PartState,
    /// From its start to its end; zero if it never started.
    pub elapsed: Duration,
    /// Backend calls made for it.
    pub calls: usize,
}

/// What became of a part.
#[derive(Clone, Debug)]
pub enum PartState {
    /// It gave its answer.
    Answered,
    /// The backend said that nothing is there.
    Empty,
    /// It failed and its member is absent.
    Missing(Fault),
    /// It failed and its default stands in its place.
    Defaulted(Fault),
    /// It was broken off, or never started, because the request had failed already.
    Abandoned,
}

/// Why the whole request failed.
#[derive(Clone, Debug)]
pub struct PartFailure {
    /// The part's name.
    pub part: Arc<str>,
    /// What was wrong.
    pub fault: Fault,
}

/// What was wrong with a part.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The backend could not be called, or did not answer.
    #[error(transparent)]
    Call(CallError),
    /// The part's or the request's deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The backend answered this status.
    #[error("the backend answered {0}")]
    Status(StatusCode),
    /// The answer is compressed, though that was not asked for.
    #[error("the answer has a content encoding")]
    Encoded,
    /// The answer is not JSON, or not such that all readers read it alike.
    #[error(transparent)]
    Unreadable(JsonError),
    /// All answers together are larger than the part's `max_body`.
    #[error("the answers are larger than {0} bytes")]
    TooLarge(u64),
    /// A value that the path needs is absent.
    #[error("a value of the path is absent")]
    ValueAbsent,
    /// A value of the path is `.` or `..`.
    #[error("a value of the path is a dot segment")]
    DotSegment,
    /// The path is none.
    #[error("the path is not one that HTTP can carry")]
    NotAPath,
    /// What `for_each` points to is no list.
    #[error("there is no list to go through")]
    NoList,
    /// The list has more items than `max_items`.
    #[error("the list has more than {0} items")]
    TooManyItems(usize),
    /// A part that this one needs is missing.
    #[error("a part that it needs is missing")]
    NeedsMissing,
    /// Another part wrote the same member, and the conflict rule is an error.
    #[error("another part wrote the same member")]
    Conflict,
}

/// Why a part is missing, in the word that clients read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It did not answer in time.
    Timeout,
    /// It could not be asked: no endpoint is up, none takes connections, or a part that it needs
    /// is missing.
    Unavailable,
    /// It answered something that is of no use.
    Failed,
}

impl Reason {
    /// The word in `x-partial` and in the answer.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

impl Fault {
    /// The word for it that clients read.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Deadline | Self::Call(CallError::TimedOut { .. }) => Reason::Timeout,
            Self::NeedsMissing
            | Self::Call(CallError::NoEndpoint)
            | Self::Call(CallError::Failed { failure: Failure::Connect(_), .. }) => {
                Reason::Unavailable
            }
            Self::Call(CallError::TooLarge { .. } | CallError::Failed { .. })
            | Self::Status(_)
            | Self::Encoded
            | Self::Unreadable(_)
            | Self::TooLarge(_)
            | Self::ValueAbsent
            | Self::DotSegment
            | Self::NotAPath
            | Self::NoList
            | Self::TooManyItems(_)
            | Self::Conflict => Reason::Failed,
        }
    }
}

impl ComposeReport {
    /// Backend calls that all parts made, further tries of each apart.
    pub fn calls(&self) -> usize {
        self.parts.iter().map(|part| part.calls).sum()
    }

    /// The refusal, if the request failed.
    pub fn refusal(&self) -> Option<Refusal> {
        self.failure.as_ref().map(|failure| Refusal::PartFailed {
            part: Arc::clone(&failure.part),
            timed_out: failure.fault.reason() == Reason::Timeout,
        })
    }

    /// The parts that are missing from the answer, a default in their place or not; in the
    /// configuration's order.
    pub fn missing(&self) -> impl Iterator<Item = (&Arc<str>, &Fault)> {
        self.parts.iter().filter_map(|part| match &part.state {
            PartState::Missing(fault) | PartState::Defaulted(fault) => Some((&part.name, fault)),
            PartState::Answered | PartState::Empty | PartState::Abandoned => None,
        })
    }

    /// Whether anything is missing from the answer: such an answer is kept only if the route
    /// says so.
    pub fn is_partial(&self) -> bool {
        self.missing().next().is_some()
    }
}
