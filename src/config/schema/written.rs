use serde_json::{Map, Value, json};

/// `${env:NAME}` or `${file:PATH}`, anywhere in a text.
const REFERENCE: &str = r"\$\{(env|file):[^}]+\}";

/// Bounds on the form of a text. What stands in the place of a reference is known to `check` only.
const FORM: [&str; 6] = ["pattern", "minLength", "maxLength", "enum", "enumDescriptions", "const"];

/// Lets references stand wherever a text of a certain form is wanted.
pub fn allow_references(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for key in ["properties", "$defs"] {
        if let Some(Value::Object(members)) = object.get_mut(key) {
            members.values_mut().for_each(allow_references);
        }
    }
    // Keys and names (`propertyNames`) are never replaced.
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(key) {
            allow_references(inner);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.iter_mut().for_each(allow_references);
    }
    if takes_text(object) && FORM.iter().any(|keyword| object.contains_key(*keyword)) {
        apart(object);
    }
}

fn takes_text(object: &Map<String, Value>) -> bool {
    match object.get("type") {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        _ => false,
    }
}

/// Makes the form one of two alternatives; what describes the value stays.
fn apart(object: &mut Map<String, Value>) {
    let mut form = Map::new();
    for keyword in FORM.iter().chain(&["type", "minimum", "maximum"]) {
        if let Some(value) = object.remove(*keyword) {
            form.insert((*keyword).to_owned(), value);
        }
    }
    let reference = json!({ "type": "string", "pattern": REFERENCE });
    object.insert("anyOf".into(), json!([form, reference]));
}
