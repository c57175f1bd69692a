//! Files of megabytes: the time for them grows with their length, not with its square.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::config::report::{Report, Source};
use crate::config::schema::form;
use crate::config::source::{self, Span};
use crate::config::{check, mask, structure};

/// Work that grows with the square takes minutes for these, so that a slow machine can't be
/// taken for it.
const BOUND: Duration = Duration::from_secs(15);

/// Processor time of this thread: other tests don't count.
fn assert_quick(work: impl FnOnce()) {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let begun = now();
    work();
    let taken = now() - begun;
    assert!(taken < BOUND, "it took {taken:?}");
}

#[test]
fn many_secrets_in_one_line_are_found_quickly() {
    let secrets = "token: 1, ".repeat(60_000);
    assert_quick(|| {
        let spaces = " ".repeat(2 << 20);
        assert_eq!(mask::secrets_in(&format!("{{{secrets}{spaces}\n")).len(), 60_000);
    });
    assert_quick(|| {
        let before = "x".repeat(2 << 20);
        assert_eq!(mask::secrets_in(&format!("{before}: {{{secrets}}}\n")).len(), 60_000);
    });
}

#[test]
fn many_unknown_keys_are_taken_out_quickly() {
    let folder = Folder::new();
    let unknown: String = (0..60_000).map(|number| format!("wrong{number}: 1, ")).collect();
    let main = folder.write("wrong.yaml", format!("cache: {{{unknown}}}\n"));
    let mut report = Report::default();
    let mut root = source::load(&main, &Environment::new(&environment), &mut report).unwrap().root;
    assert_quick(|| {
        structure::check(&mut root, form(), &mut report);
    });
    assert!(report.count() >= 60_000);
    assert!(root.entry("cache").unwrap().node.entry("wrong59999").is_none());
}

/// A map of header fields panics when it is full.
#[test]
fn an_answer_with_too_many_header_fields_says_so() {
    let folder = Folder::new();
    let fields: String = (0..40_000).map(|number| format!("x-{number}: a, ")).collect();
    let route = format!(
        "{{id: a, match: {{path: /}}, authenticate: none, answer: {{headers: {{{fields}}}}}}}"
    );
    let text = format!(
        "listen: [{{address: 127.0.0.1:80}}]\nstate: {{directory: s}}\nroutes: [{route}]\n"
    );
    let problems = folder.problems(&folder.write("a.yaml", text));
    assert!(problems.contains("an answer has at most 100 header fields"), "{problems}");
    assert!(problems.contains("a.yaml:3:"), "{problems}");
}

#[test]
fn edits_of_too_many_header_fields_are_refused() {
    let folder = Folder::new();
    for place in ["request", "response"] {
        for edit in ["set", "add"] {
            let fields: String = (0..101).map(|number| format!("x-{number}: a, ")).collect();
            let text = format!(
                "listen: [{{address: 127.0.0.1:80}}]\nstate: {{directory: s}}\n\
                 routes: [{{id: a, match: {{path: /}}, authenticate: none, answer: {{}}, \
                 {place}: {{headers: {{{edit}: {{{fields}}}}}}}}}]\n"
            );
            let problems = folder.problems(&folder.write("a.yaml", text));
            assert!(problems.contains("at most 100 header fields"), "{problems}");
        }
    }
}

fn list(name: &str, many: usize) -> String {
    (0..many).map(|number| format!("{name}{number}")).collect::<Vec<_>>().join(", ")
}

/// Checks a route, with this beside it.
fn assert_checked_quickly(beside: &str, route: &str) -> usize {
    let folder = Folder::new();
    let start = "listen: [{address: 127.0.0.1:80}]\nstate: {directory: s}\n";
    let route = format!("{{id: a, authenticate: none, answer: {{}}, {route}}}");
    let main = folder.write("a.yaml", format!("{start}{beside}routes: [{route}]\n"));
    let mut report = Report::default();
    let mut root = source::load(&main, &Environment::new(&environment), &mut report).unwrap().root;
    assert_quick(|| {
        let broken = structure::check(&mut root, form(), &mut report);
        check::check(&root, &broken, &mut report);
    });
    report.count()
}

#[test]
fn many_names_that_stand_for_nothing_are_noted_quickly() {
    let rules: String = (0..10_000)
        .map(|number| format!("  q{number}: {{per: [account], limit: 1, window: 24h}}\n"))
        .collect();
    let names = list("none", 10_000);
    let route =
        format!("match: {{path: \"/{{account}}\"}}, account: path.account, quotas: [{names}]");
    assert!(assert_checked_quickly(&format!("quotas:\n{rules}"), &route) >= 10_000);
}

#[test]
fn many_hosts_and_values_of_a_key_are_compared_quickly() {
    let route = format!("match: {{path: /, hosts: [{}]}}", list("host", 40_000));
    assert_checked_quickly("", &route);
    let per = list("header.x-", 40_000);
    let rule = format!("quotas: {{q: {{per: [account, {per}], limit: 1, window: 24h}}}}\n");
    assert_checked_quickly(&rule, "match: {path: /}");
}

#[test]
fn many_texts_with_broken_references_are_noted_quickly() {
    let mut report = Report::default();
    assert_quick(|| {
        for start in 0..120_000 {
            let span = Span { file: 0, start, end: start + 1 };
            report.error_at(span, "", "broken");
            report.settle(span);
            report.error_at(span, "", "this only follows");
        }
    });
    assert_eq!(report.count(), 120_000);
}

#[test]
fn a_thousand_problems_in_a_line_of_megabytes_are_placed_quickly() {
    let mut report = Report::default();
    let text = format!("{}{}", "a ".repeat(1000), " ".repeat(5 << 20));
    let file = report.add_source(Source::new(Path::new("long.yaml"), &text));
    assert_quick(|| {
        for start in (0..2000).step_by(2) {
            report.error_at(Span { file, start, end: start + 1 }, "", "wrong");
        }
    });
    let problems = report.into_problems();
    assert!(problems.iter().all(|problem| problem.end_column == problem.column + 1));
    assert_eq!(problems.iter().last().unwrap().column, 1999);
}

#[test]
fn many_files_of_secrets_are_noted_quickly() {
    let mut report = Report::default();
    assert_quick(|| {
        for number in 0..40_000 {
            report.depends_on(format!("/run/secrets/some-folder/{number}"));
            report.depends_on("/run/secrets/some-folder/0");
        }
    });
    assert_eq!(report.files().len(), 40_000);
}
