use std::collections::BTreeSet;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use http::HeaderName;

use super::{ConditionError, functions};
use crate::request::ValueSource;

const VARIABLES: [&str; 4] = ["request", "caller", "account", "route"];
const REQUEST_MEMBERS: [&str; 6] = ["method", "path", "host", "address", "headers", "query"];
const CALLER_MEMBERS: [&str; 4] = ["client", "subject", "scopes", "claims"];

/// What an expression reads: the rest is not made for it.
#[derive(Default)]
pub(super) struct Reads {
    /// Members of `request`.
    pub request: BTreeSet<&'static str>,
    /// Members of `caller`.
    pub caller: BTreeSet<&'static str>,
    pub account: bool,
    pub route: bool,
    /// Header fields and query parameters whose names stand in it.
    pub named: Vec<ValueSource>,
    /// Header fields also by names that it finds elsewhere.
    pub every_header: bool,
    /// Parameters also by names that it finds in the request.
    pub every_parameter: bool,
}

impl Reads {
    /// Goes through an expression.
    ///
    /// # Errors
    /// It has a name that no request has.
    pub fn of(expression: &IdedExpr) -> Result<Self, ConditionError> {
        let mut walk = Walk::default();
        walk.expression(expression)?;
        Ok(walk.reads)
    }

    /// Whether it reads anything of a request at all.
    pub fn any(&self) -> bool {
        self.account || self.route || !self.request.is_empty() || !self.caller.is_empty()
    }
}

#[derive(Default)]
struct Walk {
    /// Names bound by macros such as `all(x, …)`.
    bound: Vec<String>,
    reads: Reads,
}

/// A member of `request` that has values by name.
#[derive(Clone, Copy)]
enum Map {
    Headers,
    Query,
}

impl Walk {
    fn expression(&mut self, node: &IdedExpr) -> Result<(), ConditionError> {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.variable(name, None),
            Expr::Select(select) => match (self.map(&select.operand), &select.operand.expr) {
                (Some(map), _) => self.named(map, &select.field),
                (None, Expr::Ident(name)) => self.variable(name, Some(&select.field)),
                (None, _) => self.expression(&select.operand),
            },
            Expr::Call(call) => match self.lookup(call) {
                Some((map, name)) => self.named(map, name),
                None => {
                    function(&call.func_name)?;
                    let parts = call.target.iter().map(|target| &**target);
                    parts.chain(&call.args).try_for_each(|e| self.expression(e))
                }
            },
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

    /// `request.headers` or `request.query`.
    fn map(&self, node: &IdedExpr) -> Option<Map> {
        let Expr::Select(select) = &node.expr else { return None };
        let Expr::Ident(name) = &select.operand.expr else { return None };
        if name != "request" || self.is_bound(name) {
            return None;
        }
        match &*select.field {
            "headers" => Some(Map::Headers),
            "query" => Some(Map::Query),
            _ => None,
        }
    }

    /// `request.headers['x-id']`, `'id' in request.query` and their like.
    fn lookup<'e>(&self, call: &'e CallExpr) -> Option<(Map, &'e str)> {
        let [one, other] = call.args.as_slice() else { return None };
        let (map, key) = match &*call.func_name {
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => (one, other),
            operators::IN => (other, one),
            _ => return None,
        };
        match &key.expr {
            Expr::Literal(LiteralValue::String(name)) => Some((self.map(map)?, name.inner())),
            _ => None,
        }
    }

    fn named(&mut self, map: Map, name: &str) -> Result<(), ConditionError> {
        let source = match map {
            Map::Headers => {
                self.reads.request.insert("headers");
                let header = HeaderName::from_bytes(name.as_bytes()).ok();
                let header = header.filter(|header| header.as_str() == name);
                let absent = || ConditionError::NoHeader { name: name.to_owned() };
                ValueSource::Header(header.ok_or_else(absent)?)
            }
            Map::Query => {
                self.reads.request.insert("query");
                ValueSource::Query(name.into())
            }
        };
        self.reads.named.push(source);
        Ok(())
    }

