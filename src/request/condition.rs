use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::{Context, IdedExpr, Program, Value};
use http::{HeaderMap, HeaderName, header};

use super::{Caller, Facts, ValueSource};
use reads::Reads;

mod functions;
mod reads;

/// A CEL expression over a request, compiled once: `'transfers' in caller.scopes`,
/// `!('x-idempotency-key' in request.headers)`.
///
/// Variables: `request` (`method`, `path`, `host`, `address`, `headers`, `query`), `caller`
/// (`client`, `subject`, `scopes`, `claims`), `account` and `route` (texts; empty where unknown).
/// Header names are lower case. A header that comes in several fields has its values joined, as
/// RFC 9110 section 5.3 has it.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    expression: Arc<IdedExpr>,
    reads: Arc<Reads>,
}

/// Why a condition can't be compiled or gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// Not CEL.
    #[error("{0}")]
    Syntax(String),
    /// A name that no request has.
    #[error("'{name}' is unknown here; there are {known}")]
    UnknownName {
        /// The name as written.
        name: String,
        /// The names that exist at that place.
        known: String,
    },
    /// A header that no request can have by that name, so that asking for it is a mistake.
    #[error("no header is called '{name}' here{}", lower_case(name))]
    NoHeader {
        /// The name as written.
        name: String,
    },
    /// The expression failed on this request.
    #[error("the condition failed: {0}")]
    Failed(String),
    /// The expression gave something other than true or false.
    #[error("the condition gave no boolean")]
    NotBoolean,
}

fn lower_case(name: &str) -> String {
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(lower) => format!("; names are lower case: '{lower}'"),
        Err(_) => String::new(),
    }
}

impl Condition {
    /// Compiles an expression and refuses names that no request has.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        let program = Program::compile(source)
            .map_err(|errors| ConditionError::Syntax(errors.to_string()))?;
        let reads = Arc::new(Reads::of(program.expression())?);
        let mut expression = program.expression().clone();
        functions::compile_patterns(&mut expression)?;
        let condition = Self { source: source.into(), expression: Arc::new(expression), reads };
        if !condition.reads.any() {
            // It gives the same for every request, so what it gives is known now.
            condition.evaluate(&functions::context())?;
        }
        Ok(condition)
    }

    /// The header fields and query parameters that it reads by name. Where a request has one twice,
    /// there is no one value to decide by: see [`super::occurrences`].
    pub fn reads(&self) -> &[ValueSource] {
        &self.reads.named
    }

    /// Whether it reads the query as a whole, as in `request.query.all(name, …)`.
    pub fn reads_every_parameter(&self) -> bool {
        self.reads.every_parameter
    }

    /// Whether it holds for this request. The caller decides what an error means: access refuses,
    /// a quota counts.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, ConditionError> {
        let mut context = functions::context();
        if self.reads.route {
            context.add_variable_from_value("route", facts.route.as_str());
        }
        if self.reads.account {
            context.add_variable_from_value("account", facts.account.map_or("", |a| a.as_str()));
        }
        if !self.reads.request.is_empty() {
            context.add_variable_from_value("request", self.request_value(facts));
        }
        if !self.reads.caller.is_empty() {
            context.add_variable_from_value("caller", self.caller_value(facts.caller));
        }
        self.evaluate(&context)
    }

    fn evaluate(&self, context: &Context<'_, '_>) -> Result<bool, ConditionError> {
        match Value::resolve(&self.expression, context) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(_) => Err(ConditionError::NotBoolean),
            Err(error) => Err(ConditionError::Failed(error.to_string())),
        }
    }

    /// Of `request` what is read: the rest would be made for nothing.
    fn request_value(&self, facts: &Facts<'_>) -> HashMap<String, Value> {
        let head = facts.head;
        let value = |member: &str| match member {
            "method" => head.method.as_str().into(),
            "path" => head.path.decoded.as_str().into(),
            "host" => head.host.as_str().into(),
            "address" => head.address.to_string().into(),
            "headers" => self.headers_value(facts.headers).into(),
            "query" => query_value(facts).into(),
            _ => Value::Null,
        };
        let members = self.reads.request.iter();
        members.map(|member| ((*member).to_owned(), value(member))).collect()
    }

    fn headers_value(&self, headers: &HeaderMap) -> HashMap<String, Value> {
        let value = |name: &HeaderName| (name.as_str().to_owned(), joined(headers, name).into());
        if self.reads.every_header {
            return headers.keys().map(value).collect();
        }
        let named = self.reads.named.iter().filter_map(|source| match source {
            ValueSource::Header(name) => Some(name),
            _ => None,
        });
        named.filter(|name| headers.contains_key(*name)).map(value).collect()
    }

    /// Of `caller` what is read.
    fn caller_value(&self, caller: Option<&Caller>) -> HashMap<String, Value> {
        let value = |member: &str| match member {
            "client" => caller.map_or("", |caller| &caller.client).into(),
            "subject" => caller.and_then(|caller| caller.subject.as_deref()).unwrap_or("").into(),
            "scopes" => {
                let scopes = caller.into_iter().flat_map(|caller| caller.scopes.iter());
                Value::List(Arc::new(scopes.map(|scope| Value::from(&**scope)).collect()))
            }
            "claims" => {
                let claims = caller.into_iter().flat_map(|caller| caller.claims.iter());
                let claims = claims.map(|(name, value)| (name.clone(), cel_value(value)));
                claims.collect::<HashMap<String, Value>>().into()
            }
            _ => Value::Null,
        };
        let members = self.reads.caller.iter();
        members.map(|member| ((*member).to_owned(), value(member))).collect()
    }
}

fn query_value(facts: &Facts<'_>) -> HashMap<String, Value> {
    facts.head.query_pairs().map(|(key, value)| (key, value.into())).collect()
}

fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let fields = headers.get_all(name).iter();
    let texts: Vec<_> = fields.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    texts.join(if *name == header::COOKIE { "; " } else { ", " })
}

fn cel_value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(flag) => Value::Bool(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(signed), _) => Value::Int(signed),
            (None, Some(unsigned)) => Value::UInt(unsigned),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => {
            Value::List(Arc::new(items.iter().map(cel_value).collect()))
        }
        serde_json::Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), cel_value(value)))
            .collect::<HashMap<String, Value>>()
            .into(),
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({})", self.source)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Condition {}
