//! What a package has beside the program: its manual page and completions for shells.

use clap::CommandFactory;

use super::output::complain;
use super::{Args, Exit, Output};

/// Prints the manual page, `tollgate(1)`.
pub(super) fn page(out: &mut Output) -> Exit {
    match clap_mangen::Man::new(Args::command()).render(out) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(format_args!("the manual page can't be written: {error}"));
            Exit::Failed
        }
    }
}

/// Prints what a shell needs to complete commands and flags.
pub(super) fn completions(out: &mut Output, shell: clap_complete::Shell) -> Exit {
    clap_complete::generate(shell, &mut Args::command(), "tollgate", out);
    Exit::Done
}
