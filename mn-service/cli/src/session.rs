//! Logins kept between processes: `~/.zstack/cli/session`, readable by its owner alone, one login per server.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A login. No password, hashed or not, is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// What the server recognises the caller by.
    pub uuid: String,
    /// Account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_uuid: Option<String>,
    /// User of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_uuid: Option<String>,
}

/// The directory with sessions and history.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

type Sessions = BTreeMap<String, Session>;

impl Store {
    /// Under `home`.
    pub fn under(home: &Path) -> Self {
        Self { directory: home.join(".zstack").join("cli") }
    }

    /// File of the interactive session's history; its directory exists afterwards.
    pub fn history_file(&self) -> Result<PathBuf, String> {
        self.prepare()?;
        Ok(self.directory.join("history"))
    }

    /// The login at `server`.
    pub fn get(&self, server: &str) -> Result<Option<Session>, String> {
        Ok(self.read()?.remove(server))
    }

    /// Keeps the login at `server`.
    pub fn put(&self, server: &str, session: Session) -> Result<(), String> {
        self.change(|sessions| {
            sessions.insert(server.to_owned(), session);
        })
    }

    /// Forgets the login at `server`, unless another process has logged in anew since `uuid` was read.
    pub fn forget(&self, server: &str, uuid: &str) -> Result<(), String> {
        if self.read()?.get(server).is_none_or(|session| session.uuid != uuid) {
            return Ok(());
        }
        self.change(|sessions| {
            if sessions.get(server).is_some_and(|session| session.uuid == uuid) {
                sessions.remove(server);
            }
        })
    }

    fn file(&self) -> PathBuf {
        self.directory.join("session")
    }

    fn prepare(&self) -> Result<(), String> {
        let make = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            // The directory may be older than this program, or made under another umask.
            fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700))
        };
        make().map_err(|error| format!("cannot prepare {}: {error}", self.directory.display()))
    }

    fn read(&self) -> Result<Sessions, String> {
        let path = self.file();
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map_err(|error| format!("{} is damaged ({error}); remove it and log in again", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Sessions::new()),
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
        }
    }

    /// One writer at a time; readers see the old file or the new one, never half of it.
    fn change(&self, edit: impl FnOnce(&mut Sessions)) -> Result<(), String> {
        self.prepare()?;
        let path = self.file();
        let lock = self.directory.join("session.lock");
        let fresh = self.directory.join("session.new");
        let mut create = OpenOptions::new();
        create.write(true).create(true).mode(0o600);
        let locked = create.open(&lock).and_then(|file| file.lock().map(|()| file));
        let _held: File = locked.map_err(|error| format!("cannot lock {}: {error}", lock.display()))?;
        // A damaged file must not keep anyone from logging in.
        let mut sessions = self.read().unwrap_or_default();
        edit(&mut sessions);
        let write = || {
            let mut file = create.truncate(true).open(&fresh)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(serde_json::to_string_pretty(&sessions)?.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)
        };
        let mut write = write;
        write().map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(uuid: &str) -> Session {
        Session { uuid: uuid.to_owned(), account_uuid: None, user_uuid: None }
    }

    #[test]
    fn logins_are_kept_per_server_and_readable_by_the_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::under(home.path());
        assert_eq!(store.get("http://a").unwrap(), None);
        store.put("http://a", session("1")).unwrap();
        store.put("http://b", session("2")).unwrap();
        assert_eq!(store.get("http://a").unwrap(), Some(session("1")));
        let mode = |path: &str| fs::metadata(home.path().join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(".zstack/cli"), 0o700);
        assert_eq!(mode(".zstack/cli/session"), 0o600);
        store.forget("http://a", "1").unwrap();
        assert_eq!(store.get("http://a").unwrap(), None);
        assert_eq!(store.get("http://b").unwrap(), Some(session("2")));
    }

    #[test]
    fn a_newer_login_is_not_forgotten_with_an_older_one() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::under(home.path());
        store.put("http://a", session("new")).unwrap();
        store.forget("http://a", "old").unwrap();
        assert_eq!(store.get("http://a").unwrap(), Some(session("new")));
    }

    #[test]
    fn a_damaged_file_is_named_and_a_login_repairs_it() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::under(home.path());
        store.put("http://a", session("1")).unwrap();
        fs::write(home.path().join(".zstack/cli/session"), "{").unwrap();
        assert!(store.get("http://a").unwrap_err().contains("log in again"));
        store.put("http://a", session("2")).unwrap();
        assert_eq!(store.get("http://a").unwrap(), Some(session("2")));
    }

    #[test]
    fn many_writers_lose_nothing() {
        let home = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..16 {
                let store = Store::under(home.path());
                scope.spawn(move || store.put(&format!("http://{n}"), session("s")).unwrap());
            }
        });
        let store = Store::under(home.path());
        assert!((0..16).all(|n| store.get(&format!("http://{n}")).unwrap().is_some()));
    }
}
