//! Outbound HTTP, names and trust roots that stages share.
