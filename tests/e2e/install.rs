//! `scripts/install.sh`: what it puts where, and what stays when it is taken away again.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Beside the documentation, under the prefix `usr` and in all it needs elsewhere.
const FILES: [&str; 14] = [
    "etc/logrotate.d/tollgate",
    "etc/tollgate/tollgate.yaml",
    "usr/bin/tollgate",
    "usr/lib/systemd/system/tollgate.service",
    "usr/lib/systemd/system/tollgate.socket",
    "usr/lib/sysusers.d/tollgate.conf",
    "usr/share/bash-completion/completions/tollgate",
    "usr/share/doc/tollgate/CHANGELOG.md",
    "usr/share/doc/tollgate/LICENSE",
    "usr/share/doc/tollgate/README.md",
    "usr/share/doc/tollgate/prometheus/tollgate.rules.yaml",
    "usr/share/fish/vendor_completions.d/tollgate.fish",
    "usr/share/man/man1/tollgate.1.gz",
    "usr/share/zsh/site-functions/_tollgate",
];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// All files in a folder, by their paths from there.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found
}

/// Calls it for another root; what it says.
fn install(root: &Path, prefix: Option<&str>, arguments: &[&str]) -> String {
    let mut command = Command::new("bash");
    command.arg(repository("scripts/install.sh")).args(arguments);
    command.env("DESTDIR", root).env_remove("PREFIX");
    if let Some(prefix) = prefix {
        command.env("PREFIX", prefix);
    }
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    out
}

fn programs() -> String {
    Path::new(env!("CARGO_BIN_EXE_tollgate")).parent().unwrap().display().to_string()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn all_is_installed_and_only_what_is_the_administrators_stays() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    install(root, None, &["install", &programs()]);
    let mut expected: BTreeSet<String> = FILES.map(str::to_owned).into();
    let documentation = files(&repository("docs"));
    expected.extend(documentation.iter().map(|file| format!("usr/share/doc/tollgate/{file}")));
    assert_eq!(files(root), expected);
    assert_eq!(mode(&root.join("usr/bin/tollgate")), 0o755);
    assert_eq!(mode(&root.join("etc/tollgate/tollgate.yaml")), 0o640, "it may have secrets in it");
    let version = Command::new(root.join("usr/bin/tollgate")).arg("--version").output().unwrap();
    assert!(version.status.success());

    // A later version leaves alone what an administrator has changed.
    let changed = ["etc/tollgate/tollgate.yaml", "etc/logrotate.d/tollgate"];
    for file in changed {
        fs::write(root.join(file), "changed").unwrap();
    }
    install(root, None, &["install", &programs()]);
    assert_eq!(files(root), expected, "nothing but what was there");
    for file in changed {
        assert_eq!(fs::read_to_string(root.join(file)).unwrap(), "changed", "{file}");
    }

    let kept = ["var/lib/tollgate/journal/0", "var/log/tollgate/access.log"];
    let drop_in = "etc/systemd/system/tollgate.service.d/site.conf";
    for file in kept.into_iter().chain([drop_in]) {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        fs::write(root.join(file), "").unwrap();
    }
    // Twice: what is gone already is no mistake.
    for _ in 0..2 {
        let said = install(root, None, &["uninstall"]);
        let left = root.join(drop_in).parent().unwrap().display().to_string();
        assert!(said.contains(&format!("Left to you: {left}\n")), "{said}");
        let left = changed.into_iter().chain(kept).chain([drop_in]).map(str::to_owned);
        assert_eq!(files(root), left.collect::<BTreeSet<_>>());
    }
    install(root, None, &["purge"]);
    assert_eq!(files(root), BTreeSet::from([drop_in.to_owned()]));
}

#[test]
fn the_units_name_the_program_where_it_was_installed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    install(root, Some("/opt/gateway"), &["install", &programs()]);
    assert!(root.join("opt/gateway/bin/tollgate").exists());
    for unit in ["tollgate.service", "tollgate.socket"] {
        let text = fs::read_to_string(root.join("usr/lib/systemd/system").join(unit)).unwrap();
        let shipped = fs::read_to_string(repository("conf/systemd").join(unit)).unwrap();
        for (path, elsewhere) in [
            ("/usr/bin/tollgate", "/opt/gateway/bin/tollgate"),
            ("/usr/share/doc/", "/opt/gateway/share/doc/"),
        ] {
            assert!(!text.contains(path), "{unit}: {text}");
            assert_eq!(text.matches(elsewhere).count(), shipped.matches(path).count(), "{unit}");
        }
    }
}
