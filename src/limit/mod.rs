//! Short-window rates and concurrency, in memory.
