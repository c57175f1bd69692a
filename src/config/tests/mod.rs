//! Whole configurations: broken ones against golden files, shipped ones, what the model holds.

mod broken;
mod files;
mod fleet;
mod full;
mod golden;
mod large;
mod shipped;

use std::fs;
use std::path::{Path, PathBuf};

use super::load::load_with;
use super::model::Config;
use super::problem::Problems;
use super::source::Environment;

/// What every test's environment has.
fn environment(name: &str) -> Option<String> {
    match name {
        "TOLLGATE_ADMIN_TOKEN" => Some("correct-horse-battery-staple".into()),
        "TOLLGATE_STATE" => Some("/var/lib/tollgate".into()),
        "SHORT" => Some("hunter2".into()),
        "NUMBER" => Some("4".into()),
        "ROUTE" => Some("x\nroutes: []".into()),
        _ => None,
    }
}

fn load(path: &Path) -> Result<Config, Problems> {
    load_with(path, &Environment::new(&environment))
}

/// A certificate with its key, signed by itself.
fn certificate(names: &[&str]) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    rcgen::generate_simple_self_signed(names).unwrap()
}

/// An authority as a fleet has it.
fn authority(name: &str) -> rcgen::CertifiedIssuer<'static, rcgen::KeyPair> {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
    rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap()
}

/// A folder with files, for one test.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The problems of a configuration in this folder, with the folder's own path as `DIR`.
    fn problems(&self, main: &Path) -> String {
        let text = load(main).unwrap_err().to_string();
        text.replace(&self.0.path().display().to_string(), "DIR")
    }
}
