use std::collections::HashSet;

use serde_json::Value;

use crate::request::{JsonError, MAX_JSON_DEPTH, Refusal, has_nul, parse_json};

/// Reads a JSON body that the gateway decides on, more strictly than most backends: of what
/// parsers read differently, nothing passes. Bound its size first.
///
/// # Errors
/// [`Refusal::MalformedBody`] for what [`parse_json`] refuses, for members that differ only in
/// letter case (for some readers, as those of Go and ASP.NET, they are one), and for NUL
/// characters in texts (some end the text there).
pub fn read_json(bytes: &[u8]) -> Result<Value, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::MalformedBody("it is empty"));
    }
    let json = parse_json(bytes, MAX_JSON_DEPTH).map_err(|error| {
        Refusal::MalformedBody(match error {
            JsonError::NotJson { .. } => "it is not JSON",
            JsonError::TooDeep => "it is nested too deeply",
            JsonError::RepeatedMember => TWICE,
        })
    })?;
    if repeats_but_for_case(&json) {
        return Err(Refusal::MalformedBody(TWICE));
    }
    if has_nul(&json) {
        return Err(Refusal::MalformedBody("it has a NUL character in a text"));
    }
    Ok(json)
}

const TWICE: &str = "it has the same member twice in an object";

fn repeats_but_for_case(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(repeats_but_for_case),
        Value::Object(members) => {
            let mut names = HashSet::new();
            // By way of capitals, since some letters (ſ) have their pair only there.
            let again = |name: &String| !names.insert(name.to_uppercase().to_lowercase());
            members.keys().any(again) || members.values().any(repeats_but_for_case)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_body_says_what_is_wrong_with_it() {
        for (body, why) in [
            (&b""[..], "it is empty"),
            (b"{", "it is not JSON"),
            (b"{\"a\":\"\0\"}", "it is not JSON"),
            (br#"{"a":1,"a":1}"#, TWICE),
            (br#"[{"x":{"debtor":1,"Debtor":2}}]"#, TWICE),
            (r#"{"is":1,"iſ":2}"#.as_bytes(), TWICE),
            (br#"{"k":1,"\u212a":2}"#, TWICE),
            (br#"{"a":"1\u0000"}"#, "it has a NUL character in a text"),
            (br#"{"a\u0000":"1"}"#, "it has a NUL character in a text"),
            (&[b'['; 65], "it is nested too deeply"),
        ] {
            assert_eq!(
                read_json(body),
                Err(Refusal::MalformedBody(why)),
                "{}",
                body.escape_ascii()
            );
        }
        assert_eq!(read_json(b"{\"a\":{\"A\":1}}"), Ok(serde_json::json!({"a": {"A": 1}})));
    }
}
