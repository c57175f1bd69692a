use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deeply a JSON body may be nested. Real ones have less than a dozen levels; everything that
/// walks a body recurses, so that the bound protects the stack.
pub const MAX_JSON_DEPTH: usize = 64;

/// Why bytes are not JSON on which anything may be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON in UTF-8, cut short, or with more behind it.
    #[error("the body is not JSON at line {line}, column {column}")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// Nested more deeply than allowed.
    #[error("the body is nested too deeply")]
    TooDeep,
    /// The same member twice in an object.
    #[error("the body has the same member twice in an object")]
    RepeatedMember,
}

/// Reads one JSON value (RFC 8259) and nothing behind it, nested at most `max_depth` deep
/// ([`MAX_JSON_DEPTH`] where nothing speaks for another). Whatever the gateway decides on or edits
/// is read here: requests, tokens, keys, answers of backends.
///
/// Of an object with the same member twice some readers take the first and some the last, so what
/// one of them judged, another would not see: it is refused. Numbers beyond 64 bits or about 17
/// digits lose what a double can't hold. The value takes up to some 40 times the bytes' size in
/// memory in the worst case (`[0,0,0,...]`): bound the bytes before.
///
/// # Errors
/// See [`JsonError`].
pub fn parse_json(bytes: &[u8], max_depth: usize) -> Result<Value, JsonError> {
    let refused = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Strict { levels_left: max_depth, refused: &refused }.deserialize(&mut reader);
    read.and_then(|value| reader.end().map(|()| value)).map_err(|error| {
        let not_json = JsonError::NotJson { line: error.line(), column: error.column() };
        refused.get().unwrap_or(not_json)
    })
}

/// Whether a text or a member's name has a NUL character: some readers end the text there.
pub fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(members) => {
            members.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Reads one value; notes in `refused` what was JSON and is refused all the same.
#[derive(Clone, Copy)]
struct Strict<'r> {
    levels_left: usize,
    refused: &'r Cell<Option<JsonError>>,
}

impl Strict<'_> {
    fn inside<E: Error>(self) -> Result<Self, E> {
        match self.levels_left.checked_sub(1) {
            Some(levels_left) => Ok(Self { levels_left, ..self }),
            None => Err(self.refuse(JsonError::TooDeep)),
        }
    }

    fn refuse<E: Error>(self, why: JsonError) -> E {
        self.refused.set(Some(why));
        E::custom(why)
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inside)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inside = self.inside()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(self.refuse(JsonError::RepeatedMember));
            }
            object.insert(name, members.next_value_seed(inside)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: impl AsRef<[u8]>) -> Result<Value, JsonError> {
        parse_json(text.as_ref(), MAX_JSON_DEPTH)
    }

    #[test]
    fn json_is_read_as_it_stands_and_members_keep_their_order() {
        let body = br#" {"a": [1, -2, 2.5, 18446744073709551615], "b": {"c": null, "d": true}, "": "\u00e9"} "#;
        let expected = json!({"a": [1, -2, 2.5, u64::MAX], "b": {"c": null, "d": true}, "": "é"});
        assert_eq!(read(body), Ok(expected));
        assert_eq!(read("null"), Ok(Value::Null));
        assert_eq!(read(r#"{"z":1,"a":2}"#).unwrap().to_string(), r#"{"z":1,"a":2}"#);
    }

    #[test]
    fn amounts_come_out_as_they_went_in() {
        for number in ["0.1", "1234567.89", "-0.01", "18446744073709551615", "99999999999.99"] {
            assert_eq!(read(number).unwrap().to_string(), number);
        }
    }

    #[test]
    fn sixty_four_levels_are_read_and_one_more_is_refused() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(read(nested(64)).is_ok());
        assert_eq!(read(nested(65)), Err(JsonError::TooDeep));
        assert_eq!(read("[".repeat(1_000_000)), Err(JsonError::TooDeep));
        assert_eq!(read("{\"a\":".repeat(1_000_000)), Err(JsonError::TooDeep));
        assert_eq!(parse_json(b"[]", 0), Err(JsonError::TooDeep));
        assert_eq!(parse_json(b"1", 0), Ok(json!(1)));
    }

    #[test]
    fn brackets_in_strings_are_no_levels() {
        let text = json!({ "a": "[".repeat(200), "b\\\"": "{\"{\\".repeat(100) }).to_string();
        assert!(read(&text).is_ok());
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_also_when_spelled_differently() {
        for twice in [
            r#"{"account":"1","account":"2"}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"x":{"a":1,"b":2,"a":1}}]"#,
        ] {
            assert_eq!(read(twice), Err(JsonError::RepeatedMember), "{twice}");
        }
        assert!(read(r#"{"a":{"a":1}}"#).is_ok());
    }

    #[test]
    fn what_is_not_json_in_utf8_is_refused_and_says_where() {
        assert_eq!(read("{} x"), Err(JsonError::NotJson { line: 1, column: 4 }));
        assert_eq!(read("{\"a\":\n1"), Err(JsonError::NotJson { line: 2, column: 1 }));
        for body in [
            &b""[..],
            b" ",
            b"{",
            b"{\"a\":}",
            b"{\"a\":1,}",
            b"[1,]",
            b"{} {}",
            b"{}x",
            b"'a'",
            b"nul",
            b"NaN",
            b"01",
            b"1e999",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"\"\xc0\x80\"",
            br#""\ud800""#,
            b"\"a\nb\"",
            b"\"a\0\"",
            b"{\"a\":1 /* */}",
        ] {
            let error = read(body);
            assert!(matches!(error, Err(JsonError::NotJson { .. })), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn a_nul_is_found_wherever_it_stands() {
        for with in [r#"{"a":"1\u0000"}"#, r#"{"a\u0000":"1"}"#, r#"[[{"a":["\u0000"]}]]"#] {
            assert!(has_nul(&read(with).unwrap()), "{with}");
        }
        assert!(!has_nul(&read(r#"{"a\\u0000":["0", 0, null, true, "\\u0000"]}"#).unwrap()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }

        #[test]
        fn what_it_reads_is_what_the_usual_parser_reads(
            body in r#"[\[\]{}",:a-c0-9eE+\\u. -]{0,40}"#,
        ) {
            if let Ok(value) = read(&body) {
                prop_assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), value);
            }
        }
    }
}
