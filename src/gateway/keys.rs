//! Keys that the configuration may leave out: then they are made at first start and kept in the
//! state directory.

use std::path::Path;
use std::{fs, io};

use super::keyfile::{self, KeyFile, KeyFileError};
use crate::account::AccountHasher;
use crate::config::model::{CacheSettings, Secret, State};

/// What makes the keys that stand for accounts; `counted` says whether the journal has counts.
///
/// Counts can only be found with the key under which they were made. With another they would be
/// looked for where they are not, and start at zero without a word: so a new key is made, and
/// another one is taken, only where nothing was counted. The key's fingerprint is kept beside the
/// journal to tell.
///
/// # Errors
/// The key is missing, damaged or another one while there are counts, or a file can't be used.
pub(super) fn account_hasher(state: &State, counted: bool) -> Result<AccountHasher, KeyFileError> {
    let key = match &state.account_key {
        Some(key) => key.clone(),
        None => kept_account_key(&state.directory, counted)?,
    };
    let hasher = AccountHasher::new(key.reveal().as_bytes());
    let fingerprint = hasher.fingerprint();
    let path = state.directory.join("account.fingerprint");
    let failed = |error| KeyFileError { path: path.clone(), error };
    match fs::read_to_string(&path) {
        Ok(known) if known.trim() == fingerprint => return Ok(hasher),
        Ok(_) if counted => {
            return Err(failed(io::Error::other(
                "the account key is not the one under which the journal's counts were made; put \
                 that one back (state.account_key, or account.key where that is absent), or \
                 remove the whole state directory to begin at zero",
            )));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData && counted => {
            return Err(failed(io::Error::other(
                "was damaged: it is no text; restore it from a backup, or remove it if the account \
                 key is surely the one under which the journal's counts were made",
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
        Err(error) => return Err(failed(error)),
    }
    keyfile::write(&path, &fingerprint).map_err(failed)?;
    Ok(hasher)
}

/// The fingerprint of the account key that all gateways of a fleet share. The check has seen to it
/// that the configuration has one.
///
/// # Errors
/// A file can't be used.
pub(super) fn fleet_key(state: &State) -> Result<String, KeyFileError> {
    let key = known_account_key(state)?;
    let secret = key.as_ref().map_or("", Secret::reveal);
    Ok(AccountHasher::new(secret.as_bytes()).fingerprint())
}

/// The account key that a gateway with this state has; `None`: it has made none yet.
///
/// # Errors
/// The file is damaged or can't be read.
pub(super) fn known_account_key(state: &State) -> Result<Option<Secret>, KeyFileError> {
    match &state.account_key {
        Some(key) => Ok(Some(key.clone())),
        None => account_key_file(&state.directory).read(),
    }
}

fn account_key_file(directory: &Path) -> KeyFile {
    KeyFile::new(directory.join("account.key"), "remove the whole state directory to begin at zero")
}

fn kept_account_key(directory: &Path, counted: bool) -> Result<Secret, KeyFileError> {
    let file = account_key_file(directory);
    match file.read()? {
        Some(key) => Ok(key),
        None if counted => {
            Err(file.lost("is missing, and the journal has counts that only this key can find"))
        }
        None => file.read_or_make(),
    }
}

/// The cache's settings with all keys that open kept answers: the configured ones and, behind
/// them, the one in `directory`, which is made if there is none else.
pub(super) fn cache_settings(
    directory: &Path,
    configured: &CacheSettings,
) -> Result<CacheSettings, KeyFileError> {
    let file = KeyFile::new(
        directory.join("sealing.key"),
        "remove it: answers that it sealed are then fetched anew",
    );
    let made = match configured.sealing_keys.is_empty() {
        true => Some(file.read_or_make()?),
        false => file.read()?,
    };
    let mut settings = configured.clone();
    settings.sealing_keys.extend(made);
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(keys: &[&str]) -> CacheSettings {
        let sealing_keys = keys.iter().map(|key| Secret::new(*key)).collect();
        CacheSettings { memory: 1, disk: 1, max_entry: 1, sealing_keys }
    }

    fn state(directory: &Path, key: Option<&str>) -> State {
        State { directory: directory.to_owned(), account_key: key.map(Secret::new), partitions: 1 }
    }

    #[test]
    fn while_there_are_counts_only_their_own_account_key_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let hasher = |key, counted| account_hasher(&state(folder.path(), key), counted);
        let first = hasher(Some("one"), false).unwrap().fingerprint();
        assert_eq!(hasher(Some("one"), true).unwrap().fingerprint(), first);
        let refused = hasher(Some("another"), true).unwrap_err().to_string();
        assert!(refused.contains("account.fingerprint: the account key is not"), "{refused}");
        assert!(refused.contains("state.account_key"), "{refused}");
        assert_eq!(hasher(Some("one"), true).unwrap().fingerprint(), first, "nothing was changed");
        assert_ne!(hasher(Some("another"), false).unwrap().fingerprint(), first);
        assert!(hasher(Some("one"), true).is_err(), "the newer key has counts now");
    }

    #[test]
    fn a_damaged_fingerprint_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let hasher = |counted| account_hasher(&state(folder.path(), Some("one")), counted);
        fs::write(folder.path().join("account.fingerprint"), [0xff; 8]).unwrap();
        let refused = hasher(true).unwrap_err().to_string();
        assert!(refused.contains("account.fingerprint: was damaged"), "{refused}");
        assert!(refused.contains("from a backup, or remove it"), "{refused}");
        assert!(hasher(false).is_ok(), "nothing was counted, so nothing can be lost");
        assert!(hasher(true).is_ok());
    }

    #[test]
    fn the_key_that_was_made_is_the_same_in_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let made = account_hasher(&state(folder.path(), None), false).unwrap();
        let text = fs::read_to_string(folder.path().join("account.key")).unwrap();
        let moved = account_hasher(&state(folder.path(), Some(text.trim())), true).unwrap();
        assert_eq!(moved.fingerprint(), made.fingerprint());
    }

    #[test]
    fn a_missing_key_is_made_anew_only_where_nothing_was_counted() {
        let folder = tempfile::tempdir().unwrap();
        account_hasher(&state(folder.path(), None), false).unwrap();
        fs::remove_file(folder.path().join("account.key")).unwrap();
        let refused = account_hasher(&state(folder.path(), None), true).unwrap_err().to_string();
        assert!(refused.contains("account.key: is missing"), "{refused}");
        account_hasher(&state(folder.path(), None), false).unwrap();
    }

    #[test]
    fn without_a_sealing_key_one_is_made_and_opens_behind_those_configured_later() {
        let folder = tempfile::tempdir().unwrap();
        let made = cache_settings(folder.path(), &settings(&[])).unwrap().sealing_keys;
        assert_eq!(made.len(), 1);
        let later = cache_settings(folder.path(), &settings(&["mine"])).unwrap().sealing_keys;
        assert_eq!(later, [Secret::new("mine"), made[0].clone()]);
    }

    #[test]
    fn a_configured_sealing_key_makes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let keys = cache_settings(folder.path(), &settings(&["mine"])).unwrap().sealing_keys;
        assert_eq!(keys, [Secret::new("mine")]);
        assert!(!folder.path().join("sealing.key").exists());
    }
}
