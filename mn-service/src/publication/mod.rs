//! Links for downloads (OS-TUI-096, OS-TUI-100): `/download/<secret>/...` on the address of the web UI leads to backups or
//! collected logs for a while. Who has the link has the files, so the secret is 256 random bits of which only a hash is
//! kept, and what is not published looks like what does not exist.

pub mod download;
mod page;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mn_service_types::{date::now_millis, new_uuid};
use node_control::management::{Kind, PUBLISHED_RANGE, PUBLISHED_SECONDS, Publication, Publish};
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::layout;

/// Why a link was not made.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The request is wrong; all that is wrong with it.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// The list of links cannot be written, or there is no randomness.
    #[error("the link cannot be kept in {}", path.display())]
    Keep {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A link as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    public: Publication,
    /// SHA-256 of the secret, in hex.
    secret: String,
}

/// The links of this node.
#[derive(Debug)]
pub struct Publications {
    file: PathBuf,
    /// Folders below which everything may be published.
    roots: [(Kind, PathBuf); 2],
    kept: Mutex<Vec<Kept>>,
}

impl Publications {
    /// Of the data directory; links outlive the service.
    pub fn open(data_dir: &Path) -> Self {
        let file = data_dir.join("publications.json");
        let kept = match fs::read(&file).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(kept)) => kept,
            Ok(Err(error)) => {
                tracing::warn!(%error, file = %file.display(), "links for downloads cannot be read; make new ones");
                Vec::new()
            }
            Err(_) => Vec::new(),
        };
        let roots = [(Kind::Backup, layout::backups(data_dir)), (Kind::Logs, layout::published(data_dir))];
        Self { file, roots, kept: Mutex::new(kept) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        // A panic elsewhere cannot leave the list half-changed: every change is a single assignment.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a link; its secret, and what is kept of it.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publish(&self, asked: &Publish) -> Result<(String, Publication), PublishError> {
        let mut problems = Vec::new();
        let seconds = asked.seconds.unwrap_or(PUBLISHED_SECONDS);
        if !PUBLISHED_RANGE.contains(&seconds) {
            let (least, most) = (PUBLISHED_RANGE.start(), PUBLISHED_RANGE.end());
            problems.push(format!("seconds: {seconds} is not from {least} to {most}"));
        }
        let mut paths = Vec::new();
        match (asked.paths.as_slice(), asked.kind) {
            ([], Some(kind)) => match self.newest(kind) {
                Some(path) => paths.push(path),
                None => problems.push("kind: there is nothing of it yet".to_owned()),
            },
            ([], None) => problems.push("name paths, or a kind: backup or logs".to_owned()),
            (_, Some(_)) => problems.push("name paths or a kind, not both".to_owned()),
            (named, None) => {
                for path in named {
                    match self.publishable(path) {
                        Some(real) => paths.push(real),
                        None => problems.push(format!(
                            "paths: {} is neither a backup nor collected logs; only these can be published",
                            path.display()
                        )),
                    }
                }
            }
        }
        if !problems.is_empty() {
            return Err(PublishError::Invalid(problems));
        }
        let keep = |source| PublishError::Keep { path: self.file.clone(), source };
        let mut bytes = [0; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| keep(io::Error::other(error)))?;
        let secret = URL_SAFE_NO_PAD.encode(bytes);
        let created_ms = now_millis();
        let life = i64::try_from(seconds.saturating_mul(1000)).unwrap_or(i64::MAX);
        let public = Publication { id: new_uuid(), paths, created_ms, expires_ms: created_ms.saturating_add(life) };
        let mut kept = self.lock();
        let mut next = live(&kept);
        next.push(Kept { public: public.clone(), secret: hash(&secret) });
        self.write(&next).map_err(keep)?;
        *kept = next;
        Ok((secret, public))
    }

    /// Links that work.
    pub fn list(&self) -> Vec<Publication> {
        live(&self.lock()).into_iter().map(|kept| kept.public).collect()
    }

    /// Ends a link; false when there is none of that id.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn end(&self, id: &str) -> io::Result<bool> {
        let mut kept = self.lock();
        let mut next = live(&kept);
        let before = next.len();
        next.retain(|one| one.public.id != id);
        if next.len() == before {
            return Ok(false);
        }
        self.write(&next)?;
        *kept = next;
        Ok(true)
    }

    /// What a secret leads to.
    fn find(&self, secret: &str) -> Option<Publication> {
        let hash = hash(secret);
        let now = now_millis();
        // Hashes are compared: how long that takes tells nothing of the secret.
        self.lock()
            .iter()
            .find(|kept| kept.secret == hash && kept.public.expires_ms > now)
            .map(|kept| kept.public.clone())
    }

    /// The real path, if it is below a folder that may be published, whatever links lead there.
    fn publishable(&self, path: &Path) -> Option<PathBuf> {
        let real = path.canonicalize().ok()?;
        let below = |root: &Path| {
            let rest = real.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned();
            let hidden = rest.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'));
            (!rest.as_os_str().is_empty() && !hidden).then_some(())
        };
        self.roots.iter().any(|(_, root)| below(root).is_some()).then_some(real)
    }

    fn newest(&self, kind: Kind) -> Option<PathBuf> {
        let (_, root) = self.roots.iter().find(|(of, _)| *of == kind)?;
        let entries = fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
        let fits = |path: &PathBuf| kind == Kind::Logs || path.extension().is_some_and(|extension| extension == "gz");
        // Names carry the time, so that the last one is the newest.
        entries.filter(fits).filter_map(|path| self.publishable(&path)).max()
    }

    fn write(&self, kept: &[Kept]) -> io::Result<()> {
        let fresh = self.file.with_extension("new");
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.file)
    }
}

