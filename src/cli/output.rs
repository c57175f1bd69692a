use std::fmt::Display;
use std::io::{self, Write};

use super::Exit;

/// What a command prints: standard output, which may be closed or full.
///
/// Writing never fails, so that no command has to care: the first error is kept, and what follows
/// it is dropped.
pub(super) struct Output {
    to: Box<dyn Write>,
    failed: Option<io::Error>,
}

impl Output {
    /// Standard output.
    pub(super) fn standard() -> Self {
        Self::to(Box::new(io::stdout().lock()))
    }

    fn to(to: Box<dyn Write>) -> Self {
        Self { to, failed: None }
    }

    /// Prints a line.
    pub(super) fn line(&mut self, text: impl Display) {
        self.text(format_args!("{text}\n"));
    }

    /// Prints a text as it is.
    pub(super) fn text(&mut self, text: impl Display) {
        let outcome = self.to.write_all(text.to_string().as_bytes());
        self.keep(outcome);
    }

    /// The exit status of a command that printed here. A reader that left has what it wanted, as
    /// `head` has; any other failure is the command's.
    pub(super) fn end(mut self, exit: Exit) -> Exit {
        let outcome = self.to.flush();
        self.keep(outcome);
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                complain(format_args!("standard output can't be written: {error}"));
                Exit::Failed
            }
            Some(_) | None => exit,
        }
    }

    fn keep(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome
            && self.failed.is_none()
        {
            self.failed = Some(error);
            self.to = Box::new(io::sink());
        }
    }
}

/// Tells a person what is wrong, on standard error. Where that is closed or full too, there is
/// nobody to tell; the exit status says it all the same.
pub(super) fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let outcome = self.to.write_all(bytes);
        self.keep(outcome);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn ended(kind: io::ErrorKind, exit: Exit) -> Exit {
        let mut output = Output::to(Box::new(Broken(kind)));
        output.line("a");
        output.line("b");
        output.end(exit)
    }

    #[test]
    fn a_reader_that_left_changes_nothing_and_a_full_device_is_a_failure() {
        for exit in [Exit::Done, Exit::Refused] {
            assert_eq!(ended(io::ErrorKind::BrokenPipe, exit), exit);
            assert_eq!(ended(io::ErrorKind::StorageFull, exit), Exit::Failed);
        }
    }
}
