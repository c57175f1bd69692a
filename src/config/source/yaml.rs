use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::options::{AliasLimits, DuplicateKeyPolicy};
use serde_saphyr::{Location, NonFiniteFloatPolicy, Options, Spanned};

use super::complaint;
use super::node::{Entry, Item, Node, NodeValue, Span, Text};
use crate::config::report::Report;

/// Values that one file may have. A configuration of 10,000 routes has about 200,000.
const MAX_NODES: usize = 2_000_000;
/// Values that aliases (`*name`) may add to a file: an alias bomb multiplies.
pub(super) const MAX_ALIASED: usize = 100_000;
/// Maps and lists inside each other. The configuration itself needs twelve; values that users put
/// into answers may be deeper.
pub(super) const MAX_DEPTH: usize = 64;

/// Reads one file's YAML. `None` if it isn't YAML: then the report says where and why.
pub fn parse(file: usize, report: &mut Report) -> Option<Node> {
    let text = report.source(file)?.text.clone();
    match serde_saphyr::from_str_with_options::<Spanned<Bare>>(&text, options()) {
        Ok(spanned) => Some(Build { file, report }.node(spanned)),
        Err(error) => {
            complaint::explain(&error, file, report);
            None
        }
    }
}

fn options() -> Options {
    let mut budget = serde_saphyr::Budget::default();
    budget.max_nodes = MAX_NODES;
    budget.max_events = 2 * MAX_NODES;
    budget.max_depth = MAX_DEPTH;
    budget.max_documents = 2;
    let mut aliases = AliasLimits::default();
    aliases.max_total_replayed_events = MAX_ALIASED;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits = aliases;
    // Both places are named in our own message.
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    // YAML 1.2: `off`, `yes`, `0123` and `1_000` are texts, not surprises.
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options.non_finite_float_policy = NonFiniteFloatPolicy::AsString;
    options.reject_unsupported_tags = true;
    options.with_snippet = false;
    options
}

/// A value as the YAML library gives it.
enum Bare {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Bare>>),
    Map(Vec<(Spanned<String>, Spanned<Bare>)>),
}

impl<'de> Deserialize<'de> for Bare {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BareVisitor)
    }
}

struct BareVisitor;

impl<'de> Visitor<'de> for BareVisitor {
    type Value = Bare;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Bare, E> {
        Ok(Bare::Null)
    }

    fn visit_none<E>(self) -> Result<Bare, E> {
        Ok(Bare::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Bare, E> {
        Ok(Bare::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Bare, E> {
        Ok(Bare::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Bare, E> {
        Ok(Bare::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Bare, E> {
        Ok(Number::from_f64(number).map_or_else(|| Bare::Text(number.to_string()), Bare::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Bare, E> {
        Ok(Bare::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Bare, E> {
        Ok(Bare::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Bare, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Bare::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Bare, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Bare::Map(map))
    }
}

struct Build<'r> {
    file: usize,
    report: &'r mut Report,
}

impl Build<'_> {
    fn node(&mut self, spanned: Spanned<Bare>) -> Node {
        let span = self.span(spanned.defined);
        let value = match spanned.value {
            Bare::Null => NodeValue::Null,
            Bare::Bool(flag) => NodeValue::Bool(flag),
            Bare::Number(number) => NodeValue::Number(number),
            Bare::Text(value) => NodeValue::Text(Text { value, written: None }),
            Bare::List(items) => NodeValue::List(
                items
                    .into_iter()
                    .enumerate()
                    .map(|(index, item)| Item { index, node: self.node(item) })
                    .collect(),
            ),
            Bare::Map(entries) => NodeValue::Map(self.entries(entries)),
        };
        Node { span, value }
    }

    fn entries(&mut self, written: Vec<(Spanned<String>, Spanned<Bare>)>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::with_capacity(written.len());
        let mut seen = std::collections::HashMap::new();
        for (key, value) in written {
            let key_span = self.span(key.defined);
            let node = self.node(value);
            match seen.get(&key.value) {
                Some(first) => self.twice(&key.value, key_span, *first),
                None => {
                    seen.insert(key.value.clone(), key_span);
                    entries.push(Entry { key: key.value, key_span, node });
                }
            }
        }
        entries
    }

    fn twice(&mut self, key: &str, again: Span, first: Span) {
        let line = self.report.line_of(first);
        self.report
            .error_at(again, "", format!("the key `{key}` is here twice"))
            .hint(format!("the first one is in line {line}; keep one of them"));
    }

    fn span(&self, location: Location) -> Span {
        let span = location.span();
        let start = usize::try_from(span.byte_offset().unwrap_or(0)).unwrap_or(0);
        let length = usize::try_from(span.byte_len().unwrap_or(0)).unwrap_or(0);
        Span { file: self.file, start, end: start.saturating_add(length) }
    }
}
