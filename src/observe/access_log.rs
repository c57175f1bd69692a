use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use super::access_line::line;
use super::{Event, Exchange, Metrics};
use crate::config::model;
#[cfg(test)]
use crate::request::UnixMillis;

/// Lines that may wait for the disk. A line has about 1 KiB, so this bounds memory to some 16 MiB.
const WAITING_LINES: usize = 16_384;

/// How long lines are gathered after a write.
const GATHER: Duration = Duration::from_millis(5);

/// How long the end of the process waits for the log's disk.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// The access log: one JSON line a request, in names of the Elastic Common Schema.
///
/// Writing happens on a thread of its own. When the disk can't keep up, lines are dropped and
/// counted: a log must never hold up a request.
#[derive(Debug)]
pub struct AccessLog {
    sender: Option<SyncSender<Message>>,
    metrics: Arc<Metrics>,
}

enum Message {
    Line(Vec<u8>),
    Reopen,
    Flush(mpsc::Sender<()>),
}

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The file can't be opened for appending, or the thread can't be started.
    pub fn open(target: &model::AccessLog, metrics: Arc<Metrics>) -> io::Result<Self> {
        let output = match target {
            model::AccessLog::Off => return Ok(Self { sender: None, metrics }),
            model::AccessLog::Stdout => Output::Stdout(BufWriter::new(io::stdout())),
            model::AccessLog::File(path) => {
                Output::File { file: BufWriter::new(append_to(path)?), path: path.clone() }
            }
        };
        let (sender, receiver) = mpsc::sync_channel(WAITING_LINES);
        let writer = Writer { output, metrics: metrics.clone(), failing: false };
        thread::Builder::new().name("access-log".into()).spawn(move || writer.run(&receiver))?;
        Ok(Self { sender: Some(sender), metrics })
    }

    /// Writes the line of a request that has ended.
    pub fn write(&self, exchange: &Exchange<'_>) {
        let Some(sender) = &self.sender else { return };
        let line = line(exchange);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            sender.try_send(Message::Line(line))
        {
            self.metrics.record(Event::AccessLogDropped);
        }
    }

    /// Opens the file again under its name, as logrotate asks for by SIGHUP.
    pub fn reopen(&self) {
        // With the queue full the thread is stuck in the file that it has.
        if let Some(sender) = &self.sender
            && sender.try_send(Message::Reopen).is_err()
        {
            tracing::warn!("the access log is stuck and was not opened again");
        }
    }

    /// Waits until all lines so far are with the operating system, but not for a reader that has
    /// stopped reading: that would keep the process from its end.
    pub fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if let Some(sender) = &self.sender
            && sender.try_send(Message::Flush(done)).is_ok()
        {
            let _ = wait.recv_timeout(FLUSH_PATIENCE);
        }
    }
}

enum Output {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<File>, path: PathBuf },
}

/// Of the files that the gateway makes, this one is also for the group: for those who gather logs.
const MODE: u32 = 0o640;

fn append_to(path: &Path) -> io::Result<File> {
    let is_new = !path.try_exists()?;
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    // A pipe or device keeps the mode that it has.
    if is_new && file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

impl Output {
    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Stdout(out) => out,
            Self::File { file, .. } => file,
        }
    }

    fn reopen(&mut self) {
        let Self::File { file, path } = self else { return };
        match append_to(path) {
            Ok(opened) => *file = BufWriter::new(opened),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the access log can't be opened again; writing goes on in the old file");
            }
        }
    }
}

/// The thread's side.
struct Writer {
    output: Output,
    metrics: Arc<Metrics>,
    /// The last write failed; said once, since a full disk would fail every line.
    failing: bool,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        while let Ok(first) = receiver.recv() {
            self.handle(first);
            // Lines that wait already share one write.
            while let Ok(next) = receiver.try_recv() {
                self.handle(next);
            }
            self.flush();
            // Waking a thread costs a request more than its line: while this one sleeps, nobody
            // wakes it, and the lines that come meanwhile share one wake and one write.
            thread::sleep(GATHER);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Line(line) => {
                if let Err(error) = self.output.writer().write_all(&line) {
                    self.metrics.record(Event::AccessLogDropped);
                    self.complain(&error);
                }
            }
            Message::Reopen => {
                self.flush();
                self.output.reopen();
            }
            Message::Flush(done) => {
                self.flush();
                let _ = done.send(());
            }
        }
    }

    /// What can't be written yet stays in the buffer for the next try.
    fn flush(&mut self) {
        match self.output.writer().flush() {
            Ok(()) => self.failing = false,
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if !self.failing {
            tracing::warn!(%error, "the access log can't be written; lines are dropped and counted");
        }
        self.failing = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::stage::times;
    use crate::observe::{Source, Stage};

    fn exchange() -> Exchange<'static> {
        Exchange {
            started: UnixMillis(1_700_000_000_123),
            seconds: 0.012,
            method: "GET",
            path: "/accounts/{account}/summary",
            status: 200,
            source: Source::Cache,
            quota_remaining: Some(2),
            stages: times(Stage::Auth, 0.000_01),
            ..Exchange::default()
        }
    }

    #[test]
    fn after_logrotate_lines_go_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let target = model::AccessLog::File(path.clone());
        let log = AccessLog::open(&target, Arc::new(Metrics::default())).unwrap();
        log.write(&exchange());
        log.flush();
        std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
        log.reopen();
        log.write(&exchange());
        log.write(&exchange());
        log.flush();
        let lines =
            |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count();
        assert_eq!((lines("access.log.1"), lines("access.log")), (1, 2));
    }
}
