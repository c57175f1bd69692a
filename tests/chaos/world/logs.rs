//! What the gateways wrote.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::World;

impl World {
    /// How often an owner began a new epoch by itself, of the partition where that was most often.
    pub async fn resumed(&self) -> u64 {
        let mut times: HashMap<u64, u64> = HashMap::new();
        for member in &self.members {
            let log = member.gateway.lock().await.folder().join("log");
            let log = std::fs::read(log).unwrap_or_default();
            for line in String::from_utf8_lossy(&log).lines() {
                let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
                let fields = &line["fields"];
                if fields["reason"] == "resumed"
                    && let Some(partition) = fields["partition"].as_u64()
                {
                    *times.entry(partition).or_default() += 1;
                }
            }
        }
        times.into_values().max().unwrap_or(0)
    }

    /// What the gateways wrote, for whoever looks into a violation; or forgotten.
    pub async fn keep_logs(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        for (number, member) in self.members.iter().enumerate() {
            let from = member.gateway.lock().await.folder();
            for name in ["log", "access.log"] {
                let _ =
                    std::fs::copy(from.join(name), folder.join(format!("gateway-{number}.{name}")));
            }
        }
    }

    pub async fn forget_logs(&self) {
        for member in &self.members {
            let folder = member.gateway.lock().await.folder();
            for name in ["log", "access.log"] {
                if let Ok(file) = std::fs::File::options().write(true).open(folder.join(name)) {
                    let _ = file.set_len(0);
                }
            }
        }
    }
}
