//! What a composite route's caller and its backends see.

pub(super) mod inputs;
