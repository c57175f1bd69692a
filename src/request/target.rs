use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::ValueSource;

/// What may stand bare in a value: RFC 3986 section 2.3's unreserved characters. So a value can't
/// add a segment, a parameter or an escape of its own.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a part of the request's own path. A normal path has no escaped slash and no dot
/// segment, so what `{*rest}` took goes on as the segments that it was.
const OWN_PATH: &AsciiSet = &VALUE.remove(b'/');

/// A path and query while it is written from a template.
///
/// A parameter of the query (`&from={query.from}`) whose value is a parameter of the request that
/// the caller did not send is left out whole: so optional filters pass through. Any other absent
/// value makes the target impossible; leaving a filter out that is not the caller's choice would
/// widen what is answered.
#[derive(Debug, Default)]
pub struct Target {
    path: String,
    /// The parameters that are done.
    query: String,
    /// The one that is being written.
    parameter: Option<String>,
    /// It has a value that the caller did not send.
    lacking: bool,
}

/// Why a target can't be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// A value is absent, or empty where it would be a path segment: `/v1/` is often a list of
    /// everything.
    Absent(ValueSource),
    /// A value would make a dot segment (RFC 3986 section 5.2.4), and so another path.
    DotSegment,
    /// A value has a NUL character: some readers end the text there.
    Nul,
}

impl Target {
    /// A piece of the template as it stands.
    pub fn push_literal(&mut self, text: &str) {
        let text = match self.parameter {
            Some(_) => text,
            None => match text.split_once('?') {
                Some((path, query)) => {
                    self.path.push_str(path);
                    self.parameter = Some(String::new());
                    query
                }
                None => {
                    self.path.push_str(text);
                    return;
                }
            },
        };
        for (nth, piece) in text.split('&').enumerate() {
            if nth > 0 {
                self.end_parameter();
                self.parameter = Some(String::new());
            }
            if let Some(parameter) = &mut self.parameter {
                parameter.push_str(piece);
            }
        }
    }

    /// A value, escaped.
    ///
    /// # Errors
    /// It is absent where it must not be.
    pub fn push_value(
        &mut self,
        source: &ValueSource,
        value: Option<Cow<'_, str>>,
    ) -> Result<(), NoTarget> {
        let is_own_path = matches!(source, ValueSource::Path(_));
        match value {
            Some(text) if text.contains('\0') => Err(NoTarget::Nul),
            Some(text) if self.push_escaped(&text, is_own_path) => Ok(()),
            None if self.parameter.is_some() && matches!(source, ValueSource::Query(_)) => {
                self.lacking = true;
                Ok(())
            }
            Some(_) | None => Err(NoTarget::Absent(source.clone())),
        }
    }

    /// A text, escaped: false if it is empty and would be a path segment. What is a part of the
    /// request's own path keeps its slashes.
    pub fn push_escaped(&mut self, text: &str, is_own_path: bool) -> bool {
        let encoded = utf8_percent_encode(text, if is_own_path { OWN_PATH } else { VALUE });
        match &mut self.parameter {
            Some(parameter) => parameter.extend(encoded),
            None if text.is_empty() => return false,
            None => self.path.extend(encoded),
        }
        true
    }

    fn end_parameter(&mut self) {
        let parameter = self.parameter.take().unwrap_or_default();
        if std::mem::take(&mut self.lacking) || parameter.is_empty() {
            return;
        }
        self.query.push(if self.query.is_empty() { '?' } else { '&' });
        self.query.push_str(&parameter);
    }

    /// The whole target.
    ///
    /// # Errors
    /// A value made a dot segment: no escape keeps a backend from taking it for a step through its
    /// paths.
    pub fn finish(mut self) -> Result<String, NoTarget> {
        self.end_parameter();
        if self.path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(NoTarget::DotSegment);
        }
        Ok(self.path + &self.query)
    }
}
