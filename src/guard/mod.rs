//! Sizes, media types and shapes of request bodies.
