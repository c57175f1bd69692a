//! Hints for the mistakes that people make with YAML and with keys.

use crate::config::source::NodeValue;
use crate::config::spot::Spot;

/// What a name looks like.
pub const NAME: &str =
    "a name has letters, digits, `-` and `_`, begins with a letter or digit and is at most 64 long";

/// What is written at a place.
pub fn found(spot: &Spot<'_>) -> String {
    let Some(node) = spot.node() else { return "nothing".into() };
    match &node.value {
        NodeValue::Text(_) => format!("the text {}", spot.quoted()),
        NodeValue::Number(_) => format!("the number {}", spot.quoted()),
        NodeValue::Bool(_) => spot.quoted(),
        NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => node.kind().into(),
    }
}

/// What to do about a value of the wrong type.
pub fn on_type(spot: &Spot<'_>, wanted: &str) -> Option<String> {
    let node = spot.node()?;
    match &node.value {
        NodeValue::Null => Some("write a value behind the colon, or remove the key".into()),
        NodeValue::Text(text) if text.written.is_some() => {
            Some("what `${…}` puts in is always a text".into())
        }
        NodeValue::Text(text) if wanted == "true or false" => {
            let word = text.value.to_ascii_lowercase();
            let meant = match word.as_str() {
                "yes" | "on" | "y" | "true" => "true",
                "no" | "off" | "n" | "false" => "false",
                _ => return None,
            };
            Some(format!("write `{meant}`, without quotes"))
        }
        NodeValue::Text(text) if wanted.contains("number") => match text.value.parse::<f64>() {
            Ok(_) => Some("remove the quotes".into()),
            Err(_) => None,
        },
        NodeValue::Text(_) | NodeValue::Map(_) if wanted.starts_with("a list") => {
            Some("a list is written `[a, b]`, or with `- ` before each item".into())
        }
        NodeValue::Number(number) => quoted(&number.to_string(), wanted),
        NodeValue::Bool(flag) => quoted(&flag.to_string(), wanted),
        _ => None,
    }
}

/// YAML reads `1.2` as a number and `true` as a truth where a text was meant.
fn quoted(written: &str, wanted: &str) -> Option<String> {
    let fits = wanted.starts_with("a text") || wanted.contains(&format!("`{written}`"));
    fits.then(|| format!("put it in quotes: \"{written}\""))
}

/// What to do about a word that is none of those possible.
pub fn on_word(written: &str, possible: &[String]) -> Option<&'static str> {
    let is_algorithm = possible.iter().any(|word| word == "PS256");
    if !is_algorithm {
        return None;
    }
    match written.to_ascii_uppercase().as_str() {
        "NONE" => Some("a token without a signature proves nothing"),
        "HS256" | "HS384" | "HS512" => {
            Some("with HS algorithms everybody who can check a token can also forge one")
        }
        "ES512" | "ES256K" => Some("this curve is not supported"),
        _ => None,
    }
}
