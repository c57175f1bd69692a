use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::{ParseErrors, Program};

use super::Check;
use crate::config::nearest::suggestion;
use crate::config::problem::Problem;
use crate::config::spot::Spot;
use crate::request::{Condition, ConditionError};

/// Longest expression, in bytes: it is evaluated for every request.
const MAX_BYTES: usize = 4096;

/// Most brackets and choices inside each other, and most steps that need each other's result: the
/// evaluation goes down one level of the stack for each.
const MAX_DEPTH: usize = 24;
const MAX_STEPS: usize = 100;

/// What is known of a request where a condition is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Everything.
    All,
    /// Access: the account comes later.
    BeforeAccount,
    /// Access on a public route: no caller either.
    NoCaller,
}

/// Compiles a condition.
pub(super) fn condition(
    text: &str,
    at: &Spot<'_>,
    known: Known,
    check: &mut Check<'_>,
) -> Option<Condition> {
    if text.len() > MAX_BYTES {
        check.error(at, format!("this condition is longer than {MAX_BYTES} bytes"));
        return None;
    }
    if nesting(text) > MAX_DEPTH {
        check.error(at, format!("this condition is more than {MAX_DEPTH} levels deep"));
        return None;
    }
    let program = match Program::compile(text) {
        Ok(program) => program,
        Err(errors) => {
            not_cel(text, &errors, at, check);
            return None;
        }
    };
    if depth(program.expression()) > MAX_STEPS {
        check.error(at, format!("this condition is more than {MAX_STEPS} steps deep"));
        return None;
    }
    if let Some((name, why)) = known.lacks(&program) {
        at_name(text, name, at, check, why);
        return None;
    }
    compiled(text, at, check)
}

impl Known {
    /// A variable that the expression reads although it never has a value here, and why.
    fn lacks(self, program: &Program) -> Option<(&'static str, &'static str)> {
        let reads = |name: &str| program.references().has_variable(name);
        match self {
            Self::All => None,
            Self::BeforeAccount | Self::NoCaller if reads("account") => {
                Some(("account", "the account is not yet known when access is checked"))
            }
            Self::NoCaller if reads("caller") => {
                Some(("caller", "the route is public, so there is no caller"))
            }
            Self::BeforeAccount | Self::NoCaller => None,
        }
    }
}

fn not_cel(text: &str, errors: &ParseErrors, at: &Spot<'_>, check: &mut Check<'_>) {
    for error in &errors.errors {
        let byte = byte_at(text, error.pos);
        let message = format!("this is not CEL: {}", plain(&error.msg));
        check.error_within(at, (byte, byte + 1), message);
    }
    if errors.errors.is_empty() {
        check.error(at, "this is not CEL");
    }
}

/// Brackets and choices inside each other. Those in texts count too: nobody needs 24.
fn nesting(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' | b'?' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn depth(node: &IdedExpr) -> usize {
    let entry = |entry: &EntryExpr| match entry {
        EntryExpr::StructField(field) => depth(&field.value),
        EntryExpr::MapEntry(entry) => depth(&entry.key).max(depth(&entry.value)),
    };
    let deepest = match &node.expr {
        Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) => None,
        Expr::Select(select) => Some(depth(&select.operand)),
        Expr::Call(call) => {
            call.target.iter().map(|target| &**target).chain(&call.args).map(depth).max()
        }
        Expr::List(list) => list.elements.iter().map(depth).max(),
        Expr::Map(map) => map.entries.iter().map(|e| entry(&e.expr)).max(),
        Expr::Struct(made) => made.entries.iter().map(|e| entry(&e.expr)).max(),
        Expr::Comprehension(each) => {
            let inner =
                [&each.iter_range, &each.accu_init, &each.loop_cond, &each.loop_step, &each.result];
            inner.into_iter().map(depth).max()
        }
    };
    1 + deepest.unwrap_or(0)
}

fn compiled(text: &str, at: &Spot<'_>, check: &mut Check<'_>) -> Option<Condition> {
    match Condition::compile(text) {
        Ok(condition) => Some(condition),
        Err(ConditionError::UnknownName { name, known }) => {
            let (parent, last) = name.rsplit_once('.').unwrap_or(("", &name));
            let hint = suggestion(last, known.split(", ")).map(|hint| match parent {
                "" => hint,
                parent => format!("{hint} (in `{parent}`)"),
            });
            let problem = at_name(text, &name, at, check, &format!("there is no `{name}` here"));
            if let Some(hint) = hint {
                problem.hint(hint);
            }
            None
        }
        Err(error) => {
            check.error(at, first_line(&error.to_string()));
            None
        }
    }
}

fn at_name<'c>(
    text: &str,
    name: &str,
    at: &Spot<'_>,
    check: &'c mut Check<'_>,
    message: &str,
) -> &'c mut Problem {
    match text.find(name) {
        Some(byte) => check.error_within(at, (byte, byte + name.len()), message),
        None => check.error(at, message),
    }
}

/// Without the parser's list of all tokens that could follow.
fn plain(message: &str) -> String {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let message = message.split(" expecting {").next().unwrap_or(message);
    match message.contains("<EOF>") {
        true => "it ends too early".into(),
        false => first_line(message).replace('\'', "`"),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// The byte of a line and column, both as the parser counts them.
fn byte_at(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}
