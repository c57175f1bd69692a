//! Starts what tests need, waits until it is there, and ends it.

pub mod backend;
pub mod bank;
pub mod fleet;
pub mod gateway;
pub mod story;
pub mod tls;
pub mod wire;

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use backend::Backend;
pub use bank::Bank;
pub use gateway::{Answer, Tollgate};

/// How long a test waits for what must come; far above what it takes, so that only a failure
/// reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A loopback address that no other test of this machine uses at the time: with it every test has
/// all ports to itself.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id();
    Ipv4Addr::new(127, 64 + (process % 128) as u8, high ^ (process >> 7) as u8, low)
}

/// Waits until something is so; says what it waited for if it never is.
pub async fn eventually<T, E: Debug>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(last) if start.elapsed() > PATIENCE => panic!("waited for {what}; last: {last:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Whether a process has not ended yet.
pub fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands behind the name in parentheses; Z has ended and is not waited for yet.
    stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with('Z') && !rest.is_empty())
}

/// A process that ends with the test.
pub struct Process(Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        is_running(self.id())
    }

    pub fn signal(&self, signal: &str) {
        let status =
            Command::new("kill").args([format!("-{signal}"), self.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// kill -9, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    pub fn exited(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
