use std::cmp::Ordering;
use std::collections::HashSet;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::{Map, Value, json};

use super::broken::Broken;
use super::expected::plain;
use crate::config::MAX_PROBLEMS;
use crate::config::nearest::nearest;
use crate::config::raw::NAME_PATTERN;
use crate::config::schema::resolve;
use crate::config::source::{Entry, Item, Node, NodeValue, Span, Text};
use crate::config::spot::Spot;

/// Mends a tree piece by piece, so that one broken value hides nothing else of the item in which
/// it stands: the value is taken out, or another is put in where there must be one. Each such
/// place is noted as a hole, so that nothing is said that only follows from it.
#[derive(Debug, Default)]
pub struct Repair(Vec<Place>);

#[derive(Debug, PartialEq, Eq)]
struct Place {
    segments: Vec<String>,
    mend: Mend,
}

/// What an error wants done at its place.
#[derive(Debug, PartialEq, Eq)]
enum Mend {
    /// Keys that nobody knows go.
    RemoveKeys(Vec<String>),
    /// A key that must be there is put in.
    AddKey(String),
    /// The value goes, or another takes its place.
    Value,
}

impl Repair {
    /// Notes what an error wants done.
    pub fn add(&mut self, error: &ValidationError<'_>) {
        let mend = match error.kind() {
            // Names of the wrong form do no further harm.
            Kind::PropertyNames { .. } => return,
            Kind::AdditionalProperties { unexpected } => Mend::RemoveKeys(unexpected.clone()),
            Kind::Required { property } => Mend::AddKey(plain(property)),
            _ => Mend::Value,
        };
        let segments: Vec<String> =
            error.instance_path().segments().map(|segment| segment.to_string()).collect();
        // A section that is missing altogether is missing.
        if !segments.is_empty() || matches!(mend, Mend::RemoveKeys(_)) {
            self.0.push(Place { segments, mend });
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does it all.
    pub fn apply(mut self, schema: &Value, root: &mut Node, broken: &mut Broken) {
        for place in &self.0 {
            place.note(schema, root, broken);
        }
        // The last ones first: the items of a list move up.
        self.0.sort_by(|one, other| compare(&other.segments, &one.segments));
        self.0.dedup();
        for place in &self.0 {
            // What can't be mended is seen when the form is checked again.
            let _ = place.mend(schema, root);
        }
    }
}

impl Place {
    fn note(&self, schema: &Value, root: &Node, broken: &mut Broken) {
        let spot = Spot::root(root).walk(self.segments.iter());
        match &self.mend {
            Mend::Value => broken.hole(spot.path()),
            Mend::AddKey(key) => broken.hole(&spot.path_of(key)),
            Mend::RemoveKeys(keys) => {
                let known = at(schema, &self.segments).and_then(properties);
                for key in keys {
                    broken.hole(&spot.path_of(key));
                }
                // What was meant is not missing, only misspelt. The problems of further keys are
                // not shown, nor is what follows from them.
                for key in keys.iter().take(MAX_PROBLEMS) {
                    let names = known.iter().flat_map(|known| known.keys().map(String::as_str));
                    if let Some(meant) = nearest(key, names) {
                        broken.hole(&spot.path_of(meant));
                    }
                }
            }
        }
    }

    /// `None`: it can't be mended.
    fn mend(&self, schema: &Value, root: &mut Node) -> Option<()> {
        match &self.mend {
            Mend::Value => self.value(schema, root),
            Mend::AddKey(key) => {
                let wanted = at(schema, &self.segments).and_then(properties)?.get(key)?;
                let node = walk(root, &self.segments)?;
                let filled = node_of(&filler(schema, wanted)?, node.span);
                let entry = Entry { key: key.clone(), key_span: node.span, node: filled };
                node.entries_mut()?.push(entry);
                Some(())
            }
            Mend::RemoveKeys(keys) => {
                let entries = walk(root, &self.segments)?.entries_mut()?;
                let unknown: HashSet<&String> = keys.iter().collect();
                entries.retain(|entry| !unknown.contains(&entry.key));
                Some(())
            }
        }
    }

    fn value(&self, schema: &Value, root: &mut Node) -> Option<()> {
        let (last, parents) = self.segments.split_last()?;
        let around = at(schema, parents)?;
        let parent = walk(root, parents)?;
        let least = |keyword: &str| {
            let least = around.get(keyword).and_then(Value::as_u64).unwrap_or(0);
            usize::try_from(least).unwrap_or(usize::MAX)
        };
        let required = around.get("required").and_then(Value::as_array);
        let is_required = required.is_some_and(|keys| keys.iter().any(|key| key == last));
        match &mut parent.value {
            NodeValue::List(items) if items.len() > least("minItems") => {
                let position = last.parse().ok().filter(|position| *position < items.len())?;
                items.remove(position);
            }
            NodeValue::Map(members) if !is_required && members.len() > least("minProperties") => {
                members.retain(|member| member.key != *last);
            }
            _ => {
                let value = filler(schema, step(schema, around, last)?)?;
                let node = walk(parent, std::slice::from_ref(last))?;
                *node = node_of(&value, node.span);
            }
        }
        Some(())
    }
}

/// The schema of the value to which segments lead.
fn at<'s>(schema: &'s Value, segments: &[String]) -> Option<&'s Value> {
    let found = segments.iter().try_fold(schema, |found, segment| step(schema, found, segment));
    found.map(|found| resolve(schema, found))
}