fn live(kept: &[Kept]) -> Vec<Kept> {
    let now = now_millis();
    kept.iter().filter(|one| one.public.expires_ms > now).cloned().collect()
}

fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(paths: &[PathBuf]) -> Publish {
        Publish { paths: paths.to_vec(), ..Publish::default() }
    }

    #[test]
    fn only_backups_and_logs_are_published_by_their_real_path() {
        let data = tempfile::tempdir().unwrap();
        let (backups, logs) = (layout::backups(data.path()), layout::published(data.path()));
        fs::create_dir_all(backups.join(".work-1")).unwrap();
        fs::create_dir_all(logs.join("one")).unwrap();
        for file in [backups.join("a.gz"), backups.join(".work-1/a"), data.path().join("secret.key")] {
            fs::write(file, "x").unwrap();
        }
        std::os::unix::fs::symlink(data.path().join("secret.key"), logs.join("one/link")).unwrap();
        let publications = Publications::open(data.path());
        let bad = [
            data.path().join("secret.key"),
            backups.clone(),
            backups.join("../secret.key"),
            backups.join(".work-1/a"),
            logs.join("one/link"),
            logs.join("none"),
            PathBuf::from("/etc/passwd"),
        ];
        let Err(PublishError::Invalid(problems)) = publications.publish(&asked(&bad)) else { panic!("published") };
        assert_eq!(problems.len(), bad.len(), "{problems:?}");
        publications.publish(&asked(&[backups.join("a.gz"), logs.join("one")])).unwrap();
        let newest = Publish { kind: Some(Kind::Backup), ..Publish::default() };
        assert_eq!(publications.publish(&newest).unwrap().1.paths, [backups.join("a.gz").canonicalize().unwrap()]);
        for seconds in [59, 7 * 86_400 + 1] {
            let long = Publish { seconds: Some(seconds), ..newest.clone() };
            assert!(publications.publish(&long).unwrap_err().to_string().contains("from 60 to 604800"));
        }
    }

    #[test]
    fn links_outlive_the_service_and_their_secret_is_not_kept() {
        let data = tempfile::tempdir().unwrap();
        let file = layout::backups(data.path()).join("a.gz");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "x").unwrap();
        let (secret, made) = Publications::open(data.path()).publish(&asked(&[file])).unwrap();
        assert_eq!(secret.len(), 43, "256 bits");
        let kept = fs::read_to_string(data.path().join("publications.json")).unwrap();
        assert!(!kept.contains(&secret), "{kept}");
        let again = Publications::open(data.path());
        assert_eq!(again.find(&secret), Some(made.clone()));
        assert_eq!(again.find("x"), None);
        assert!(again.end(&made.id).unwrap());
        assert!(!again.end(&made.id).unwrap());
        assert_eq!((again.find(&secret), again.list().len()), (None, 0));
    }
}
