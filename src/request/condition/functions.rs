//! What conditions call: the functions of CEL, `isIP`, and `matches` with patterns that are compiled
//! once.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelBool, CelString, STRING_TYPE};
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError};
use moka::sync::Cache;
use regex::Regex;

use super::ConditionError;

/// All that a condition can call by name.
pub(super) const NAMES: [&str; 30] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "isIP",
    "matches",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
];
/// `matches` where the pattern stands in the condition. No condition can call it by this name.
const MATCHES_KNOWN: &str = "@matches";
/// Patterns kept compiled, of all conditions; more than any configuration has.
const PATTERNS: u64 = 10_000;

type Argument<'b, 'v> = CowVal<'b, 'v>;

/// Made once: it takes longer than most conditions.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let one = || vec![STRING_TYPE];
    let added = [
        env.add_overload("isIP", "is_ip_string", one(), is_ip),
        env.add_overload(MATCHES_KNOWN, "matches_known", vec![STRING_TYPE, STRING_TYPE], matches),
        env.add_member_overload(MATCHES_KNOWN, "string_matches_known", STRING_TYPE, one(), matches),
    ];
    debug_assert!(added.iter().all(Result::is_ok), "they are CEL's own by now: {added:?}");
    Arc::new(env)
});
static COMPILED: LazyLock<Cache<String, Arc<Regex>>> = LazyLock::new(|| Cache::new(PATTERNS));

/// A context with all functions and no variables.
pub(super) fn context<'v>() -> Context<'static, 'v> {
    Context::with_env(Arc::clone(&ENVIRONMENT))
}

/// Compiles the patterns that stand in an expression, and has it use them.
///
/// # Errors
/// A pattern is no regular expression.
pub(super) fn compile_patterns(node: &mut IdedExpr) -> Result<(), ConditionError> {
    match &mut node.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => Ok(()),
        Expr::Select(select) => compile_patterns(&mut select.operand),
        Expr::Call(call) => {
            if call.func_name == "matches"
                && let Some(Expr::Literal(LiteralValue::String(text))) =
                    call.args.last().map(|last| &last.expr)
            {
                pattern(text.inner()).map_err(ConditionError::Syntax)?;
                MATCHES_KNOWN.clone_into(&mut call.func_name);
            }
            let parts = call.target.iter_mut().map(|target| &mut **target);
            parts.chain(&mut call.args).try_for_each(compile_patterns)
        }
        Expr::List(list) => list.elements.iter_mut().try_for_each(compile_patterns),
        Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| in_entry(&mut entry.expr)),
        Expr::Struct(made) => {
            made.entries.iter_mut().try_for_each(|entry| in_entry(&mut entry.expr))
        }
        Expr::Comprehension(each) => {
            let inner = [
                &mut each.iter_range,
                &mut each.accu_init,
                &mut each.loop_cond,
                &mut each.loop_step,
                &mut each.result,
            ];
            inner.into_iter().try_for_each(compile_patterns)
        }
    }
}

fn in_entry(entry: &mut EntryExpr) -> Result<(), ConditionError> {
    match entry {
        EntryExpr::StructField(field) => compile_patterns(&mut field.value),
        EntryExpr::MapEntry(entry) => {
            compile_patterns(&mut entry.key)?;
            compile_patterns(&mut entry.value)
        }
    }
}

fn pattern(text: &str) -> Result<Arc<Regex>, String> {
    if let Some(known) = COMPILED.get(text) {
        return Ok(known);
    }
    let compiled = Regex::new(text).map(Arc::new).map_err(|error| {
        let why = error.to_string();
        let last = why.lines().next_back().unwrap_or_default();
        format!("'{text}' is no regular expression: {}", last.trim_start_matches("error: "))
    })?;
    COMPILED.insert(text.to_owned(), Arc::clone(&compiled));
    Ok(compiled)
}

fn matches<'b, 'v>(arguments: Vec<Argument<'b, 'v>>) -> Result<Argument<'b, 'v>, ExecutionError> {
    let failed = |message| ExecutionError::FunctionError { function: "matches".into(), message };
    let texts: Vec<&str> = arguments.iter().filter_map(text).collect();
    let [text, written] = texts.as_slice() else { return Err(failed("it takes texts".into())) };
    let found = pattern(written).map_err(failed)?.is_match(text);
    Ok(CowVal::owned(CelBool::from(found)))
}

/// Whether a text is an IPv4 or IPv6 address, as in the CEL of Kubernetes.
fn is_ip<'b, 'v>(arguments: Vec<Argument<'b, 'v>>) -> Result<Argument<'b, 'v>, ExecutionError> {
    let address = arguments.first().and_then(text);
    let is = address.is_some_and(|text| text.parse::<IpAddr>().is_ok());
    Ok(CowVal::owned(CelBool::from(is)))
}

fn text<'a>(argument: &'a Argument<'_, '_>) -> Option<&'a str> {
    argument.downcast_ref::<CelString<'_>>().map(CelString::inner)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use crate::request::{Captures, Condition, ConditionError, Facts, RequestHead, RouteId};

    fn holds(source: &str) -> bool {
        let facts = Facts {
            head: &RequestHead::default(),
            headers: &HeaderMap::new(),
            route: &RouteId::new("summary"),
            captures: &Captures::default(),
            caller: None,
            account: None,
            body: None,
        };
        Condition::compile(source).unwrap().holds(&facts).unwrap()
    }

    #[test]
    fn an_address_is_one_of_either_version() {
        for address in ["203.0.113.7", "2001:db8::7", "::", "::ffff:203.0.113.7"] {
            assert!(holds(&format!("isIP('{address}')")), "{address}");
        }
        for text in
            ["", "203.0.113", "203.0.113.7:443", "[::1]", "fe80::1%eth0", "localhost", " ::1"]
        {
            assert!(!holds(&format!("isIP('{text}')")), "{text}");
        }
    }

    #[test]
    fn patterns_match_wherever_they_are_written() {
        for source in [
            "'foobar'.matches('^foo')",
            "matches('foobar', 'bar$')",
            "['foo', 'bar'].exists(one, one.matches('^b'))",
            "{'a': 'x'.matches('x')}['a']",
            "'foobar'.matches('o' + 'o')",
            "!'foobar'.matches('^bar')",
        ] {
            assert!(holds(source), "{source}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_when_the_condition_is_compiled() {
        let refused = Condition::compile("request.path.matches('(foo')").unwrap_err();
        let ConditionError::Syntax(why) = refused else { panic!("{refused}") };
        assert_eq!(why, "'(foo' is no regular expression: unclosed group");
    }

    #[test]
    fn a_function_that_is_none_is_refused_when_the_condition_is_compiled() {
        let refused = Condition::compile("request.path.startswith('/a')").unwrap_err();
        assert!(
            matches!(&refused, ConditionError::UnknownName { name, .. } if name == "startswith"),
            "{refused}"
        );
        for name in super::NAMES {
            assert!(Condition::compile(&format!("{name}(request.path) == true")).is_ok(), "{name}");
        }
    }
}
