use serde_json::{Map, Value};

use super::flaw::Flaw;
use crate::request::{JsonError, parse_json};

/// Objects and arrays in one another; real tokens and key sets stay under 6.
const MAX_DEPTH: usize = 16;

/// Reads a JSON object, strictly: two readers that pick different ones of a member named twice see
/// different tokens (RFC 7519 section 4).
pub(super) fn parse_object(text: &[u8]) -> Result<Map<String, Value>, Flaw> {
    match parse_json(text, MAX_DEPTH) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Flaw::NotAnObject),
        Err(JsonError::NotJson { .. }) => Err(Flaw::NotJson),
        Err(JsonError::TooDeep) => Err(Flaw::TooDeep),
        Err(JsonError::RepeatedMember) => Err(Flaw::RepeatedMember),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_object_is_read() {
        let text = r#"{"a":1,"b":-2,"c":1.5,"d":"x\n\u00e9","e":[null,true,{}],"f":{"a":1}}"#;
        let expected: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert_eq!(parse_object(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_member_named_twice_is_refused_at_every_depth() {
        for text in [r#"{"a":1,"\u0061":2}"#, r#"{"cnf":{"jkt":"1","jkt":"2"}}"#] {
            assert_eq!(parse_object(text.as_bytes()), Err(Flaw::RepeatedMember), "{text}");
        }
    }

    #[test]
    fn nesting_ends_at_sixteen() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse_object(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert_eq!(parse_object(nested(MAX_DEPTH).as_bytes()), Err(Flaw::TooDeep));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "{", "{}x"] {
            assert_eq!(parse_object(text.as_bytes()), Err(Flaw::NotJson), "{text}");
        }
        for text in ["[]", "1", "null", "\"{}\""] {
            assert_eq!(parse_object(text.as_bytes()), Err(Flaw::NotAnObject), "{text}");
        }
    }
}
