//! A folder with a gateway's configuration, and the commands that are typed in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// What it wrote with `--json`.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A gateway of a fleet of one, as far as files go.
pub struct Site {
    folder: TempDir,
}

impl Site {
    /// With the certificates that a fleet needs.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "fleet");
        let issuer =
            CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let site = Self { folder };
        site.write("fleet-ca.pem", &issuer.pem());
        site.write("fleet.pem", &names.signed_by(&key, &issuer).unwrap().pem());
        site.write("fleet.key", &key.serialize_pem());
        site
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Writes `gateway.yaml` with these keys below `kafka`, and a quota over a window.
    pub fn configure(&self, kafka: &str, window: &str) -> PathBuf {
        let text = format!(
            "listen: [{{address: 127.0.0.1:8080}}]\n\
             state: {{directory: state, account_key: 0123456789abcdef0123456789abcdef}}\n\
             cache: {{sealing_keys: [0123456789abcdef0123456789abcdef]}}\n\
             kafka: {{{kafka}}}\n\
             fleet: {{listen: 127.0.0.1:8444, advertise: 127.0.0.1:8444, authorities: fleet-ca.pem, \
             certificate: fleet.pem, key: fleet.key}}\n\
             quotas: {{daily: {{per: [account], limit: 4, window: {window}}}}}\n\
             routes: [{{id: a, match: {{path: /a}}, authenticate: none, answer: {{}}}}]\n"
        );
        self.write("gateway.yaml", &text)
    }

    /// `tollgate kafka COMMAND --config gateway.yaml`, with further arguments.
    pub fn kafka(&self, command: &str, more: &[&str]) -> Done {
        let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
            .args(["kafka", command, "--config", "gateway.yaml"])
            .args(more)
            .current_dir(self.folder())
            .env_remove("TOLLGATE_CONFIG")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let status = output.status.code().unwrap();
        Done { status, out: text(output.stdout), err: text(output.stderr) }
    }
}
