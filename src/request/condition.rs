use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{Context, Program, Value};

use super::{Caller, Facts};

/// A CEL expression over a request, compiled once: `'transfers' in caller.scopes`,
/// `!('x-fapi-customer-ip-address' in request.headers)`.
///
/// Variables: `request` (`method`, `path`, `host`, `address`, `headers`, `query`), `caller`
/// (`client`, `subject`, `scopes`, `claims`), `account` and `route` (texts; empty where unknown).
/// Header names are lower case.
#[derive(Clone)]
pub struct Condition {
    source: Arc<str>,
    program: Arc<Program>,
    uses: Uses,
}

/// Which variables an expression reads: the others are not built.
#[derive(Clone, Copy, Default)]
struct Uses {
    headers: bool,
    query: bool,
    request: bool,
    claims: bool,
    caller: bool,
}

const VARIABLES: [&str; 4] = ["request", "caller", "account", "route"];
const REQUEST_MEMBERS: [&str; 6] = ["method", "path", "host", "address", "headers", "query"];
const CALLER_MEMBERS: [&str; 4] = ["client", "subject", "scopes", "claims"];

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
    /// The expression failed on this request.
    #[error("the condition failed: {0}")]
    Failed(String),
    /// The expression gave something other than true or false.
    #[error("the condition gave no boolean")]
    NotBoolean,
}

impl Condition {
    /// Compiles an expression and refuses names that no request has.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        let program = Program::compile(source)
            .map_err(|errors| ConditionError::Syntax(errors.to_string()))?;
        let mut walk = Walk::default();
        walk.expression(program.expression())?;
        Ok(Self { source: source.into(), program: Arc::new(program), uses: walk.uses })
    }

    /// Whether it holds for this request. The caller decides what an error means: access refuses,
    /// a quota counts.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, ConditionError> {
        let mut context = Context::default();
        context.add_variable_from_value("route", facts.route.as_str());
        context.add_variable_from_value("account", facts.account.map_or("", |a| a.as_str()));
        if self.uses.request {
            context.add_variable_from_value("request", self.request_value(facts));
        }
        if self.uses.caller {
            context.add_variable_from_value("caller", self.caller_value(facts.caller));
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(answer)) => Ok(answer),
            Ok(_) => Err(ConditionError::NotBoolean),
            Err(error) => Err(ConditionError::Failed(error.to_string())),
        }
    }

    fn request_value(&self, facts: &Facts<'_>) -> HashMap<String, Value> {
        let head = facts.head;
        let mut request: HashMap<String, Value> = HashMap::from([
            ("method".into(), head.method.as_str().into()),
            ("path".into(), head.path.decoded.as_str().into()),
            ("host".into(), head.host.as_str().into()),
            ("address".into(), head.address.to_string().into()),
        ]);
        if self.uses.headers {
            let headers: HashMap<String, Value> = facts
                .headers
                .iter()
                .map(|(name, value)| {
                    (
                        name.as_str().into(),
                        String::from_utf8_lossy(value.as_bytes()).as_ref().into(),
                    )
                })
                .collect();
            request.insert("headers".into(), headers.into());
        }
        if self.uses.query {
            let query: HashMap<String, Value> =
                head.query_pairs().map(|(key, value)| (key, value.into())).collect();
            request.insert("query".into(), query.into());
        }
        request
    }

    fn caller_value(&self, caller: Option<&Caller>) -> HashMap<String, Value> {
        let scopes: Vec<Value> = caller
            .map(|caller| caller.scopes.iter().map(|scope| Value::from(&**scope)).collect())
            .unwrap_or_default();
        let mut value: HashMap<String, Value> = HashMap::from([
            ("client".into(), caller.map_or("", |caller| &caller.client).into()),
            (
                "subject".into(),
                caller.and_then(|caller| caller.subject.as_deref()).unwrap_or("").into(),
            ),
            ("scopes".into(), Value::List(Arc::new(scopes))),
        ]);
        if self.uses.claims {
            let claims: HashMap<String, Value> = caller
                .map(|caller| {
                    caller.claims.iter().map(|(k, v)| (k.clone(), cel_value(v))).collect()
                })
                .unwrap_or_default();
            value.insert("claims".into(), claims.into());
        }
        value
    }
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

/// Finds unknown names and notes what is read.
#[derive(Default)]
struct Walk {
    /// Names bound by macros such as `all(x, …)`.
    bound: Vec<String>,
    uses: Uses,
}

impl Walk {
    fn expression(&mut self, node: &IdedExpr) -> Result<(), ConditionError> {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name, None),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(name) => self.variable(name, Some(&select.field)),
                _ => self.expression(&select.operand),
            },
            Expr::Call(call) => call
                .target
                .iter()
                .map(|target| &**target)
                .chain(&call.args)
                .try_for_each(|e| self.expression(e)),
            Expr::List(list) => list.elements.iter().try_for_each(|e| self.expression(e)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Struct(made) => made.entries.iter().try_for_each(|entry| self.entry(&entry.expr)),
            Expr::Comprehension(each) => {
                self.expression(&each.iter_range)?;
                let outside = self.bound.len();
                self.bound.extend([each.iter_var.clone(), each.accu_var.clone()]);
                self.bound.extend(each.iter_var2.clone());
                for inner in [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result] {
                    self.expression(inner)?;
                }
                self.bound.truncate(outside);
                Ok(())
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr) -> Result<(), ConditionError> {
        match entry {
            EntryExpr::StructField(field) => self.expression(&field.value),
            EntryExpr::MapEntry(entry) => {
                self.expression(&entry.key)?;
                self.expression(&entry.value)
            }
        }
    }

    fn variable(&mut self, name: &str, member: Option<&str>) -> Result<(), ConditionError> {
        if self.bound.iter().any(|bound| bound == name) {
            return Ok(());
        }
        let members: &[&str] = match name {
            "request" => &REQUEST_MEMBERS,
            "caller" => &CALLER_MEMBERS,
            "account" | "route" => return Ok(()),
            _ => return Err(unknown(name.to_owned(), &VARIABLES)),
        };
        if let Some(member) = member.filter(|member| !members.contains(member)) {
            return Err(unknown(format!("{name}.{member}"), members));
        }
        // Without a member (`caller == x`, `request['path']`) all of it may be read.
        let reads = |wanted: &str| member.is_none_or(|member| member == wanted);
        if name == "request" {
            self.uses.request = true;
            self.uses.headers |= reads("headers");
            self.uses.query |= reads("query");
        } else {
            self.uses.caller = true;
            self.uses.claims |= reads("claims");
        }
        Ok(())
    }
}

fn unknown(name: String, known: &[&str]) -> ConditionError {
    ConditionError::UnknownName { name, known: known.join(", ") }
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
