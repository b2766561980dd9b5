//! Secrets at rest: AES-256-GCM under a key file that the service alone can read.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path};

use aes_gcm::{
    Aes256Gcm, Key, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rand::TryRngCore;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;

/// Seals and opens small texts.
pub struct Sealer {
    cipher: Aes256Gcm,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(***)")
    }
}

/// A sealed text cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The key file is missing and cannot be made, or is unreadable.
    #[error("secret key file {path}: {source}")]
    KeyFile {
        /// File.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The key file has another length.
    #[error(
        "secret key file {path} has {length} bytes instead of 32; restore it from a backup, sealed secrets depend on it"
    )]
    KeyLength {
        /// File.
        path: String,
        /// Bytes found.
        length: usize,
    },
    /// Wrong key, wrong purpose or damaged text.
    #[error("a sealed secret cannot be opened: the key file does not fit or the text is damaged")]
    Open,
    /// No randomness or encryption failed.
    #[error("a secret cannot be sealed")]
    Seal,
}

impl Sealer {
    /// Reads the key file, making it (mode 0600) when there is none.
    pub fn open(path: &Path) -> Result<Self, SecretError> {
        let at = |source| SecretError::KeyFile { path: path.display().to_string(), source };
        let key = match fs::read(path) {
            Ok(key) => key,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut key = vec![0; KEY_BYTES];
                rand::rngs::OsRng.try_fill_bytes(&mut key).map_err(|_| SecretError::Seal)?;
                // Never a half-written key: complete under another name, then renamed.
                let partial = path.with_extension("new");
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(&partial)
                    .map_err(at)?;
                file.write_all(&key).and_then(|()| file.sync_all()).map_err(at)?;
                fs::rename(&partial, path).map_err(at)?;
                key
            }
            Err(error) => return Err(at(error)),
        };
        if key.len() != KEY_BYTES {
            return Err(SecretError::KeyLength { path: path.display().to_string(), length: key.len() });
        }
        Ok(Self { cipher: Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&key)) })
    }

    /// Encrypts `text`; it opens only for the same `purpose` (for example `host-password:<uuid>`).
    pub fn seal(&self, purpose: &str, text: &str) -> Result<String, SecretError> {
        let mut nonce = [0; NONCE_BYTES];
        rand::rngs::OsRng.try_fill_bytes(&mut nonce).map_err(|_| SecretError::Seal)?;
        let payload = Payload { msg: text.as_bytes(), aad: purpose.as_bytes() };
        let sealed = self.cipher.encrypt(Nonce::from_slice(&nonce), payload).map_err(|_| SecretError::Seal)?;
        Ok(STANDARD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Decrypts what [`Sealer::seal`] made for `purpose`.
    pub fn unseal(&self, purpose: &str, sealed: &str) -> Result<String, SecretError> {
        let bytes = STANDARD.decode(sealed).map_err(|_| SecretError::Open)?;
        let (nonce, body) = bytes.split_at_checked(NONCE_BYTES).ok_or(SecretError::Open)?;
        let payload = Payload { msg: body, aad: purpose.as_bytes() };
        let text = self.cipher.decrypt(Nonce::from_slice(nonce), payload).map_err(|_| SecretError::Open)?;
        String::from_utf8(text).map_err(|_| SecretError::Open)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_open_only_with_the_same_key_and_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let sealer = Sealer::open(&dir.path().join("a.key")).unwrap();
        let sealed = sealer.seal("host:1", "pässword").unwrap();
        assert!(!sealed.contains("word"));
        let again = Sealer::open(&dir.path().join("a.key")).unwrap();
        assert_eq!(again.unseal("host:1", &sealed).unwrap(), "pässword");
        assert!(again.unseal("host:2", &sealed).is_err());
        assert!(Sealer::open(&dir.path().join("b.key")).unwrap().unseal("host:1", &sealed).is_err());
        assert_eq!(fs::metadata(dir.path().join("a.key")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_truncated_key_file_is_named_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        fs::write(&path, [1; 5]).unwrap();
        assert!(Sealer::open(&path).unwrap_err().to_string().contains("5 bytes"));
        assert_eq!(fs::read(&path).unwrap().len(), 5);
    }
}
