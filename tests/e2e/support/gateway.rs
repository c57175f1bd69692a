use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

use super::{Bank, Process, eventually, is_running, own_address};

pub const ADMIN_TOKEN: &str = "test-admin-token";

/// A gateway on an address of its own, with a state directory of its own.
pub struct Tollgate {
    process: Process,
    folder: TempDir,
    address: Ipv4Addr,
    under: Vec<String>,
    /// What it gets as standard input, at each of its starts.
    input: Option<TcpListener>,
    client: reqwest::Client,
}

/// An answer, read whole.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text: String = String::from_utf8_lossy(&self.body).chars().take(400).collect();
        write!(f, "{} {:?} {text}", self.status, self.headers)
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn is_hit(&self) -> bool {
        self.header("cache-status").contains("; hit")
    }

    /// Last part of the problem's type.
    pub fn problem(&self) -> String {
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.rsplit([':', '#']).next().unwrap_or_default().to_owned()
    }
}

/// The program that is tried: the tests' own, or another build of it in the folder that
/// `TOLLGATE_TEST_BIN` names.
pub fn program() -> PathBuf {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_tollgate"));
    match std::env::var_os("TOLLGATE_TEST_BIN") {
        Some(folder) => PathBuf::from(folder).canonicalize().unwrap().join("tollgate"),
        None => own,
    }
}

/// The start of every test's configuration: ports, state and the bank's clusters. `ROUTES` and
/// whatever else a test needs come behind it.
pub fn base_config(bank: &Bank) -> String {
    let mut text = format!(
        "listen:\n  - address: ADDRESS:8080\nadmin: {{ address: ADDRESS:9901, token: {ADMIN_TOKEN} }}\n\
         state: {{ directory: FOLDER/state }}\nobserve: {{ access_log: {{ file: FOLDER/access.log }} }}\n\
         identity:\n  bank: {{ issuer: {0}, audience: accounts, algorithms: [RS256, PS256, ES256, ES384, EdDSA] }}\n\
         clusters:\n",
        bank.issuer()
    );
    for service in ["checking", "savings", "cards", "loans", "investments"] {
        let port = bank.port(service);
        text.push_str(&format!("  {service}: {{ endpoints: [127.0.0.1:{port}] }}\n"));
    }
    text
}

impl Tollgate {
    /// Starts with a configuration in which `ADDRESS` and `FOLDER` stand for this gateway's own,
    /// and waits until it is ready.
    pub async fn start(config: &str) -> Self {
        let gateway = Self::start_unready(config);
        gateway.until_ready().await;
        gateway
    }

    pub fn start_unready(config: &str) -> Self {
        Self::start_at(own_address(), config)
    }

    /// The same at an address that is known before.
    pub fn start_at(address: Ipv4Addr, config: &str) -> Self {
        Self::start_under(Vec::new(), address, config)
    }

    /// The same with more in its environment, at each of its starts.
    pub fn start_in(address: Ipv4Addr, config: &str, environment: Vec<(String, String)>) -> Self {
        let set = environment.iter().map(|(name, value)| format!("{name}={value}"));
        Self::start_under(["env".to_owned()].into_iter().chain(set).collect(), address, config)
    }

    /// The same by way of a command that runs it in its own place, at each of its starts.
    pub fn start_under(under: Vec<String>, address: Ipv4Addr, config: &str) -> Self {
        Self::start_with(under, None, address, config)
    }

    /// The same by way of a link, which [`Tollgate::replace_program`] turns to something else.
    pub async fn start_by_link(config: &str) -> Self {
        let through = ["sh", "-c", "shift; exec \"$0\" \"$@\"", "FOLDER/tollgate"];
        let gateway = Self::start_under(through.map(str::to_owned).to_vec(), own_address(), config);
        gateway.until_ready().await;
        gateway
    }

    /// Puts a script in the place of the program that a later start or upgrade takes.
    pub fn replace_program(&self, script: &str) {
        let (program, beside) = (self.folder().join("tollgate"), self.folder().join("beside"));
        fs::write(&beside, script).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(beside, program).unwrap();
    }

    /// Has another process take over, through the admin port.
    pub async fn upgrade(&self) -> Answer {
        self.command("/upgrade", Value::Null).await
    }

    /// Runs a command of the program against this gateway's admin port.
    pub fn ask(&self, command: &[&str], token: Option<&str>) -> std::process::Output {
        let mut asked = Command::new(program());
        asked.args(command).args(["--admin", &self.admin_url("")]);
        asked.envs(token.map(|token| ("TOLLGATE_ADMIN_TOKEN", token)));
        asked.output().unwrap()
    }

