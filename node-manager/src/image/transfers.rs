//! Transfers that management has announced (docs/decisions/0009): another host's certificate opens nothing by itself; it
//! opens the one file that management named together with that host, for as long as management said.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use node_manager_types::{
    AgentError, ErrorKind, HostId, StorageId, image::Access, operation::AllowTransfer, storage::ContentQuery,
};

use crate::drivers::Result;

/// Longest time for which a transfer stays announced.
const LONGEST: u64 = 24 * 3600;

/// Who may carry what.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Transfer {
    peer: HostId,
    storage: StorageId,
    root: String,
    path: String,
    access: Access,
}

/// The announced transfers of one agent. In memory alone: an agent that starts anew waits to be told.
#[derive(Debug, Default)]
pub struct Transfers(Mutex<HashMap<Transfer, Instant>>);

impl Transfers {
    /// Announces a transfer, or takes it back where no seconds are left.
    pub fn allow(&self, told: &AllowTransfer) {
        let AllowTransfer { peer, root, path, access, seconds } = told.clone();
        let transfer = Transfer { peer, storage: root.id, root: root.path, path, access };
        let mut table = self.table();
        let now = Instant::now();
        table.retain(|_, until| *until > now);
        if seconds == 0 {
            table.remove(&transfer);
        } else {
            table.insert(transfer, now + Duration::from_secs(seconds.min(LONGEST)));
        }
    }

    /// Whether `peer` may do what it asks for.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when management has not announced it.
    pub fn check(&self, peer: HostId, query: &ContentQuery, access: Access) -> Result<()> {
        let path = match access {
            Access::Read => Some(query.path.as_str()),
            // A file under way has a name of its own, and takes no other than the one that was announced.
            Access::Write => query
                .path
                .strip_suffix(UNFINISHED)
                .filter(|path| query.rename_to.as_deref().is_none_or(|target| target == *path)),
        };
        let transfer = path.map(|path| Transfer {
            peer,
            storage: query.storage,
            root: query.root.clone(),
            path: path.to_owned(),
            access,
        });
        let now = Instant::now();
        if transfer.is_some_and(|transfer| self.table().get(&transfer).is_some_and(|until| *until > now)) {
            return Ok(());
        }
        let what = match access {
            Access::Read => "read",
            Access::Write => "write",
        };
        let message = format!(
            "host {peer} may not {what} {}: management has not announced this transfer, or this agent was started since; \
             begin it again through management",
            query.path
        );
        Err(AgentError::new(ErrorKind::Invalid, message))
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Transfer, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file that is being sent is called behind its name.
pub(crate) const UNFINISHED: &str = ".part";

#[cfg(test)]
mod tests {
    use node_manager_types::storage::StorageRoot;

    use super::*;

    #[test]
    fn a_host_carries_the_announced_file_in_the_announced_direction_and_nothing_else() {
        let (transfers, peer) = (Transfers::default(), HostId::random());
        let root = StorageRoot { id: StorageId::random(), path: "/bs".to_owned() };
        let query = |path: &str, rename_to: Option<&str>| ContentQuery {
            storage: root.id,
            root: root.path.clone(),
            path: path.to_owned(),
            offset: 0,
            rename_to: rename_to.map(str::to_owned),
            sha256: None,
        };
        let tell = |path: &str, access, seconds| {
            transfers.allow(&AllowTransfer { peer, root: root.clone(), path: path.to_owned(), access, seconds });
        };
        let read = |path: &str| transfers.check(peer, &query(path, None), Access::Read).is_ok();
        let write = |path: &str, to: Option<&str>| transfers.check(peer, &query(path, to), Access::Write).is_ok();

        let refused = transfers.check(peer, &query("/bs/a", None), Access::Read).unwrap_err();
        assert!(refused.message.contains("has not announced"), "{refused}");
        tell("/bs/a", Access::Read, 60);
        assert!(read("/bs/a") && !read("/bs/b") && !write("/bs/a.part", None));
        assert!(transfers.check(HostId::random(), &query("/bs/a", None), Access::Read).is_err(), "another host");
        let elsewhere = ContentQuery { root: "/ps".to_owned(), ..query("/bs/a", None) };
        assert!(transfers.check(peer, &elsewhere, Access::Read).is_err(), "another root");

        tell("/bs/new", Access::Write, 60);
        assert!(write("/bs/new.part", None) && write("/bs/new.part", Some("/bs/new")));
        assert!(!write("/bs/new.part", Some("/bs/a")) && !write("/bs/new", None) && !read("/bs/new"));

        tell("/bs/a", Access::Read, 0);
        assert!(!read("/bs/a"), "taken back");
    }
}
