//! Authentication: who is calling. Only this room makes a `Caller`.