    /// All processes of this gateway that run: more than one while one takes over from another.
    pub fn processes(&self) -> Vec<u32> {
        let folder = self.folder.path().display().to_string();
        let ours = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&folder) && is_running(*pid)
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(ours).collect()
    }

    /// The same with a socket, at each of its starts, as the service manager passes one.
    pub fn start_behind(socket: TcpListener, address: Ipv4Addr, config: &str) -> Self {
        let passing = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\" 3<&0 0</dev/null";
        let under = ["sh", "-c", passing, "sh"].map(str::to_owned).to_vec();
        Self::start_with(under, Some(socket), address, config)
    }

    fn start_with(
        under: Vec<String>,
        input: Option<TcpListener>,
        address: Ipv4Addr,
        config: &str,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let client =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        write_config(folder.path(), address, config);
        std::os::unix::fs::symlink(program(), folder.path().join("tollgate")).unwrap();
        let process = launch(folder.path(), &under, input.as_ref());
        Self { process, folder, address, under, input, client }
    }

    /// Runs a command on a configuration, to its end.
    pub fn run(address: Ipv4Addr, config: &str, command: &[&str]) -> std::process::Output {
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), address, config);
        Command::new(program())
            .args(command)
            .arg("--config")
            .arg(folder.path().join("tollgate.yaml"))
            .output()
            .unwrap()
    }

    pub async fn until_ready(&self) {
        eventually("the gateway to be ready", async || {
            assert!(self.process.is_running(), "it ended: {}", self.log());
            let answer = self.client.get(self.admin_url("/ready")).send().await;
            match answer {
                Ok(answer) if answer.status().is_success() => Ok(()),
                Ok(answer) => Err(answer.text().await.unwrap_or_default()),
                Err(error) => Err(format!("{error}; log: {}", self.log())),
            }
        })
        .await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}:8080{path}", self.address)
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}:9901{path}", self.address)
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn pid(&self) -> String {
        self.process.id().to_string()
    }

    pub fn terminate(&self) {
        self.process.signal("TERM");
    }

    /// SIGHUP: it reads its configuration again.
    pub fn hang_up(&self) {
        self.process.signal("HUP");
    }

    /// SIGTERM, and waits until it has ended.
    pub async fn terminate_and_wait(self) -> std::process::ExitStatus {
        self.terminate();
        self.ended().await
    }

    /// Waits until it has ended.
    pub async fn ended(mut self) -> std::process::ExitStatus {
        self.exit().await
    }

    /// The same for one that will be started again.
    pub async fn exit(&mut self) -> std::process::ExitStatus {
        eventually("the gateway to end", async || self.process.exited().ok_or_else(|| self.log()))
            .await
    }

    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// What the program wrote to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Replaces the configuration's file as an editor does: writes beside it and renames.
    pub fn rewrite_config(&self, config: &str) {
        write_config(self.folder.path(), self.address, config);
    }

    /// kill -9 and a new start on the same directory.
    pub async fn crash_and_restart(&mut self) {
        self.crash_and_relaunch();
        self.until_ready().await;
    }

    /// kill -9 and a new start on the same directory, without waiting until it is ready.
    pub fn crash_and_relaunch(&mut self) {
        self.process.kill();
        self.relaunch();
    }

    /// A new start on the same directory, once it has ended.
    pub fn relaunch(&mut self) {
        self.process = launch(self.folder.path(), &self.under, self.input.as_ref());
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, path, token, &[], Vec::new()).await
    }

    pub async fn get_with(&self, path: &str, token: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, token, headers, Vec::new()).await
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        self.try_send(method, path, token, headers, body).await.unwrap()
    }

    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        let mut request = self.client.request(method, self.url(path)).body(body);
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send().await?).await
    }

    /// A view of the admin port.
    pub async fn view(&self, path: &str) -> Value {
        let answer = self.client.get(self.admin_url(path)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// A changing call of the admin port.
    pub async fn command(&self, path: &str, body: Value) -> Answer {
        let request = self.client.post(self.admin_url(path)).bearer_auth(ADMIN_TOKEN).json(&body);
        read(request.send().await.unwrap()).await.unwrap()
    }

    pub async fn metrics(&self) -> String {
        self.client.get(self.admin_url("/metrics")).send().await.unwrap().text().await.unwrap()
    }
}

/// What took over from the process that was started here is nobody's child.
impl Drop for Tollgate {
    fn drop(&mut self) {
        for process in self.processes() {
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).status();
        }
    }
}

async fn read(answer: reqwest::Response) -> reqwest::Result<Answer> {
    let (status, headers) = (answer.status(), answer.headers().clone());
    Ok(Answer { status, headers, body: answer.bytes().await?.to_vec() })
}

fn write_config(folder: &Path, address: Ipv4Addr, config: &str) {
    let text = config
        .replace("ADDRESS", &address.to_string())
        .replace("FOLDER", &folder.display().to_string());
    let beside = folder.join("tollgate.yaml.new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, folder.join("tollgate.yaml")).unwrap();
}

fn launch(folder: &Path, under: &[String], input: Option<&TcpListener>) -> Process {
    let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
    let place = folder.display().to_string();
    let words: Vec<_> = under.iter().map(|word| word.replace("FOLDER", &place)).collect();
    let words = [&words[..], &[program().display().to_string()]].concat();
    let input = input
        .map_or_else(Stdio::null, |socket| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    Process::start(
        Command::new(&words[0])
            .args(&words[1..])
            .args(["run", "--config"])
            .arg(folder.join("tollgate.yaml"))
            .stdin(input)
            .stdout(log.try_clone().unwrap())
            .stderr(log),
    )
}
