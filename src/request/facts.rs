use std::sync::Arc;

use http::HeaderMap;
use serde_json::Value;

use super::{AccountId, Caller, RequestHead, RouteId};

/// The parts of a path that a route's pattern named, in the pattern's order, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(pub Vec<(Arc<str>, String)>);

impl Captures {
    /// What stood at `{name}`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| &**key == name).map(|(_, value)| value.as_str())
    }
}

/// All that is known of a request so far; stages read values, templates and conditions from it.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// First lines, normalised.
    pub head: &'a RequestHead,
    /// Header fields as they came.
    pub headers: &'a HeaderMap,
    /// The route that matched.
    pub route: &'a RouteId,
    /// Named parts of the path.
    pub captures: &'a Captures,
    /// Who is calling; `None` before `auth` or on a public route.
    pub caller: Option<&'a Caller>,
    /// Which account; `None` before `account` or on a route without one.
    pub account: Option<&'a AccountId>,
    /// The JSON body, where the route needs it read before the backend is called.
    pub body: Option<&'a Value>,
}
