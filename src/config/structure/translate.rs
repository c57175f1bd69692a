use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::{Map, Value};

use super::advice;
use super::expected::{examples, expected, plain};
use crate::config::nearest::{listed, nearest};
use crate::config::report::Report;
use crate::config::schema::resolve;
use crate::config::source::Node;
use crate::config::spot::{Spot, shortened};

/// Turns errors of the schema's validator into problems that a person understands.
pub struct Translate<'a> {
    /// The whole schema.
    pub schema: &'a Value,
    /// The whole configuration.
    pub root: &'a Node,
    /// Takes the problems.
    pub report: &'a mut Report,
}

impl<'a> Translate<'a> {
    /// Reports one error.
    pub fn error(&mut self, error: &ValidationError<'_>) {
        if self.report.is_full() {
            let unexpected = match error.kind() {
                Kind::AdditionalProperties { unexpected } => unexpected.len(),
                _ => 1,
            };
            return self.report.count_more(unexpected);
        }
        let segments = error.instance_path().segments().map(|segment| segment.to_string());
        let spot = Spot::root(self.root).walk(segments);
        let schema = self.schema_of(error);
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                self.unknown_keys(&spot, schema, unexpected)
            }
            Kind::AnyOf { context } => self.alternatives(&spot, schema, context, error),
            Kind::Enum { options } => self.not_a_word(&spot, schema, options),
            Kind::PropertyNames { error } => self.wrong_name(&spot, &plain(error.instance())),
            Kind::Required { property } => self.missing(&spot, schema, &plain(property)),
            Kind::Type { .. } => self.wrong_type(&spot, schema),
            Kind::Pattern { .. } => self.wrong_form(&spot, schema),
            Kind::MinProperties { .. } | Kind::MaxProperties { .. } => {
                self.key_count(&spot, schema)
            }
            other => self.out_of_bounds(&spot, other),
        }
    }

    /// The schema whose keyword failed.
    fn schema_of(&self, error: &ValidationError<'_>) -> &'a Value {
        let keyword = error.schema_path().as_str();
        let parent = keyword.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.schema.pointer(parent).unwrap_or(self.schema)
    }

    fn unknown_keys(&mut self, spot: &Spot<'_>, schema: &Value, unexpected: &[String]) {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        for (position, key) in unexpected.iter().enumerate() {
            if self.report.is_full() {
                return self.report.count_more(unexpected.len() - position);
            }
            let names = known.keys().map(String::as_str);
            let hint = match (nearest(key, names.clone()), self.parent_of(key, known)) {
                (Some(name), _) => format!("did you mean `{name}`?"),
                (None, Some(parent)) => format!("`{key}` stands below `{parent}`"),
                (None, None) => format!("the keys here are {}", listed(names)),
            };
            let place = spot.key(key);
            let message = format!("unknown key `{}`", shortened(key));
            self.report.error_at(place.key_span(), place.path(), message).hint(hint);
        }
    }

    /// The key among these below which another one belongs.
    fn parent_of<'k>(&self, key: &str, known: &'k Map<String, Value>) -> Option<&'k str> {
        let holds = |schema: &Value| {
            resolve(self.schema, schema).get("properties").is_some_and(|p| p.get(key).is_some())
        };
        known
            .iter()
            .find(|(_, schema)| {
                let branches = schema.get("anyOf").and_then(Value::as_array);
                holds(schema) || branches.is_some_and(|branches| branches.iter().any(holds))
            })
            .map(|(name, _)| name.as_str())
    }

    /// Several forms are possible: what is written decides which one is meant.
    fn alternatives(
        &mut self,
        spot: &Spot<'_>,
        schema: &Value,
        context: &[Vec<ValidationError<'static>>],
        error: &ValidationError<'_>,
    ) {
        let is_other_kind = |inner: &ValidationError<'_>| {
            matches!(inner.kind(), Kind::Type { .. })
                && inner.instance_path() == error.instance_path()
        };
        let mut meant = context.iter().filter(|errors| !errors.iter().any(is_other_kind));
        match (meant.next().map(Vec::as_slice), meant.next()) {
            // Not one of the words: then all forms are named, the other ones too.
            (Some([inner]), None) if matches!(inner.kind(), Kind::Enum { .. }) => {
                let Kind::Enum { options } = inner.kind() else { return };
                self.not_a_word(spot, schema, options);
            }
            (Some(errors), None) => errors.iter().for_each(|inner| self.error(inner)),
            _ => self.wrong_type(spot, schema),
        }
    }

    fn not_a_word(&mut self, spot: &Spot<'_>, schema: &Value, options: &Value) {
        let words = options.as_array().map(Vec::as_slice).unwrap_or_default();
        let texts: Vec<String> = words.iter().map(plain).collect();
        let written = spot.node().and_then(Node::text).map(|text| text.value.as_str());
        if written.is_none() && words.iter().all(Value::is_string) {
            // It has the wrong type as well, which is reported by itself.
            return;
        }
        let near = written.and_then(|text| nearest(text, texts.iter().map(String::as_str)));
        let advice = written.and_then(|text| advice::on_word(text, &texts));
        let wanted = expected(self.schema, schema);
        let message = format!("expected {wanted}; found {}", spot.quoted());
        let problem = self.report.error_at(spot.value_span(), spot.path(), message);
        match (advice, near) {
            (Some(advice), _) => problem.hint(advice),
            (None, Some(near)) => problem.hint(format!("did you mean `{near}`?")),
            (None, None) => {}
        }
    }

    fn wrong_name(&mut self, spot: &Spot<'_>, name: &str) {
        let place = spot.key(name);
        let message = format!("`{}` is no name", shortened(name));
        self.report.error_at(place.key_span(), place.path(), message).hint(advice::NAME);
    }

    fn missing(&mut self, spot: &Spot<'_>, schema: &Value, key: &str) {
        let known = schema.get("properties").and_then(Value::as_object);
        if spot.keys().any(|written| {
            known.is_some_and(|known| !known.contains_key(written))
                && nearest(written, [key]).is_some()
        }) {
            // It is there, but misspelt, which is reported by itself.
            return;
        }
        let described = known.and_then(|known| known.get(key));
        let text = described.and_then(|s| s.get("description")).and_then(Value::as_str);
        let message = format!("the key `{key}` is missing");
        let problem = self.report.error_at(spot.key_span(), spot.path(), message);
        if let Some(text) = text {
            let meaning = text.split(". ").next().unwrap_or(text).trim_end_matches('.');
            problem.hint(format!("`{key}`: {meaning}"));
        }
    }

    fn wrong_type(&mut self, spot: &Spot<'_>, schema: &Value) {
        let wanted = expected(self.schema, schema);
        let found = advice::found(spot);
        let message = format!("expected {wanted}; found {found}");
        let problem = self.report.error_at(spot.value_span(), spot.path(), message);
        if let Some(hint) = advice::on_type(spot, &wanted) {
            problem.hint(hint);
        }
    }

    fn wrong_form(&mut self, spot: &Spot<'_>, schema: &Value) {
        let title = schema.get("title").and_then(Value::as_str).unwrap_or("a name");
        let message = format!("{} is not {title}", spot.quoted());
        let problem = self.report.error_at(spot.value_span(), spot.path(), message);
        match examples(schema) {
            Some(examples) => problem.hint(format!("write it as in {examples}")),
            None => problem.hint(advice::NAME),
        }
    }

    /// The only objects with bounds on their size are those that choose one of several keys.
    fn key_count(&mut self, spot: &Spot<'_>, schema: &Value) {
        let keys = schema.get("properties").and_then(Value::as_object);
        let message = match (keys, schema.get("maxProperties").and_then(Value::as_u64)) {
            (Some(keys), Some(1)) => {
                format!("exactly one of {} must be here", listed(keys.keys().map(String::as_str)))
            }
            (Some(keys), _) => {
                format!("one of {} must be here", listed(keys.keys().map(String::as_str)))
            }
            (None, Some(most)) => format!("from 1 to {most} names must be here"),
            (None, None) => "at least one name must be here".into(),
        };
        self.report.error_at(spot.key_span(), spot.path(), message);
    }

    fn out_of_bounds(&mut self, spot: &Spot<'_>, kind: &Kind) {
        let value = spot.quoted();
        let message = match kind {
            Kind::Minimum { limit } => format!("{value} is too small: the least is {limit}"),
            Kind::Maximum { limit } => format!("{value} is too large: the most is {limit}"),
            Kind::MinItems { limit: 1 } => "this list must not be empty".into(),
            Kind::MinItems { limit } => format!("this list needs at least {limit} items"),
            Kind::MaxItems { limit } => format!("this list has more than {limit} items"),
            Kind::MinLength { limit: 1 } => "this text must not be empty".into(),
            Kind::MinLength { limit } => format!("this text needs at least {limit} characters"),
            Kind::MaxLength { limit: 1 } => "this must be a single character".into(),
            Kind::MaxLength { limit } => format!("this text has more than {limit} characters"),
            other => format!("{value} does not fit ({})", other.keyword()),
        };
        let problem = self.report.error_at(spot.value_span(), spot.path(), message);
        if spot.is_secret() && matches!(kind, Kind::MinLength { .. }) {
            problem.hint("`openssl rand -hex 32` makes a good one");
        }
    }
}
