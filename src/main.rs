//! The `tollgate` program: hands the arguments to `cli`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Fewer cycles per request than the C library's allocator (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tollgate::cli::main()
}
