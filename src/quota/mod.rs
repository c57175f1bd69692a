//! Quotas: rules, windows, the ledger and reservations.
