//! Edits of headers and JSON bodies: pure functions.
