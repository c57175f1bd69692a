use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::source::{MAX_SECRET, read_bytes};

/// How long files must have been quiet: editors and deployments write in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// How long a folder that is never quiet may hold a change back.
const LONGEST_UNREST: Duration = Duration::from_secs(1);
/// Largest file whose content is compared.
const MAX_BYTES: u64 = 16 * MAX_SECRET;

/// Watches the files of a configuration and calls back when what they hold has changed.
///
/// It watches the folders in which the files are, not the files: editors put a new file in the old
/// one's place, and Kubernetes swaps a symbolic link. What counts is content, so that a `touch` or
/// somebody else's file in the folder causes nothing. Dropping it ends the watch.
///
/// A change between loading and [`Watcher::start`] is not seen; whoever must be sure loads once
/// more after the start and compares the revisions.
#[derive(Debug)]
pub struct Watcher {
    paths: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
    /// Its end closes the channel, and so the thread.
    _watch: RecommendedWatcher,
}

impl Watcher {
    /// Watches files and folders ([`super::model::Config::files`]). `on_change` is called on a
    /// thread of the watcher's own, about 200 ms after the last of the changes; after a second at the
    /// latest, if the folder is never quiet.
    ///
    /// # Errors
    /// The operating system refuses to watch: too many watches, or none of the folders is there.
    pub fn start(
        paths: Vec<PathBuf>,
        on_change: impl Fn() + Send + 'static,
    ) -> Result<Self, notify::Error> {
        let (sender, events) = mpsc::channel();
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                // Reading a file is an event too, and the comparison reads them. An error (such as
                // lost events) is a reason to look.
                if event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                    return;
                }
                // A closed channel means that the thread has ended with the process.
                let _ = sender.send(());
            })?;
        let folders = folders(&paths);
        for folder in &folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        let (first, followed) = (contents(&paths), paths.clone());
        std::thread::Builder::new()
            .name("config-watch".into())
            .spawn(move || follow(&followed, first, &events, &on_change))
            .map_err(notify::Error::io)?;
        Ok(Self { paths, folders, _watch: watcher })
    }

    /// Whether it watches just these, in the folders in which they stand now: a link may have come
    /// to point elsewhere.
    pub fn covers(&self, paths: &[PathBuf]) -> bool {
        self.paths == paths && self.folders == folders(paths)
    }
}

fn follow(paths: &[PathBuf], first: Vec<u8>, events: &Receiver<()>, on_change: &dyn Fn()) {
    let mut known = first;
    while events.recv().is_ok() {
        if !settled(events) {
            return;
        }
        let now = contents(paths);
        if now != known {
            known = now;
            on_change();
        }
    }
}

/// Waits until nothing happens any more, though not for ever: a log in the same folder is never
/// quiet. `false` if the watch has ended.
fn settled(events: &Receiver<()>) -> bool {
    let latest = Instant::now() + LONGEST_UNREST;
    loop {
        match events.recv_timeout(QUIET) {
            Ok(()) if Instant::now() < latest => {}
            Ok(()) | Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
    }
}

/// The folders in which a change to these paths shows: their own, and the one that a link points
/// into.
fn folders(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            folders.insert(path.clone());
        }
        let target = fs::canonicalize(path).ok();
        for place in [Some(path), target.as_ref()].into_iter().flatten() {
            folders.extend(existing_parent(place));
        }
    }
    folders
}

/// The nearest folder above a path that is there.
fn existing_parent(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        folder.is_dir().then(|| folder.to_owned())
    })
}

/// A digest of what all files hold and of which files the folders have.
fn contents(paths: &[PathBuf]) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA256);
    for path in paths {
        if path.is_dir() {
            for file in files_in(path) {
                add(&mut context, &file);
            }
        } else {
            add(&mut context, path);
        }
    }
    context.finish().as_ref().to_vec()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| entry.path())
        .filter(|path| !path.is_dir())
        .collect();
    files.sort();
    files
}