fn step<'s>(root: &'s Value, schema: &'s Value, segment: &str) -> Option<&'s Value> {
    let schema = resolve(root, schema);
    if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
        return branches.iter().find_map(|branch| step(root, branch, segment));
    }
    let member = properties(schema).and_then(|known| known.get(segment));
    let item = || schema.get("items").filter(|_| segment.parse::<usize>().is_ok());
    member.or_else(item).or_else(|| schema.get("additionalProperties").filter(|it| it.is_object()))
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// The simplest value that a schema takes.
fn filler(root: &Value, schema: &Value) -> Option<Value> {
    let schema = resolve(root, schema);
    let ready = schema.get("default").or_else(|| {
        let some = ["examples", "enum"].into_iter().find_map(|key| schema.get(key)?.as_array());
        some.and_then(|values| values.first())
    });
    if let Some(ready) = ready {
        return Some(ready.clone());
    }
    if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
        return branches.iter().find_map(|branch| filler(root, branch));
    }
    let least = |keyword: &str| schema.get(keyword).and_then(Value::as_u64).unwrap_or(0);
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => match schema.get("pattern").and_then(Value::as_str) {
            None | Some(NAME_PATTERN) => {
                Some("x".repeat(usize::try_from(least("minLength").max(1)).ok()?).into())
            }
            Some(_) => None,
        },
        Some("integer" | "number") => Some(least("minimum").into()),
        Some("boolean") => Some(false.into()),
        Some("array") => {
            let items = schema.get("items").filter(|_| least("minItems") > 0);
            items.map_or(Some(json!([])), |items| Some(json!([filler(root, items)?])))
        }
        Some("object") => members(root, schema, least("minProperties") > 0).map(Value::Object),
        // Anything goes.
        _ => Some(Value::Null),
    }
}

/// The members that an object must have.
fn members(root: &Value, schema: &Value, any: bool) -> Option<Map<String, Value>> {
    let required = schema.get("required").and_then(Value::as_array);
    let keys = required.into_iter().flatten().filter_map(Value::as_str);
    let filled = keys.map(|key| {
        let wanted = properties(schema)?.get(key)?;
        Some((key.to_owned(), filler(root, wanted)?))
    });
    let mut filled = filled.collect::<Option<Map<_, _>>>()?;
    if any && filled.is_empty() {
        let (key, wanted) = match properties(schema).and_then(|known| known.iter().next()) {
            Some((key, wanted)) => (key.as_str(), wanted),
            None => ("x", schema.get("additionalProperties")?),
        };
        filled.insert(key.to_owned(), filler(root, wanted)?);
    }
    Some(filled)
}

fn walk<'n>(root: &'n mut Node, segments: &[String]) -> Option<&'n mut Node> {
    segments.iter().try_fold(root, |node, segment| match &mut node.value {
        NodeValue::List(items) => {
            items.get_mut(segment.parse::<usize>().ok()?).map(|item| &mut item.node)
        }
        NodeValue::Map(members) => {
            members.iter_mut().find(|member| member.key == *segment).map(|member| &mut member.node)
        }
        _ => None,
    })
}

/// A value as if it had been written at a place.
fn node_of(value: &Value, span: Span) -> Node {
    let value = match value {
        Value::Null => NodeValue::Null,
        Value::Bool(flag) => NodeValue::Bool(*flag),
        Value::Number(number) => NodeValue::Number(number.clone()),
        Value::String(text) => NodeValue::Text(Text { value: text.clone(), written: None }),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            NodeValue::List(
                items.map(|(index, item)| Item { index, node: node_of(item, span) }).collect(),
            )
        }
        Value::Object(members) => NodeValue::Map(
            members
                .iter()
                .map(|(key, value)| Entry {
                    key: key.clone(),
                    key_span: span,
                    node: node_of(value, span),
                })
                .collect(),
        ),
    };
    Node { span, value }
}

/// Items of a list by number, what stands in a value behind the value.
fn compare(one: &[String], other: &[String]) -> Ordering {
    let by_segment = one.iter().zip(other).map(|(one, other)| {
        match (one.parse::<usize>(), other.parse::<usize>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            _ => one.cmp(other),
        }
    });
    let first = by_segment.into_iter().find(|order| order.is_ne());
    first.unwrap_or_else(|| one.len().cmp(&other.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema;

    /// Otherwise an item would have to be taken out whole, with all that is wrong in it.
    #[test]
    fn what_must_be_there_can_be_put_in() {
        let schema = schema();
        let validator = |part: &Value| {
            let mut part = part.clone();
            part["$defs"] = schema["$defs"].clone();
            jsonschema::validator_for(&part).unwrap()
        };
        let mut required = 0;
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            for key in definition["required"].as_array().into_iter().flatten() {
                let wanted = &definition["properties"][key.as_str().unwrap()];
                let value = filler(&schema, wanted).unwrap_or_else(|| panic!("{name}.{key}"));
                assert!(validator(wanted).is_valid(&value), "{name}.{key}: {value}");
                required += 1;
            }
        }
        assert!(required > 20, "{required}");
    }
}
