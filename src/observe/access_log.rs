use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;

use serde_json::{Map, Value, json};

use super::{Event, Exchange, Metrics};
use crate::config::model;
use crate::request::RouteId;
#[cfg(test)]
use crate::request::UnixMillis;

/// Lines that may wait for the disk. A line has about 1 KiB, so this bounds memory to some 16 MiB.
const WAITING_LINES: usize = 16_384;

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
        thread::Builder::new().name("access-log".into()).spawn(move || write_all(output, &receiver))?;
        Ok(Self { sender: Some(sender), metrics })
    }

    /// Writes the line of a request that has ended.
    pub fn write(&self, exchange: &Exchange<'_>) {
        let Some(sender) = &self.sender else { return };
        let mut line = line(exchange).to_string().into_bytes();
        line.push(b'\n');
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            sender.try_send(Message::Line(line))
        {
            self.metrics.record(Event::AccessLogDropped);
        }
    }

    /// Opens the file again under its name, as logrotate asks for by SIGHUP.
    pub fn reopen(&self) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(Message::Reopen);
        }
    }

    /// Waits until all lines so far are with the operating system.
    pub fn flush(&self) {
        let (done, wait) = mpsc::channel();
        if let Some(sender) = &self.sender
            && sender.send(Message::Flush(done)).is_ok()
        {
            let _ = wait.recv();
        }
    }
}

enum Output {
    Stdout(BufWriter<io::Stdout>),
    File { file: BufWriter<File>, path: PathBuf },
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
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

fn write_all(mut output: Output, receiver: &Receiver<Message>) {
    while let Ok(first) = receiver.recv() {
        handle(&mut output, first);
        // Lines that wait already share one write.
        while let Ok(next) = receiver.try_recv() {
            handle(&mut output, next);
        }
        let _ = output.writer().flush();
    }
}

fn handle(output: &mut Output, message: Message) {
    match message {
        Message::Line(line) => {
            if let Err(error) = output.writer().write_all(&line) {
                tracing::warn!(%error, "a line of the access log could not be written");
            }
        }
        Message::Reopen => {
            let _ = output.writer().flush();
            output.reopen();
        }
        Message::Flush(done) => {
            let _ = output.writer().flush();
            let _ = done.send(());
        }
    }
}

/// The line, in names of the Elastic Common Schema 8; what ECS has no name for is under
/// `tollgate`.
fn line(exchange: &Exchange<'_>) -> Value {
    let mut own = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            own.insert(name.to_owned(), value);
        }
    };
    put("route", exchange.route.map(RouteId::as_str).into());
    put("client", exchange.client.into());
    put("account", exchange.account.into());
    put("source", exchange.source.word().into());
    put("problem", exchange.problem.into());
    put("detail", exchange.detail.into());
    put("endpoint", exchange.endpoint.into());
    put("tries", exchange.tries.into());
    if !exchange.missing_parts.is_empty() {
        put("missing_parts", exchange.missing_parts.into());
    }
    put("quota_remaining", exchange.quota_remaining.into());
    if exchange.unaccounted {
        put("unaccounted", true.into());
    }
    let stages: Map<String, Value> = exchange
        .stages
        .iter()
        .map(|(stage, seconds)| ((*stage).to_owned(), json!((seconds * 1e6).round())))
        .collect();
    put("stage_us", stages.into());
    json!({
        "@timestamp": exchange.started.rfc3339(),
        "event": { "duration": (exchange.seconds * 1e9).round() as u64, "outcome": outcome(exchange.status) },
        "http": {
            "version": exchange.version,
            "request": {
                "id": exchange.request_id,
                "method": exchange.method,
                "body": { "bytes": exchange.bytes_received },
            },
            "response": {
                "status_code": exchange.status,
                "body": { "bytes": exchange.bytes_sent },
            },
        },
        "url": { "domain": exchange.host, "path": exchange.path },
        "client": { "ip": exchange.address },
        "trace": { "id": exchange.trace_id },
        "tollgate": own,
    })
}

fn outcome(status: u16) -> &'static str {
    match status {
        100..=399 => "success",
        400..=599 => "failure",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Source;

    fn exchange() -> Exchange<'static> {
        Exchange {
            started: UnixMillis(1_700_000_000_123),
            seconds: 0.012,
            method: "GET",
            path: "/accounts/{account}/summary",
            status: 200,
            source: Source::Cache,
            quota_remaining: Some(2),
            stages: &[("auth", 0.000_01)],
            ..Exchange::default()
        }
    }

    #[test]
    fn a_line_has_ecs_names_and_microseconds_for_each_stage() {
        let line = line(&exchange());
        assert_eq!(line["@timestamp"], "2023-11-14T22:13:20.123Z");
        assert_eq!(line["http"]["response"]["status_code"], 200);
        assert_eq!(line["event"]["duration"], 12_000_000);
        assert_eq!(line["tollgate"]["source"], "cache");
        assert_eq!(line["tollgate"]["quota_remaining"], 2);
        assert_eq!(line["tollgate"]["stage_us"]["auth"], 10.0);
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
        let lines = |name: &str| {
            std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count()
        };
        assert_eq!((lines("access.log.1"), lines("access.log")), (1, 2));
    }
}