fn add(context: &mut digest::Context, path: &Path) {
    let name = path.as_os_str().as_encoded_bytes();
    // A file that can't be read differs from an empty one.
    let content = read_bytes(path, MAX_BYTES)
        .ok()
        .map(|bytes| digest::digest(&digest::SHA256, &bytes).as_ref().to_vec());
    context.update(&u64::try_from(name.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(name);
    context.update(&[u8::from(content.is_some())]);
    context.update(&content.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Long enough for a loaded machine; a test that works does not wait for it.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn watch(paths: &[&Path]) -> (Watcher, Receiver<()>) {
        let (sender, changes) = channel();
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        let watcher = Watcher::start(paths, move || sender.send(()).unwrap_or_default()).unwrap();
        (watcher, changes)
    }

    #[test]
    fn a_file_that_an_editor_puts_in_the_old_ones_place_is_noticed_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bank.yaml");
        fs::write(&file, "one").unwrap();
        let (_watcher, changes) = watch(&[&file]);
        for text in ["two", "three"] {
            let fresh = folder.path().join("bank.yaml~");
            fs::write(&fresh, text).unwrap();
            fs::rename(&fresh, &file).unwrap();
        }
        changes.recv_timeout(PATIENCE).unwrap();
        assert!(changes.try_recv().is_err());
    }

    #[test]
    fn only_what_the_files_hold_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (file, own) = (folder.path().join("bank.yaml"), folder.path().join("conf.d"));
        fs::write(&file, "one").unwrap();
        fs::create_dir(&own).unwrap();
        fs::write(own.join("10.yaml"), "routes").unwrap();
        let paths = [file.clone(), own.clone(), folder.path().join("none.pem")];
        let first = contents(&paths);

        fs::write(folder.path().join("access.log"), "line").unwrap();
        fs::write(own.join(".10.yaml.swp"), "an editor's own").unwrap();
        fs::write(&file, "one").unwrap();
        assert_eq!(contents(&paths), first);

        for (name, text) in [("bank.yaml", "two"), ("conf.d/20.yaml", ""), ("none.pem", "")] {
            let before = contents(&paths);
            fs::write(folder.path().join(name), text).unwrap();
            assert_ne!(contents(&paths), before, "{name}");
        }
    }

    #[test]
    fn a_log_in_the_same_folder_that_is_never_quiet_holds_no_change_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bank.yaml");
        fs::write(&file, "one").unwrap();
        let (_watcher, changes) = watch(&[&file]);
        fs::write(&file, "two").unwrap();
        let end = Instant::now() + PATIENCE;
        let mut noticed = false;
        while !noticed && Instant::now() < end {
            fs::write(folder.path().join("access.log"), "line").unwrap();
            noticed = changes.recv_timeout(QUIET / 10).is_ok();
        }
        assert!(noticed);
    }

    #[test]
    fn a_swapped_link_and_a_new_file_in_a_folder_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("bank.yaml"), text).unwrap();
        }
        symlink(at("..1"), at("..data")).unwrap();
        symlink(at("..data").join("bank.yaml"), at("bank.yaml")).unwrap();
        fs::create_dir(at("conf.d")).unwrap();
        let (_watcher, changes) = watch(&[&at("bank.yaml"), &at("conf.d")]);

        symlink(at("..2"), at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        changes.recv_timeout(PATIENCE).unwrap();

        fs::write(at("conf.d").join("10.yaml"), "routes: []").unwrap();
        changes.recv_timeout(PATIENCE).unwrap();

        fs::remove_file(at("conf.d").join("10.yaml")).unwrap();
        changes.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn a_file_that_is_not_there_yet_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets/token");
        let (_watcher, changes) = watch(&[&file, &folder.path().join("main.yaml")]);
        fs::write(folder.path().join("main.yaml"), "x").unwrap();
        changes.recv_timeout(PATIENCE).unwrap();
    }

    #[test]
    fn after_its_end_nothing_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bank.yaml");
        fs::write(&file, "one").unwrap();
        let (watcher, changes) = watch(&[&file]);
        drop(watcher);
        fs::write(&file, "two").unwrap();
        // The sender is dropped with the thread.
        assert_eq!(changes.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
