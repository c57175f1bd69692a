use std::ops::Range;

use serde_json::{Map, Number, Value};

/// Where something stands: bytes of one of the files that were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Index into [`super::Sources`].
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// Byte behind the last one.
    pub end: usize,
}

impl Span {
    /// The bytes.
    pub fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

/// A YAML value that knows where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where the value stands. For lists and maps only where they begin.
    pub span: Span,
    /// The value.
    pub value: NodeValue,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    /// `null`, `~` or nothing at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A text.
    Text(Text),
    /// A list.
    List(Vec<Item>),
    /// A map, in the order in which it was written.
    Map(Vec<Entry>),
}

/// A text, and how it was written where that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// With secrets in place.
    pub value: String,
    /// As in the file, if a secret was put in: then `value` must not be shown.
    pub written: Option<String>,
}

/// An item of a list. It keeps its number when broken neighbours are taken out, so that messages
/// count as the user counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Place in the list as written, from 0.
    pub index: usize,
    /// The value.
    pub node: Node,
}

/// A member of a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub node: Node,
}

impl Node {
    /// The member with this key, if this is a map that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            NodeValue::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// The members, if this is a map.
    pub fn entries_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.value {
            NodeValue::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, if this is a list.
    pub fn items(&self) -> Option<&[Item]> {
        match &self.value {
            NodeValue::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, if this is one.
    pub fn text(&self) -> Option<&Text> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a list or a map.
    pub fn is_container(&self) -> bool {
        matches!(self.value, NodeValue::List(_) | NodeValue::Map(_))
    }

    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            NodeValue::Null => "nothing",
            NodeValue::Bool(_) => "true or false",
            NodeValue::Number(number) if number.is_f64() => "a decimal number",
            NodeValue::Number(_) => "a number",
            NodeValue::Text(_) => "a text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }

    /// The value as JSON, secrets in place.
    pub fn json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(flag) => Value::Bool(*flag),
            NodeValue::Number(number) => Value::Number(number.clone()),
            NodeValue::Text(text) => Value::String(text.value.clone()),
            NodeValue::List(items) => items.iter().map(|item| item.node.json()).collect(),
            NodeValue::Map(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.node.json()))
                    .collect::<Map<_, _>>(),
            ),
        }
    }
}
