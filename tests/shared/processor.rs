//! What processes cost.

use std::time::Duration;

/// Time on a processor that a process has had; `self` is this one.
pub fn processor(pid: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux tells them in hundredths of a second on every machine.
    Duration::from_millis(ticks * 10)
}
