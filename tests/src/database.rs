//! Which database the worlds of a test run live in.
//!
//! SQLite in the world's own data folder, unless the environment variable `ZSTACK_TEST_DATABASE` says `mariadb`: then
//! every world gets a fresh database on one private server that all tests of the process share.

use std::path::Path;

use anyhow::{Result, bail};

/// Chooses the database: `sqlite` (default) or `mariadb`.
pub const VARIABLE: &str = "ZSTACK_TEST_DATABASE";

/// Name of the file in which a world remembers its database, so that a restart finds it again.
const REMEMBERED: &str = "test-database-url";

/// URL of the database for the world in `data`; `None` means the service's default, SQLite in that folder.
///
/// # Errors
///
/// The server does not start, or the variable names another kind.
pub async fn url_for(data: &Path) -> Result<Option<String>> {
    match std::env::var(VARIABLE).as_deref() {
        Err(_) | Ok("" | "sqlite") => return Ok(None),
        Ok("mariadb") => {}
        Ok(other) => bail!("{VARIABLE}={other}: choose sqlite or mariadb"),
    }
    let remembered = data.join(REMEMBERED);
    if remembered.exists() {
        return Ok(Some(std::fs::read_to_string(remembered)?));
    }
    // The first to ask starts the server and waits for it.
    let url = tokio::task::spawn_blocking(|| private_mariadb::shared()?.create_database()).await??;
    std::fs::write(remembered, &url)?;
    Ok(Some(url))
}
