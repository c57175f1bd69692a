//! Any path has one normal form, which is its own, or is refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::route::normalize;

fuzz_target!(|text: &str| {
    if let Ok(path) = normalize(text) {
        assert!(path.decoded.starts_with('/'));
        assert!(!path.decoded.contains("//"));
        assert!(!path.decoded.split('/').any(|segment| segment == "." || segment == ".."));
        assert_eq!(normalize(&path.encoded).as_ref(), Ok(&path));
    }
});
