use std::fmt;
use std::path::Path;

use super::node::{Node, NodeValue, Span, Text};
use super::read::{MAX_SECRET, plain, read_bytes};
use crate::config::problem::Problem;
use crate::config::report::Report;

const LITERAL: &str = "for a literal `${` write `$${`";

/// Where `${env:NAME}` is looked up: the process's environment, or a test's.
pub struct Environment<'e>(&'e (dyn Fn(&str) -> Option<String> + Sync));

impl<'e> Environment<'e> {
    /// Looks names up with a function.
    pub fn new(look_up: &'e (dyn Fn(&str) -> Option<String> + Sync)) -> Self {
        Self(look_up)
    }
}

impl fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// Puts secrets in the place of `${env:NAME}` and `${file:/path}`. Only texts that YAML has
/// already told apart are touched, so a secret can't add keys of its own.
pub fn put_in(node: &mut Node, environment: &Environment<'_>, report: &mut Report) {
    match &mut node.value {
        NodeValue::List(items) => {
            items.iter_mut().for_each(|item| put_in(&mut item.node, environment, report));
        }
        NodeValue::Map(entries) => {
            entries.iter_mut().for_each(|entry| put_in(&mut entry.node, environment, report));
        }
        NodeValue::Text(text) if text.value.contains("${") => {
            let before = report.count();
            *text = Resolve { span: node.span, environment, report }.text(&text.value);
            if report.count() > before {
                report.settle(node.span);
            }
        }
        NodeValue::Null | NodeValue::Bool(_) | NodeValue::Number(_) | NodeValue::Text(_) => {}
    }
}

struct Resolve<'a, 'e> {
    span: Span,
    environment: &'a Environment<'e>,
    report: &'a mut Report,
}

impl Resolve<'_, '_> {
    fn text(&mut self, written: &str) -> Text {
        let mut value = String::with_capacity(written.len());
        let mut rest = written;
        let mut has_secret = false;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                value.push_str(before);
                value.push_str("${");
                rest = after;
                continue;
            }
            value.push_str(before);
            let Some((name, behind)) = after.split_once('}') else {
                self.error("`${` without `}`".into()).hint(LITERAL);
                rest = "";
                break;
            };
            if let Some(secret) = self.secret(name) {
                value.push_str(&secret);
                has_secret = true;
            }
            rest = behind;
        }
        value.push_str(rest);
        Text { value, written: has_secret.then(|| written.to_owned()) }
    }

    fn secret(&mut self, name: &str) -> Option<String> {
        match name.split_once(':') {
            Some(("env", variable)) => {
                let value = (self.environment.0)(variable);
                if value.is_none() {
                    self.error(format!("the environment has no variable `{variable}`"));
                }
                value
            }
            Some(("file", path)) => self.file(path),
            _ => {
                let message =
                    format!("`${{{name}}}` is neither `${{env:NAME}}` nor `${{file:PATH}}`");
                self.error(message).hint(LITERAL);
                None
            }
        }
    }

    fn file(&mut self, written: &str) -> Option<String> {
        let folder = self.report.source(self.span.file).map(|source| source.folder().to_owned());
        let path = folder.unwrap_or_default().join(Path::new(written));
        self.report.depends_on(&path);
        match read_bytes(&path, MAX_SECRET).map(String::from_utf8) {
            Ok(Ok(mut text)) => {
                self.report.content(text.as_bytes());
                text.truncate(text.trim_end_matches(['\n', '\r']).len());
                Some(text)
            }
            Ok(Err(_)) => {
                self.error(format!("the secret in {written} is not UTF-8 text"));
                None
            }
            Err(error) => {
                self.error(format!("the secret in {written} can't be read: {}", plain(&error)));
                None
            }
        }
    }

    fn error(&mut self, message: String) -> &mut Problem {
        self.report.error_at(self.span, "", message)
    }
}
