use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use super::{resolve, schema};

const HEAD: &str = "\
# Configuration

This page is made from the types of the program: it is complete, and it is right. `tollgate schema`
prints the same as a JSON Schema, which editors use to complete and check while you write;
`tollgate check FILE` judges a file and explains every problem in it.
[conf/example.yaml](../conf/example.yaml) is a commented example.

A configuration is one YAML file. It may `include` others. Keys that are not named here are errors,
and nothing that is written is ever ignored.

- **Secrets** are taken from elsewhere: `${env:NAME}` is replaced by a variable of the environment
  and `${file:/path}` by a file's text without its last line end, in any text, after the YAML was
  read. They appear in no message, log or view. A literal `${` is written `$${`. Inside `{ }` and
  `[ ]` such a text needs quotes.
- **Durations and sizes** have a unit: `250ms`, `10s`, `5m`, `24h`, `7d`; `64KiB`, `4GiB`, or a
  plain number of bytes. Something that is waited for takes from 1ms to 24h; a window, or a time for
  which something is kept, from 1s to 400d.
- **Paths** of files start at the folder of the file in which they are written, unless they start
  with `/`.
- **Values of a request**, for accounts, buckets, templates: `path.NAME` (a part of the path that
  `match.path` names), `query.NAME`, `header.NAME`, `claim.NAME` (dots step into objects),
  `body./pointer` (in JSON), `client`, `subject`, `account`, `route`, `address`, `method`, `host`,
  `request_id`.
- **Conditions** are [CEL](https://cel.dev) over `request` (`method`, `path`, `host`, `address`,
  `headers`, `query`), `caller` (`client`, `subject`, `scopes`, `claims`), `account` and `route`:
  `request.headers['x-idempotency-key'] != ''`. `'x' in request.headers` is true of an empty field
  too; `isIP(text)` says whether a text is an IPv4 or IPv6 address; all other functions are CEL's own.
  A request that has such a field or parameter twice is refused.
- **Reload**: the file, what it includes, and the secrets, keys and certificates that it names are
  watched. A change that is right is swapped in whole; one that is wrong, or that needs a restart,
  changes nothing and says why.
";

/// The reference of all keys, made from the schema: `docs/configuration.md`.
pub fn reference_markdown() -> String {
    let schema = schema();
    let mut page = Page { root: &schema, text: HEAD.to_owned(), done: BTreeSet::new() };
    page.section("The file", &schema, 2);
    page.text
}

struct Page<'s> {
    root: &'s Value,
    text: String,
    done: BTreeSet<String>,
}

impl<'s> Page<'s> {
    /// A table of an object's keys, followed by the objects in it that have no table yet.
    fn section(&mut self, title: &str, object: &'s Value, level: usize) {
        let properties = object.get("properties").and_then(Value::as_object);
        let properties: Vec<_> = properties.into_iter().flatten().collect();
        let required: Vec<&str> = object
            .get("required")
            .and_then(Value::as_array)
            .map(|keys| keys.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        self.line(&format!("\n{} {title}\n", "#".repeat(level)));
        if let Some(text) = object.get("description").and_then(Value::as_str) {
            self.line(&format!("{text}\n"));
        }
        self.line("| key | type | default | meaning |");
        self.line("|---|---|---|---|");
        for (key, property) in &properties {
            let kind = self.kind(property);
            let default = match default_of(property) {
                _ if required.contains(&key.as_str()) => "**required**".into(),
                Some(text) => text,
                None => String::new(),
            };
            let meaning = self.meaning(property);
            self.line(&format!("| `{key}` | {} | {default} | {} |", cell(&kind), cell(&meaning)));
        }
        for (_, property) in properties {
            self.sections_of(property);
        }
    }

    fn sections_of(&mut self, schema: &'s Value) {
        for (name, object) in objects(self.root, schema) {
            if self.done.insert(name.to_owned()) {
                self.section(name, object, 3);
            }
        }
    }

    fn line(&mut self, text: &str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.text, "{text}");
    }

