use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::request::Refusal;

/// Objects and arrays that may stand in each other.
pub const MAX_DEPTH: usize = 64;

/// Reads a JSON body (RFC 8259) that the gateway decides on, more strictly than most backends: of
/// what parsers read differently, nothing passes. Bound its size first.
///
/// # Errors
/// [`Refusal::MalformedBody`] for what isn't JSON in UTF-8, for more than [`MAX_DEPTH`] levels,
/// for an object with the same member twice (some take the first, some the last), and for NUL
/// characters in texts (some end the text there).
pub fn read_json(bytes: &[u8]) -> Result<Value, Refusal> {
    if bytes.is_empty() {
        return Err(Refusal::MalformedBody("it is empty"));
    }
    let why = Cell::new("it is not JSON");
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Strict { depth: 0, why: &why }.deserialize(&mut reader);
    match read.and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(_) => Err(Refusal::MalformedBody(why.get())),
    }
}

/// Reads one value at `depth`; notes in `why` what it refused.
#[derive(Clone, Copy)]
struct Strict<'w> {
    depth: usize,
    why: &'w Cell<&'static str>,
}

impl Strict<'_> {
    fn inside<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse("it is nested too deeply"));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn text<E: Error>(self, text: String) -> Result<String, E> {
        if text.contains('\0') {
            return Err(self.refuse("it has a NUL character in a text"));
        }
        Ok(text)
    }

    fn refuse<E: Error>(self, why: &'static str) -> E {
        self.why.set(why);
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
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(self.text(text)?))
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
            let name = self.text(name)?;
            if object.contains_key(&name) {
                return Err(self.refuse("it has the same member twice in an object"));
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

    fn why(body: impl AsRef<[u8]>) -> &'static str {
        match read_json(body.as_ref()) {
            Err(Refusal::MalformedBody(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_is_read_as_it_stands() {
        let body = br#" {"a": [1, -2, 2.5, 18446744073709551615], "b": {"c": null, "d": true}, "": "\u00e9"} "#;
        let expected = json!({"a": [1, -2, 2.5, u64::MAX], "b": {"c": null, "d": true}, "": "é"});
        assert_eq!(read_json(body), Ok(expected));
        assert_eq!(read_json(b"null"), Ok(Value::Null));
    }

    #[test]
    fn sixty_four_levels_are_read_and_one_more_is_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read_json(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(why(nested(MAX_DEPTH + 1)), "it is nested too deeply");
        assert_eq!(why("[".repeat(1_000_000)), "it is nested too deeply");
        assert_eq!(why("{\"a\":".repeat(1_000_000)), "it is nested too deeply");
    }

    #[test]
    fn a_member_that_is_there_twice_is_refused_also_when_spelled_differently() {
        assert_eq!(
            why(r#"{"account":"1","account":"2"}"#),
            "it has the same member twice in an object"
        );
        assert_eq!(why(r#"{"a":1,"\u0061":2}"#), "it has the same member twice in an object");
        assert_eq!(why(r#"[{"x":{"a":1,"a":1}}]"#), "it has the same member twice in an object");
        assert!(read_json(br#"{"a":{"a":1}}"#).is_ok());
    }

    #[test]
    fn nul_characters_are_refused_wherever_they_stand() {
        assert_eq!(why(r#"{"a":"1\u0000"}"#), "it has a NUL character in a text");
        assert_eq!(why(r#"{"a\u0000":"1"}"#), "it has a NUL character in a text");
        assert_eq!(why(b"{\"a\":\"\0\"}"), "it is not JSON");
    }

    #[test]
    fn what_is_not_json_in_utf8_is_refused() {
        assert_eq!(why(""), "it is empty");
        for body in [
            &b" "[..],
            b"{",
            b"{\"a\":}",
            b"[1,]",
            b"{} {}",
            b"{}x",
            b"'a'",
            b"NaN",
            b"01",
            b"1e999",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"\"\xc0\x80\"",
            br#""\ud800""#,
            b"\"a\nb\"",
            b"{\"a\":1 /* */}",
        ] {
            assert_eq!(why(body), "it is not JSON", "{}", body.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_json(&body);
        }

        #[test]
        fn what_it_reads_is_what_the_usual_parser_reads(
            body in r#"[\[\]{}",:0-9a\\u. -]{0,40}"#,
        ) {
            if let Ok(value) = read_json(body.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), value);
            }
        }
    }
}
