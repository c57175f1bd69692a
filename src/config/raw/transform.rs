use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Bytes, Fields, mebibytes};

/// Edits on the way to the backend.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestEdits {
    /// Edits of header fields.
    pub headers: HeaderEdits,
    /// Edits of the JSON body, in order. Without any the body is passed on as it comes.
    pub body: Vec<JsonEdit>,
}

/// Edits on the way back.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ResponseEdits {
    /// Edits of header fields.
    pub headers: HeaderEdits,
    /// Edits of the JSON body, in order. Without any the body is passed on as it comes. With some
    /// nothing else is: a success that is not JSON by its Content-Type is a failure of the backend,
    /// an error (400 and above) keeps its status and gets a body of the gateway's own.
    pub body: Vec<JsonEdit>,
    /// Largest JSON body that is edited; a larger one is a failure of the backend.
    pub max_body: Bytes,
}

impl Default for ResponseEdits {
    fn default() -> Self {
        Self { headers: HeaderEdits::default(), body: Vec::new(), max_body: mebibytes::<1>() }
    }
}

/// Edits of header fields, in this order: remove, rename, set, add.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Fields that go.
    pub remove: Vec<String>,
    /// Fields that get another name: old name, new name.
    pub rename: Fields<String>,
    /// One field with this value instead of any. Values may have parts of the request in braces:
    /// `{account}`, `{client}`, `{claim.sub}`, `{header.x-id}`. If such a part is absent, the
    /// field is not set. At most 100 fields, as in `add`.
    pub set: Fields<String>,
    /// One field more, with a value as in `set`.
    pub add: Fields<String>,
}

/// One edit of a JSON body; exactly one of these keys. Places are JSON Pointers (RFC 6901) in which
/// `*` stands for every item of a list. A place that is not there is not edited. Numbers keep their
/// value, not their spelling (1.10 becomes 1.1); a body with one of more digits than a double holds
/// is not edited but refused, so send amounts as texts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub struct JsonEdit {
    /// Removes the value at this place.
    pub drop: Option<String>,
    /// Keeps only some members of an object.
    pub pick: Option<Pick>,
    /// Gives a member another name.
    pub rename: Option<Rename>,
    /// Moves a value; missing objects on the way are made.
    #[serde(rename = "move")]
    pub move_to: Option<Move>,
    /// Puts a value; missing objects on the way are made.
    pub set: Option<Set>,
    /// Hides all but the end of a text.
    pub mask: Option<Mask>,
}

/// Keeps only some members of an object.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// The object; empty is the whole body. Anything else that stands there, a list too, becomes
    /// null: members of a list's items are picked at `/list/*`.
    #[serde(default)]
    pub at: String,
    /// The members that stay.
    #[schemars(length(min = 1))]
    pub members: Vec<String>,
}

/// Gives a member another name.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// The member.
    pub at: String,
    /// Its new name, in the same object.
    #[schemars(length(min = 1))]
    pub to: String,
}

/// Moves a value.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// Where it is.
    pub from: String,
    /// Where it goes.
    pub to: String,
}

/// Puts a value.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Where it goes.
    pub at: String,
    /// The value, of any kind.
    pub value: Value,
}

/// Hides all but the end of a text.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mask {
    /// The text.
    pub at: String,
    /// Characters at its end that stay; the others become `*`.
    #[serde(default = "super::whole::<4>")]
    #[schemars(range(min = 0, max = 1000))]
    pub keep: u32,
}