    /// What kind of value a schema takes, with links to objects.
    fn kind(&self, schema: &Value) -> String {
        if let Some(name) = reference(schema) {
            let target = resolve(self.root, schema);
            return match target.get("properties") {
                Some(_) => format!("[{name}](#{})", name.to_lowercase()),
                None => self.kind(target),
            };
        }
        if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
            let kinds: Vec<String> = branches.iter().map(|branch| self.kind(branch)).collect();
            return kinds.join(" or ");
        }
        if let Some(title) = schema.get("title").and_then(Value::as_str) {
            return title.trim_start_matches("a ").to_owned();
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            return words.iter().map(code).collect::<Vec<_>>().join(", ");
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("array") => {
                let items = schema.get("items").map(|items| self.kind(items)).unwrap_or_default();
                format!("list of {items}")
            }
            Some("object") => self.object_kind(schema),
            Some("string") => "text".into(),
            Some("integer") => format!("number{}", range(schema)),
            Some("boolean") => "`true`, `false`".into(),
            _ => "any value".into(),
        }
    }

    fn object_kind(&self, schema: &Value) -> String {
        if let Some(keys) = schema.get("properties").and_then(Value::as_object) {
            let keys: Vec<String> = keys
                .iter()
                .map(|(key, schema)| format!("`{key}:` {}", self.kind(schema)))
                .collect();
            return format!("{{{}}}", keys.join(", "));
        }
        match schema.get("additionalProperties") {
            Some(values) => format!("map to {}", self.kind(values)),
            None => "map".into(),
        }
    }

    /// The description, and that of each word of an enum.
    fn meaning(&self, schema: &Value) -> String {
        let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        let mut meaning = text.to_owned();
        let target = resolve(self.root, schema);
        let branches = target.get("anyOf").and_then(Value::as_array).map(Vec::as_slice);
        for branch in branches.unwrap_or(std::slice::from_ref(target)) {
            let branch = resolve(self.root, branch);
            let words = words(branch);
            for (word, text) in words.iter().filter(|(_, text)| !text.is_empty()) {
                meaning.push_str(&format!(" `{word}`: {text}"));
            }
            let is_choice = branches.is_some() && branch.get("properties").is_some();
            let text = branch.get("description").and_then(Value::as_str);
            if let Some((key, text)) = only_key(branch).zip(text).filter(|_| is_choice) {
                meaning.push_str(&format!(" `{key}`: {text}"));
            }
        }
        meaning
    }
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}

/// The named objects in a schema, with their names.
fn objects<'s>(root: &'s Value, schema: &'s Value) -> Vec<(&'s str, &'s Value)> {
    if let Some(name) = reference(schema) {
        let target = resolve(root, schema);
        return match target.get("properties") {
            Some(_) => vec![(name, target)],
            None => objects(root, target),
        };
    }
    let branches = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let inner = ["items", "additionalProperties"].into_iter().filter_map(|key| schema.get(key));
    branches.chain(inner).flat_map(|schema| objects(root, schema)).collect()
}

fn words(schema: &Value) -> Vec<(&str, &str)> {
    let list = |key| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    list("enum")
        .filter_map(Value::as_str)
        .zip(list("enumDescriptions").filter_map(Value::as_str))
        .collect()
}

fn only_key(schema: &Value) -> Option<&str> {
    let keys = schema.get("properties")?.as_object()?;
    keys.keys().next().filter(|_| keys.len() == 1).map(String::as_str)
}

fn range(schema: &Value) -> String {
    let bound = |key| schema.get(key).and_then(Value::as_u64);
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!(" from {least} to {most}"),
        (Some(least), None) if least > 0 => format!(" from {least}"),
        _ => String::new(),
    }
}

/// Defaults of objects are those of their own keys.
fn default_of(schema: &Value) -> Option<String> {
    match schema.get("default")? {
        Value::Object(_) => None,
        Value::Array(items) if items.is_empty() => Some("none".into()),
        Value::Array(items) => Some(items.iter().map(code).collect::<Vec<_>>().join(", ")),
        Value::String(text) if text.is_empty() => Some("empty".into()),
        other => Some(code(other)),
    }
}

fn code(value: &Value) -> String {
    value.as_str().map_or_else(|| format!("`{value}`"), |text| format!("`{text}`"))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
