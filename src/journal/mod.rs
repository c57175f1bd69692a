//! The journal: an ordered, durable, partitioned log of records.
