//! One request to many backends, one answer.