    fn variable(&mut self, name: &str, member: Option<&str>) -> Result<(), ConditionError> {
        if self.is_bound(name) {
            return Ok(());
        }
        let members: &[&'static str] = match name {
            "request" => &REQUEST_MEMBERS,
            "caller" => &CALLER_MEMBERS,
            "account" => {
                self.reads.account = true;
                return Ok(());
            }
            "route" => {
                self.reads.route = true;
                return Ok(());
            }
            _ => return Err(unknown(name.to_owned(), &VARIABLES)),
        };
        if let Some(member) = member.filter(|member| !members.contains(member)) {
            return Err(unknown(format!("{name}.{member}"), members));
        }
        // Without a member (`caller == x`, `request['path']`) all of it may be read.
        let read = members.iter().filter(|one| member.is_none_or(|member| member == **one));
        if name == "request" {
            self.reads.request.extend(read);
            let whole = |map: &str| member.is_none_or(|member| member == map);
            self.reads.every_header |= whole("headers");
            self.reads.every_parameter |= whole("query");
        } else {
            self.reads.caller.extend(read);
        }
        Ok(())
    }

    fn is_bound(&self, name: &str) -> bool {
        self.bound.iter().any(|bound| bound == name)
    }
}

/// Operators and the rest of what macros become are no names.
fn function(name: &str) -> Result<(), ConditionError> {
    let named = name.starts_with(|first: char| first.is_ascii_alphabetic());
    if named && !functions::NAMES.contains(&name) {
        return Err(unknown(name.to_owned(), &functions::NAMES));
    }
    Ok(())
}

fn unknown(name: String, known: &[&str]) -> ConditionError {
    ConditionError::UnknownName { name, known: known.join(", ") }
}

#[cfg(test)]
mod tests {
    use crate::request::Condition;

    fn reads(source: &str) -> Vec<String> {
        let condition = Condition::compile(source).unwrap();
        condition.reads().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_found_in_every_way_to_write_them() {
        for source in [
            "request.headers['x-id'] == 'a'",
            "!('x-id' in request.headers)",
            "has(request.headers.x) || request.headers['x-id'].matches('a')",
            "['a'].exists(one, request.headers['x-id'] == one)",
            "{'a': request.headers['x-id']}['a'] == 'b'",
        ] {
            assert!(reads(source).contains(&"header.x-id".to_owned()), "{source}");
        }
        for source in ["request.query.id == 'a'", "'id' in request.query", "has(request.query.id)"]
        {
            assert_eq!(reads(source), ["query.id"], "{source}");
            assert!(!Condition::compile(source).unwrap().reads_every_parameter(), "{source}");
        }
        assert_eq!(reads("request.method == 'GET' && caller.client == 'x-id'"), [""; 0]);
    }

    #[test]
    fn a_header_by_a_name_that_none_can_have_is_a_mistake() {
        for (source, why) in [
            (
                "'X-Batch' in request.headers",
                "no header is called 'X-Batch' here; names are lower case: 'x-batch'",
            ),
            (
                "request.headers['X-Id'] == 'a'",
                "no header is called 'X-Id' here; names are lower case: 'x-id'",
            ),
            ("request.headers['x id'] == 'a'", "no header is called 'x id' here"),
        ] {
            assert_eq!(Condition::compile(source).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn what_no_request_changes_must_be_true_or_false() {
        for (source, why) in [
            ("1 + 1", "gave no boolean"),
            ("'true'", "gave no boolean"),
            ("[true].map(one, one)", "gave no boolean"),
            ("1 / 0 == 1", "failed"),
        ] {
            let error = Condition::compile(source).unwrap_err().to_string();
            assert!(error.contains(why), "{source}: {error}");
        }
        for source in ["true", "1 + 1 == 3", "[1].all(one, one > 0)", "account == ''"] {
            assert!(Condition::compile(source).is_ok(), "{source}");
        }
    }

    #[test]
    fn a_query_read_by_names_that_are_no_literals_is_read_whole() {
        for source in [
            "request.query.all(name, request.query[name] != '')",
            "request.query[caller.client] == 'a'",
            "size(request.query) < 3",
            "request['query']['id'] == 'a'",
        ] {
            assert!(Condition::compile(source).unwrap().reads_every_parameter(), "{source}");
        }
    }
}
