//! The network's files, as the node's own commands would write them.

use node_manager_net::files::store::{Change, Store};

use super::Installation;
use crate::tool::{Error, Result};

impl Installation {
    pub(super) fn network(&self) -> Result<()> {
        let store = Store::below(&self.target());
        let failed = || Error::file(store.folder());
        for file in store.ours().map_err(failed())?.into_keys() {
            store.change(&Change::Remove(file)).map_err(failed())?;
        }
        for (file, text) in self.plan.network_files() {
            self.reporter.log(&format!("  writes {file}"));
            store.change(&Change::Write(file, text)).map_err(failed())?;
        }
        Ok(())
    }
}
