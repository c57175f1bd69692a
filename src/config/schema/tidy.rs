use serde_json::{Map, Value, json};

/// Brings a derived schema into the form that makes good messages: no `null` (a key is written or
/// it isn't), all words of an enum in one place, at most one alternative for each kind of value.
pub fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for key in ["properties", "$defs"] {
        if let Some(Value::Object(members)) = object.get_mut(key) {
            members.values_mut().for_each(tidy);
        }
    }
    for key in ["items", "additionalProperties", "propertyNames"] {
        if let Some(inner) = object.get_mut(key) {
            tidy(inner);
        }
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(branches)) = object.remove(key) {
            join_branches(object, branches);
        }
    }
    drop_null(object);
    if let Some(Value::String(text)) = object.get_mut("description") {
        *text = one_line(text);
    }
}

fn join_branches(object: &mut Map<String, Value>, mut branches: Vec<Value>) {
    branches.retain(|branch| branch.get("type") != Some(&json!("null")));
    branches.iter_mut().for_each(tidy);
    let (words, mut others): (Vec<_>, Vec<_>) = branches.into_iter().partition(is_word);
    if !words.is_empty() {
        others.insert(0, joined_words(&words));
    }
    match <[Value; 1]>::try_from(others) {
        Ok([Value::Object(only)]) => {
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
        Ok(others) => {
            object.insert("anyOf".into(), others.to_vec().into());
        }
        Err(others) => {
            object.insert("anyOf".into(), others.into());
        }
    }
}

fn is_word(branch: &Value) -> bool {
    branch.get("const").is_some_and(Value::is_string) || branch.get("enum").is_some()
}

fn joined_words(branches: &[Value]) -> Value {
    let mut words = Vec::new();
    let mut meanings = Vec::new();
    for branch in branches {
        let meaning = branch.get("description").cloned().unwrap_or_else(|| json!(""));
        let several = branch.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
        for word in branch.get("const").cloned().into_iter().chain(several) {
            words.push(word);
            meanings.push(meaning.clone());
        }
    }
    json!({ "type": "string", "enum": words, "enumDescriptions": meanings })
}

fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if object.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint")) {
        object.remove("format");
    }
}

/// Comments are broken into lines for the source code's sake only.
fn one_line(text: &str) -> String {
    text.split("\n\n")
        .map(|paragraph| paragraph.replace('\n', " "))
        .collect::<Vec<_>>()
        .join("\n\n")
}
