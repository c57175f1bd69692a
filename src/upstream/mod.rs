//! Backends: clusters, balancing, health, retries.
