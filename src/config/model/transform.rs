use http::HeaderName;

use crate::request::{JsonPointer, Template};

/// Edits on the way to the backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestEdits {
    /// Of headers.
    pub headers: HeaderEdits,
    /// Of the JSON body; empty streams it.
    pub body: Vec<JsonEdit>,
}

/// Edits on the way back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseEdits {
    /// Of headers.
    pub headers: HeaderEdits,
    /// Of the JSON body; empty streams it.
    pub body: Vec<JsonEdit>,
    /// Largest JSON body that is edited, in bytes; a larger one is a failure of the backend.
    pub max_body: u64,
}

/// Edits of header fields, applied in this order: remove, rename, set, add.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Every field of this name goes.
    pub remove: Vec<HeaderName>,
    /// Fields of the first name get the second.
    pub rename: Vec<(HeaderName, HeaderName)>,
    /// One field with this value instead of any; a value that the request lacks sets nothing.
    pub set: Vec<(HeaderName, Template)>,
    /// One field more.
    pub add: Vec<(HeaderName, Template)>,
}

/// One edit of a JSON body. A pointer that finds nothing edits nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonEdit {
    /// Keep only these members of the object at the pointer.
    Pick(JsonPointer, Vec<String>),
    /// Remove the value. `*` as a segment means every item or member.
    Drop(JsonPointer),
    /// Give the member at the pointer another name in the same object.
    Rename(JsonPointer, String),
    /// Move the value to another place; missing objects on the way are made.
    Move(JsonPointer, JsonPointer),
    /// Put a value; missing objects on the way are made.
    Set(JsonPointer, serde_json::Value),
    /// Replace all but the last characters of a text by `*`.
    Mask(JsonPointer, usize),
}
