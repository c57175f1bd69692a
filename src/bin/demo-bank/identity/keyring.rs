//! The identity provider's keys through time: the current ones, those retired and still published, those made for a test.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use openssl::error::ErrorStack;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::algorithm::Algorithm;
use super::key::Key;

const RSA_BITS: u32 = 2048;

/// Retired keys stay published for no more rotations than this, so that the set stays small.
pub const LONGEST_STAY: u32 = 8;

/// Made for tests, at one time.
const MOST_TEST_KEYS: usize = 64;

/// All keys.
pub struct KeyRing {
    /// The current ones first. Never empty.
    generations: Vec<Generation>,
    /// Made through the control port.
    test_keys: Vec<Key>,
    file: Option<PathBuf>,
}

/// Keys that were made together: one for each of [`Algorithm::OFFERED`].
struct Generation {
    keys: Vec<Key>,
    /// For how many more rotations they stay published. Of the current ones: not decided yet.
    stays: u32,
}

/// Why the keys could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// OpenSSL refused.
    #[error("the key could not be made or read: {0}")]
    OpenSsl(#[from] ErrorStack),
    /// A thread that makes keys ended early.
    #[error("a thread that makes keys ended early")]
    Thread,
    /// The key file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The key file is not one of the bank's.
    #[error("{}: not a key file of the bank: {error}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Where.
        error: serde_json::Error,
    },
    /// Too many keys for tests.
    #[error("there are {MOST_TEST_KEYS} test keys already: reset first")]
    TooMany,
}

/// One generation, as the key file holds it.
#[derive(Deserialize, Serialize)]
struct Stored {
    stays: u32,
    keys: Vec<StoredKey>,
}

#[derive(Deserialize, Serialize)]
struct StoredKey {
    algorithm: Algorithm,
    pem: String,
}

impl KeyRing {
    /// Reads the keys of this directory, or makes them; they are kept there, when there is one.
    pub fn open(directory: Option<&Path>) -> Result<Self, KeyError> {
        let file = directory.map(|directory| directory.join("keys.json"));
        let stored = file.as_deref().map(read).transpose()?.flatten();
        if let Some(generations) = stored {
            return Ok(Self { generations, test_keys: Vec::new(), file });
        }
        let ring = Self { generations: vec![Generation::make()?], test_keys: Vec::new(), file };
        ring.store()?;
        Ok(ring)
    }

    /// The key that signs with this algorithm now.
    pub fn current(&self, algorithm: Algorithm) -> Option<&Key> {
        let keys = || self.generations.iter().take(1).flat_map(|generation| &generation.keys);
        keys().find(|key| key.algorithm == algorithm.key_family())
    }

    /// The key of this name. A key made for a test goes before one of the bank's own.
    pub fn named(&self, kid: &str) -> Option<&Key> {
        self.test_keys.iter().rev().chain(self.own()).find(|key| key.kid == kid)
    }

    /// All keys: the current, the retired, those made for tests.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        self.own().chain(&self.test_keys)
    }

    fn own(&self) -> impl Iterator<Item = &Key> {
        self.generations.iter().flat_map(|generation| &generation.keys)
    }

    /// Puts new keys in the place of the current ones, which stay published for `keep` more rotations, this one included.
    pub fn rotate(&mut self, new: Vec<Key>, keep: u32) -> Result<(), KeyError> {
        let keep = keep.min(LONGEST_STAY);
        let retired = std::mem::take(&mut self.generations);
        let retired = retired.into_iter().enumerate().map(|(age, generation)| {
            let stays = if age == 0 { keep } else { generation.stays.saturating_sub(1) };
            Generation { stays: stays.min(keep), ..generation }
        });
        self.generations = vec![Generation { keys: new, stays: 0 }];
        self.generations.extend(retired.filter(|generation| generation.stays > 0));
        self.store()
    }

    /// Adds a key that was made for a test.
    pub fn add_test_key(&mut self, key: Key) -> Result<&Key, KeyError> {
        if self.test_keys.len() >= MOST_TEST_KEYS {
            return Err(KeyError::TooMany);
        }
        self.test_keys.push(key);
        self.test_keys.last().ok_or(KeyError::TooMany)
    }

    /// Forgets the keys made for tests.
    pub fn drop_test_keys(&mut self) {
        self.test_keys.clear();
    }

    /// The published set.
    pub fn jwks(&self) -> Vec<Value> {
        self.all().map(Key::jwk).collect()
    }

    fn store(&self) -> Result<(), KeyError> {
        let Some(path) = &self.file else { return Ok(()) };
        let stored: Vec<Stored> = self
            .generations
            .iter()
            .map(Generation::to_stored)
            .collect::<Result<_, ErrorStack>>()?;
        let format = |error| KeyError::Format { path: path.clone(), error };
        let text = serde_json::to_vec_pretty(&stored).map_err(format)?;
        write(path, &text).map_err(|error| KeyError::File { path: path.clone(), error })
    }
}

/// Makes a key for each offered algorithm, side by side: RSA keys take their time.
pub fn make_keys() -> Result<Vec<Key>, KeyError> {
    std::thread::scope(|scope| {
        let threads = Algorithm::OFFERED
            .map(|algorithm| scope.spawn(move || Key::generate(algorithm, RSA_BITS)));
        let made = threads.into_iter().map(|thread| thread.join().map_err(|_| KeyError::Thread));
        made.map(|key| Ok(key??)).collect()
    })
}

impl Generation {
    fn make() -> Result<Self, KeyError> {
        Ok(Self { keys: make_keys()?, stays: 0 })
    }

    fn to_stored(&self) -> Result<Stored, ErrorStack> {
        let stored = |key: &Key| Ok(StoredKey { algorithm: key.algorithm, pem: key.to_pem()? });
        Ok(Stored {
            stays: self.stays,
            keys: self.keys.iter().map(stored).collect::<Result<_, ErrorStack>>()?,
        })
    }

    fn from_stored(stored: Stored) -> Result<Self, ErrorStack> {
        let keys = stored.keys.iter().map(|key| Key::from_pem(key.algorithm, &key.pem));
        Ok(Self { keys: keys.collect::<Result<_, _>>()?, stays: stored.stays })
    }
}

/// The generations in this file, or `None` when there are none.
fn read(path: &Path) -> Result<Option<Vec<Generation>>, KeyError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(KeyError::File { path: path.to_owned(), error }),
    };
    let format = |error| KeyError::Format { path: path.to_owned(), error };
    let stored: Vec<Stored> = serde_json::from_slice(&text).map_err(format)?;
    let generations: Vec<Generation> =
        stored.into_iter().map(Generation::from_stored).collect::<Result<_, _>>()?;
    Ok((!generations.is_empty()).then_some(generations))
}

/// Written aside and renamed, so that a crash leaves the old file or the new one. Private keys are for the owner only.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let aside = path.with_extension("json.new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}
