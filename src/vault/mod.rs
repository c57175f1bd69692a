//! The account cache: moka in memory over a table on disk.
