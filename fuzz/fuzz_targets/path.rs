//! Any path has one normal form, which is its own, or is refused; another spelling of the path has
//! the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::route::normalize;

fuzz_target!(|text: &str| {
    let normal = normalize(text);
    assert_eq!(normalize(&respelt(text)).ok(), normal.clone().ok());
    let Ok(path) = normal else { return };
    assert!(path.decoded.starts_with('/'));
    assert!(!path.decoded.contains("//"));
    assert!(!path.decoded.split('/').any(|segment| segment == "." || segment == ".."));
    assert!(!path.decoded.contains('\\') && !path.decoded.contains(char::is_control));
    assert!(path.encoded.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#;\\".contains(&byte)));
    assert_eq!(path.encoded.matches('/').count(), path.decoded.matches('/').count());
    assert!(path.decoded.len() <= text.len() && path.encoded.len() <= 3 * text.len());
    assert_eq!(normalize(&path.encoded).as_ref(), Ok(&path));
});

/// With every byte escaped that may be: RFC 3986 section 6.2.2.2 says that nothing changes.
fn respelt(text: &str) -> String {
    let mut spelt = String::new();
    let mut escape = 0;
    for character in text.chars() {
        let is_bare = escape == 0;
        escape = if character == '%' { 2_usize } else { escape.saturating_sub(1) };
        match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | '~' if is_bare => {
                spelt.push_str(&format!("%{:02x}", u32::from(character)));
            }
            other => spelt.push(other),
        }
    }
    spelt
}
