use serde_json::Value;

use crate::request::json_text;

/// Replaces all but the last `keep` characters of a text by `*`.
///
/// What is masked must not come through for being of another type than expected, so: a number is
/// masked as its text, and becomes a text; a flag becomes `*`, since its length alone would tell;
/// a list or object has everything in it masked. Null stays.
pub(super) fn mask(value: &mut Value, keep: usize) {
    match value {
        Value::Null => {}
        Value::Bool(_) => *value = Value::String("*".to_owned()),
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, keep)),
        Value::Object(members) => members.values_mut().for_each(|member| mask(member, keep)),
        Value::String(_) | Value::Number(_) => {
            let masked = masked(&json_text(value).unwrap_or_default(), keep);
            *value = Value::String(masked);
        }
    }
}

fn masked(text: &str, keep: usize) -> String {
    let hidden = text.chars().count().saturating_sub(keep);
    let stars = std::iter::repeat_n('*', hidden);
    stars.chain(text.chars().skip(hidden)).collect()
}
