use serde_json::Value;

use crate::config::nearest::listed;
use crate::config::schema::resolve;

/// What a schema wants, in words: `a duration, as in 250ms or 10s`.
pub fn expected(root: &Value, schema: &Value) -> String {
    let schema = resolve(root, schema);
    if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
        let words: Vec<String> = branches.iter().map(|branch| expected(root, branch)).collect();
        return words.join(", or ");
    }
    if let Some(title) = schema.get("title").and_then(Value::as_str).filter(|t| t.starts_with("a "))
    {
        return match examples(schema) {
            Some(examples) => format!("{title} as in {examples}"),
            None => title.to_owned(),
        };
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().map(plain).collect();
        return match words.as_slice() {
            [only] => format!("`{only}`"),
            several => format!("one of {}", listed(several.iter().map(String::as_str))),
        };
    }
    match schema.get("type") {
        Some(Value::String(name)) => of_type(root, schema, name),
        Some(Value::Array(names)) => {
            let names: Vec<String> = names
                .iter()
                .filter_map(Value::as_str)
                .map(|name| of_type(root, schema, name))
                .collect();
            names.join(" or ")
        }
        _ => "any value".into(),
    }
}

/// A JSON scalar as a user would write it.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first examples of a schema.
pub fn examples(schema: &Value) -> Option<String> {
    let examples = schema.get("examples")?.as_array()?;
    let first: Vec<String> = examples.iter().take(3).map(|e| format!("`{}`", plain(e))).collect();
    Some(first.join(", "))
}

fn of_type(root: &Value, schema: &Value, name: &str) -> String {
    match name {
        "boolean" => "true or false".into(),
        "integer" => "a whole number".into(),
        "number" => "a number".into(),
        "string" => "a text".into(),
        "object" => match schema.get("properties").and_then(Value::as_object) {
            Some(keys) => {
                let word = if keys.len() == 1 { "key" } else { "keys" };
                format!("a map with the {word} {}", listed(keys.keys().map(String::as_str)))
            }
            None => "a map".into(),
        },
        "array" => match schema.get("items").map(|items| expected(root, items)) {
            Some(items) if items == "a text" => "a list of texts".into(),
            _ => "a list".into(),
        },
        other => other.to_owned(),
    }
}
