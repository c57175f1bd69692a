use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::{Bytes, Duration, Fields, JsonEdit, fields, mebibytes, whole};

/// One request to many backends, one JSON answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    /// What happens when two parts write the same member.
    #[serde(default)]
    pub conflict: Conflict,
    /// Member of the answer that lists the parts that are missing from it.
    #[serde(default = "missing")]
    #[schemars(length(min = 1))]
    pub partial_member: String,
    /// The calls, by name, in the order of the answer's members.
    #[schemars(extend(
        "propertyNames" = fields::names(), "minProperties" = 1, "maxProperties" = 64
    ))]
    pub parts: Fields<Part>,
}

fn missing() -> String {
    "_missing".into()
}

/// What happens when two parts write the same member.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// The request fails: nobody thought of it.
    #[default]
    Error,
    /// The part written first in the configuration stands.
    First,
    /// The part written last stands.
    Last,
    /// Objects are merged member by member, deeply; for anything else the last stands.
    Merge,
    /// Lists are joined in the order of the parts; anything else is an error.
    Concat,
    /// Lists of objects are joined by this member: objects with the same value become one.
    Join(#[schemars(length(min = 1))] String),
}

/// One call of a composite route.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Name of the cluster.
    pub cluster: String,
    /// Path and query, with values in braces: of the request (`{account}`, `{query.from}`), of
    /// the item that the call is for (`{item./id}`) or of another part's answer
    /// (`{part.NAME./pointer}`).
    #[schemars(length(min = 1))]
    pub path: String,
    /// Where its answer goes: member names joined by dots. Empty is the top. Without it the part's
    /// own name.
    pub into: Option<String>,
    /// Time for it, second tries included. Without it the cluster's `deadlines.total`, and in no
    /// case longer than the route's `deadline`.
    pub deadline: Option<Duration>,
    /// Whether its failure only leaves a gap, of which the answer tells. Otherwise the whole
    /// request fails.
    #[serde(default)]
    pub optional: bool,
    /// Stands in its place when it fails; the answer tells.
    #[serde(default, deserialize_with = "present")]
    pub default: Option<Value>,
    /// Statuses that mean that nothing is there: the part is null, and that is no failure.
    #[serde(default)]
    #[schemars(inner(range(min = 200, max = 599)))]
    pub empty_on: Vec<u16>,
    /// Parts that must have answered before this one is asked.
    #[serde(default)]
    pub needs: Vec<String>,
    /// One call for each item of a list in another part's answer.
    pub for_each: Option<ForEach>,
    /// Edits of its answer, in order.
    #[serde(default)]
    pub edits: Vec<JsonEdit>,
    /// Largest answer.
    #[serde(default = "mebibytes::<1>")]
    pub max_body: Bytes,
}

/// One call for each item of a list in another part's answer.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// The part; it need not stand in `needs`.
    pub part: String,
    /// JSON Pointer of the list in its answer; empty is the whole answer.
    #[serde(default)]
    pub list: String,
    /// Calls in progress at once.
    #[serde(default = "whole::<4>")]
    #[schemars(range(min = 1, max = 64))]
    pub concurrency: u32,
    /// Most items; more are a failure of the part.
    #[serde(default = "whole::<100>")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_items: u32,
}

/// Tells `default: null` from no default.
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
