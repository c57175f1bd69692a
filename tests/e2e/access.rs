//! What a recognised caller may do, and how often and how many at once.

mod limits;
mod rules;

use http::StatusCode;

use crate::support::Answer;

/// Status and problem of an answer; no problem for one that isn't refused.
fn outcome(answer: &Answer) -> (u16, String) {
    let refused = answer.status >= StatusCode::BAD_REQUEST;
    (answer.status.as_u16(), if refused { answer.problem() } else { String::new() })
}
