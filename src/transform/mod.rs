//! Edits of headers and JSON bodies: pure functions.
//!
//! Nothing here asks a clock, a socket or a source of randomness; fresh identifiers are handed in.

mod fields;
mod forwarded;
mod headers;
mod hops;
mod identifiers;
mod json;
mod spelling;
mod trace;

pub use fields::{Fields, join_cookies};
pub use forwarded::{Hop, forward};
pub use headers::apply as apply_headers;
pub use hops::{RATE_LIMIT, RATE_LIMIT_POLICY, UNACCOUNTED};
pub use hops::{strip_internal, strip_nominated, strip_own_words, strip_request, strip_response};
pub use identifiers::{INTERACTION_ID, REQUEST_ID, interaction_id, request_id};
pub use json::{EditError, apply as apply_json, edit_body, keeps_numbers};
pub use spelling::{forget_request_spelling, forget_response_spelling};
pub use trace::{TRACEPARENT, TRACESTATE, TraceContext};
