use serde_json::{Map, Value};

use super::node::{Node, NodeValue};
use crate::config::mask;

/// Stands for what must not be shown.
const HIDDEN: &str = "(hidden)";

/// The tree as it was written, for views: references to secrets stay references, secrets in clear
/// are hidden.
pub fn written(node: &Node) -> Value {
    show(node, false)
}

fn show(node: &Node, secret: bool) -> Value {
    match &node.value {
        NodeValue::List(items) => items.iter().map(|item| show(&item.node, secret)).collect(),
        NodeValue::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|entry| {
                    let secret = secret || mask::is_secret_key(&entry.key);
                    (entry.key.clone(), show(&entry.node, secret))
                })
                .collect::<Map<_, _>>(),
        ),
        NodeValue::Null => Value::Null,
        NodeValue::Text(text) if !secret || mask::is_reference(&text.value) => {
            Value::String(text.value.clone())
        }
        _ if secret => Value::String(HIDDEN.into()),
        NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) => node.json(),
    }
}
