use serde_json::Value;

/// How deeply a body may be nested. Real answers have less than a dozen levels; everything that
/// walks a body recurses, so that the bound protects the stack.
pub const MAX_JSON_DEPTH: usize = 64;

/// Why bytes are not a JSON body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8, the only encoding that JSON has between systems (RFC 8259 section 8.1).
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// Nested more deeply than allowed.
    #[error("the body is nested too deeply")]
    TooDeep,
    /// Not JSON, cut short, or with more behind it.
    #[error("the body is not JSON at line {line}, column {column}")]
    Malformed {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
}

/// Reads one JSON value and nothing behind it, nested at most `max_depth` deep ([`MAX_JSON_DEPTH`]
/// where nothing speaks for another).
///
/// Of members with the same name the last one stands, as in most readers (RFC 8259 section 4), so
/// that what the gateway judges is what comes out again. Numbers beyond 64 bits or about 17
/// digits lose what a double can't hold. The value takes up to some 40 times the bytes' size
/// in memory in the worst case (`[0,0,0,...]`): bound the bytes before.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
    if deeper_than(max_depth, bytes) {
        return Err(JsonError::TooDeep);
    }
    serde_json::from_str(text)
        .map_err(|error| JsonError::Malformed { line: error.line(), column: error.column() })
}

/// Counts brackets outside of strings. Bytes that are not JSON may count wrongly; the parser
/// refuses them, and its own limit is 128.
fn deeper_than(max_depth: usize, bytes: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' if depth == max_depth => return true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Value, JsonError> {
        parse(text.as_bytes(), MAX_JSON_DEPTH)
    }

    #[test]
    fn members_keep_their_order_and_the_last_of_a_name_stands() {
        let value = read(r#" {"z":1,"a":2,"z":3} "#).unwrap();
        assert_eq!(value.to_string(), r#"{"z":3,"a":2}"#);
    }

    #[test]
    fn amounts_come_out_as_they_went_in() {
        for number in ["0.1", "1234567.89", "-0.01", "18446744073709551615", "99999999999.99"] {
            assert_eq!(read(number).unwrap().to_string(), number);
        }
    }

    #[test]
    fn sixty_four_levels_are_read_and_sixty_five_are_not() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(&nested(64)).is_ok());
        assert_eq!(read(&nested(65)), Err(JsonError::TooDeep));
        assert_eq!(read(&nested(1_000_000)), Err(JsonError::TooDeep));
        assert_eq!(parse(b"[]", 0), Err(JsonError::TooDeep));
    }

    #[test]
    fn brackets_in_strings_are_no_levels() {
        let text = json!({ "a": "[".repeat(200), "b\\\"": "{\"{\\".repeat(100) }).to_string();
        assert!(read(&text).is_ok());
    }

    #[test]
    fn what_is_not_json_says_where() {
        assert_eq!(read("{} x"), Err(JsonError::Malformed { line: 1, column: 4 }));
        assert_eq!(read("{\"a\":\n1"), Err(JsonError::Malformed { line: 2, column: 1 }));
        for bad in ["", "{", "{\"a\":1,}", "nul", "\u{feff}{}", "\"a\0\"", "01", "NaN", "'a'"] {
            assert!(matches!(read(bad), Err(JsonError::Malformed { .. })), "{bad:?}");
        }
        assert_eq!(parse(b"\"\xff\"", 64), Err(JsonError::NotUtf8));
    }
}
