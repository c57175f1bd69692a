use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of a secret that is made here; a file with fewer was damaged.
const LENGTH: usize = 32;

/// The random secret kept in a file that only this user can read; made at first use. It reaches
/// the disk before it is used: what is made with it must be found again after a crash.
///
/// # Errors
/// The file can't be read or made, or was cut short.
pub(super) fn kept(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Ok(secret) if secret.len() < LENGTH => Err(io::Error::other(format!(
            "has {} bytes instead of {LENGTH}: it was damaged; restore it from a backup",
            secret.len()
        ))),
        Ok(secret) => Ok(secret),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    }
}

fn make(path: &Path) -> io::Result<Vec<u8>> {
    let mut secret = vec![0; LENGTH];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("no random numbers"))?;
    // Written beside and renamed, so that no crash leaves half a key under the name.
    let beside = path.with_extension("key.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&secret)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("account.key");
        let made = kept(&path).unwrap();
        assert_eq!(kept(&path).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_cut_short_is_not_taken_for_a_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("account.key");
        for left in ["", "0123456789abcdef0123456789abcde"] {
            fs::write(&path, left).unwrap();
            assert!(kept(&path).unwrap_err().to_string().contains("restore it"));
        }
    }
}
