use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::{Cluster, JsonEdit};
use crate::request::{JsonPointer, ValueSource};

/// One request to many backends, one JSON answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Compose {
    /// Parts in the order of the answer's members; acyclic by `needs`.
    pub parts: Vec<Part>,
    /// What happens when two parts write the same member.
    pub conflict: Conflict,
    /// Member that lists what is missing from a partial answer.
    pub partial_member: Arc<str>,
}

/// One backend call of a composite route.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Its name.
    pub name: Arc<str>,
    /// The service.
    pub cluster: Arc<Cluster>,
    /// Path and query.
    pub path: PartTemplate,
    /// Where its answer goes: member names from the top; empty is the top itself.
    pub into: Vec<Arc<str>>,
    /// Time for it, tries included.
    pub deadline: Duration,
    /// What its failure means.
    pub need: Need,
    /// Statuses that mean "nothing there": the part is null, and that is no failure.
    pub empty_on: Vec<StatusCode>,
    /// Indices into [`Compose::parts`] of parts that must have answered before.
    pub needs: Vec<usize>,
    /// One call for each item of a list.
    pub for_each: Option<ForEach>,
    /// Edits on its answer.
    pub edits: Vec<JsonEdit>,
    /// Largest answer, in bytes.
    pub max_body: u64,
}

/// What a part's failure means.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// The whole request fails.
    Required,
    /// Its member is absent, and the answer says so.
    Optional,
    /// This stands in its place, and the answer says so.
    Default(serde_json::Value),
}

/// One call for each item of a list in another part's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ForEach {
    /// Index of the part.
    pub part: usize,
    /// The list in its answer.
    pub list: JsonPointer,
    /// Calls in progress at once.
    pub concurrency: usize,
    /// Most items; more is a failure of the part.
    pub max_items: usize,
}

/// What happens when two parts write the same member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The request fails: nobody thought of it.
    Error,
    /// The part written first in the configuration stands.
    First,
    /// The part written last stands.
    Last,
    /// Objects are merged member by member, deeply; for anything else the last stands.
    Merge,
    /// Arrays are joined in the order of the parts; anything else is an error.
    Concat,
    /// Arrays of objects are joined by this member: objects with the same value become one.
    Join(Arc<str>),
}

/// A text with values of the request, of an item or of other parts' answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartTemplate {
    /// As written.
    pub source: Arc<str>,
    /// Its pieces.
    pub pieces: Vec<PartTemplatePiece>,
}

/// A piece of a [`PartTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartTemplatePiece {
    /// As it stands.
    Literal(Arc<str>),
    /// A value of the request: `{account}`, `{query.from}`.
    Request(ValueSource),
    /// `{item}` or `{item./pointer}`: of the item that this call is for.
    Item(JsonPointer),
    /// `{part.NAME./pointer}`: of another part's answer, by index.
    Part(usize, JsonPointer),
}
