use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::flaw::Flaw;

/// Objects and arrays in one another; real tokens and key sets stay under 6.
const MAX_DEPTH: usize = 16;

/// Reads a JSON object and refuses what serde_json lets pass: a member named twice, at any depth.
/// Two readers that pick different ones of the two see different tokens (RFC 7519 section 4).
pub(super) fn parse_object(text: &[u8]) -> Result<Map<String, Value>, Flaw> {
    let flaw = Cell::new(Flaw::NotJson);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth: 0, flaw: &flaw }
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|_| flaw.get())?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(Flaw::NotAnObject),
    }
}

/// Builds a value and notes in `flaw` why it could not.
#[derive(Clone, Copy)]
struct Strict<'f> {
    depth: usize,
    flaw: &'f Cell<Flaw>,
}

impl Strict<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.refuse(Flaw::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn refuse<E: Error>(self, flaw: Flaw) -> E {
        self.flaw.set(flaw);
        E::custom(flaw.reason())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(self.refuse(Flaw::RepeatedMember));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_object_reads_as_serde_json_reads_it() {
        let text = r#"{"a":1,"b":-2,"c":1.5,"d":"x\n\u00e9","e":[null,true,{}],"f":{"a":1}}"#;
        let expected: Map<String, Value> = serde_json::from_str(text).unwrap();
        assert_eq!(parse_object(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn a_member_named_twice_is_refused_at_every_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"cnf":{"jkt":"1","jkt":"2"}}"#,
            r#"{"a":[[{"b":1,"c":2,"b":3}]]}"#,
        ] {
            assert_eq!(parse_object(text.as_bytes()), Err(Flaw::RepeatedMember), "{text}");
        }
    }

    #[test]
    fn nesting_ends_at_sixteen() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse_object(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        assert_eq!(parse_object(nested(MAX_DEPTH).as_bytes()), Err(Flaw::TooDeep));
        assert_eq!(parse_object("[".repeat(100_000).as_bytes()), Err(Flaw::TooDeep));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "{", "{}x", "{} {}", "{\"a\":1,}", "{'a':1}", "{\"a\":\"\\ud800\"}"] {
            assert_eq!(parse_object(text.as_bytes()), Err(Flaw::NotJson), "{text}");
        }
        assert_eq!(parse_object(b"{\"a\":\"\xff\"}"), Err(Flaw::NotJson));
        for text in ["[]", "1", "null", "\"{}\""] {
            assert_eq!(parse_object(text.as_bytes()), Err(Flaw::NotAnObject), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_serde_json_reads_alike(text in "[{}\\[\\]\",:a-c0-9 \\\\.eE+-]{0,40}") {
            if let Ok(members) = parse_object(text.as_bytes()) {
                prop_assert_eq!(serde_json::from_str::<Map<String, Value>>(&text).unwrap(), members);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_object(&bytes);
        }
    }
}
