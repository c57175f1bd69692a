use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, MessageFormatter, UserMessageFormatter};

use super::node::Span;
use super::yaml::{MAX_ALIASED, MAX_DEPTH};
use crate::config::report::Report;

/// Says why a text is not YAML that can be read.
pub fn explain(error: &Error, file: usize, report: &mut Report) {
    let span = place(error, file, report);
    let (message, hint) = wording(error);
    let hint = hint.or_else(|| hint_from(span, report));
    let problem = report.error_at(span, "", message);
    if let Some(hint) = hint {
        problem.hint(hint);
    }
}

fn wording(error: &Error) -> (String, Option<&'static str>) {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => wording(error),
        Error::Eof { .. } => ("the file ends too early".into(), None),
        Error::MultipleDocuments { .. } => (
            "a configuration is one YAML document, this file has several".into(),
            Some("remove the `---`, or put the second part into a file of its own and include it"),
        ),
        Error::AliasReplayLimitExceeded { .. } | Error::AliasReplayCounterOverflow { .. } => (
            format!("aliases (`*name`) in this file stand for more than {MAX_ALIASED} values"),
            Some("write the values out; aliases of aliases multiply"),
        ),
        Error::AliasReplayStackDepthExceeded { .. } => {
            ("aliases (`*name`) stand for aliases too deeply".into(), None)
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            ("this alias stands for something that contains it".into(), None)
        }
        Error::UnknownAnchor { .. } => {
            ("this alias has no anchor".into(), Some("a text that begins with `*` needs quotes"))
        }
        Error::Budget { breach, .. } => budget(breach),
        Error::NullIntoString { .. } => ("a key can't be empty".into(), None),
        other => (first_line(&UserMessageFormatter.format_message(other)), None),
    }
}

fn budget(breach: &BudgetBreach) -> (String, Option<&'static str>) {
    match breach {
        BudgetBreach::Depth { .. } => {
            (format!("maps and lists are more than {MAX_DEPTH} levels deep here"), None)
        }
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. }
        | BudgetBreach::MergeKeys { .. } => {
            ("this file uses too many aliases (`*name`)".into(), Some("write the values out"))
        }
        _ => ("this file has too many values".into(), Some("divide it with `include`")),
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().trim();
    format!("this is not YAML: {line}")
}

/// The two mistakes that make most YAML unreadable.
fn hint_from(span: Span, report: &Report) -> Option<&'static str> {
    let number = report.line_of(span).saturating_sub(1);
    let mut lines = report.source(span.file)?.text.lines().skip(number);
    let line = lines.next()?;
    // The parser may stop before the line that has the tab.
    if [Some(line), lines.next()].into_iter().flatten().any(starts_with_tab) {
        return Some("indent with blanks: YAML forbids tabs");
    }
    let unquoted = line.split("${").next().is_some_and(|before| !before.ends_with(['"', '\'']));
    if line.contains("${") && line.contains('{') && unquoted {
        return Some("inside `{ }` and `[ ]` a text with `${…}` needs quotes");
    }
    None
}

fn starts_with_tab(line: &str) -> bool {
    line.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t')
}

fn place(error: &Error, file: usize, report: &Report) -> Span {
    let Some(location) = error.location() else { return Span { file, start: 0, end: 0 } };
    let text = report.source(file).map_or("", |source| &source.text);
    let bytes = location.span().byte_offset().and_then(|at| usize::try_from(at).ok());
    let start = bytes.unwrap_or_else(|| byte_at(text, location.line(), location.column()));
    Span { file, start: start.min(text.len()), end: start.min(text.len()) }
}

fn byte_at(text: &str, line: u64, column: u64) -> usize {
    let line = usize::try_from(line).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column).map_or(0, |(at, _)| at)
}
