//! Any bytes are a journal record that is written as it was read, or are refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate::journal::Record;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
});
