//! Any text is a template that prints as it was written, or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::request::{Condition, Template, ValueSource};

fuzz_target!(|text: &str| {
    if let Ok(template) = Template::parse(text, &["account"]) {
        assert_eq!(template.to_string(), text);
    }
    if let Ok(source) = ValueSource::parse(text) {
        assert_eq!(ValueSource::parse(&source.to_string()), Ok(source));
    }
    let _ = Condition::compile(text);
});
