//! Keys that the configuration may leave out: then they are made at first start and kept in the
//! state directory.

use std::path::Path;

use super::keyfile::{KeyFile, KeyFileError};
use crate::config::model::{CacheSettings, Secret, State};
use crate::quota::Quotas;

/// The key of the hash that stands for accounts. A new one is made only where nothing was counted
/// under another: with that, all counts would be looked for where they are not, and start at zero
/// without a word.
pub(super) fn account_key(state: &State, quotas: &Quotas) -> Result<Secret, KeyFileError> {
    if let Some(key) = &state.account_key {
        return Ok(key.clone());
    }
    let file = KeyFile::new(
        state.directory.join("account.key"),
        "remove the whole state directory to begin at zero",
    );
    let counted = quotas.partitions().iter().any(|partition| partition.accounts > 0);
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
