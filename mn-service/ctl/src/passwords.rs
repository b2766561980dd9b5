//! Passwords of the database's users (OPS-CTL-031) and of the cloud's administrator (OPS-CTL-030).

use std::{
    io::{self, BufRead as _},
    path::Path,
};

use node_control::{Client, ControlError, management::RESET_PASSWORD};
use serde_json::{Value, json};
use url::Url;

use crate::{
    backup::Server,
    config::Config,
    failure::{AtPath as _, Failure},
    settings,
};

/// A change of a database user's password.
pub struct Change {
    /// Password of the server's administrator.
    pub root: String,
    /// Whose password it is.
    pub user: String,
    /// What it shall be.
    pub new: String,
}

impl Change {
    /// The administrator's password and the new one, a line each: what is typed there leaves no trace.
    ///
    /// # Errors
    /// There are not two lines.
    pub fn from_stdin(user: String) -> Result<Self, Failure> {
        let mut lines = io::stdin().lock().lines().map_while(Result::ok);
        match (lines.next(), lines.next()) {
            (Some(root), Some(new)) => Ok(Self { root, user, new }),
            _ => Err(Failure::new("standard input has no two lines: root's password, and the new one")),
        }
    }
}

/// Changes the password. That of the service's own user changes in its configuration, too, or nowhere; true then, as a
/// running service needs a restart.
pub async fn change(config: &Config, wanted: &Change) -> Result<bool, Failure> {
    if wanted.new.is_empty() || wanted.new.contains(char::is_control) {
        return Err(Failure::new("the new password is empty or has control characters; nothing was changed"));
    }
    let url = config.database_url();
    if url.starts_with("sqlite:") {
        return Err(Failure::new("the configuration names a SQLite database, which has no users and no passwords"));
    }
    let server = Server::parse(&url)?;
    let root = server.as_root(&wanted.root);
    let work = tempfile::tempdir().at("make a folder in", &std::env::temp_dir())?;
    let denied = |failure: Failure| Failure { message: format!("{failure}; nothing was changed"), ..failure };
    let hosts = root.hosts_of(work.path(), &wanted.user).await.map_err(denied)?;
    // OS-TUI-055: whoever is root on this machine may be let in with any.
    if !root.knows_password(work.path()).await.map_err(denied)? {
        return Err(Failure::new("the password of the database's user root is wrong; nothing was changed")
            .hint("the first one is in /etc/zstack/generated-passwords.toml"));
    }
    if hosts.is_empty() {
        return Err(Failure::new(format!("the database has no user {:?}; nothing was changed", wanted.user)));
    }
    if wanted.user != server.user() {
        root.set_password(work.path(), &wanted.user, &hosts, &wanted.new).await.map_err(denied)?;
        return Ok(false);
    }
    // Everything that can go wrong with the file goes wrong before the database changes, as far as that can be known.
    let text = std::fs::read_to_string(&config.file).at("read", &config.file)?;
    let fresh =
        settings::changed(&config.file, &text, &[format!("database.url={}", with_password(&url, &wanted.new)?)])?;
    settings::write(&config.file, &text)?;
    root.set_password(work.path(), &wanted.user, &hosts, &wanted.new).await.map_err(denied)?;
    let changed = match server.with_password(&wanted.new).tables(work.path()).await {
        Ok(_) => settings::write(&config.file, &fresh),
        Err(failure) => Err(failure),
    };
    let Err(failure) = changed else { return Ok(true) };
    let old = server.password().unwrap_or_default();
    // Root may have got the new password just now, if it is the service's own user.
    let again = if wanted.user == "root" { server.as_root(&wanted.new) } else { root };
    match again.set_password(work.path(), &wanted.user, &hosts, old).await {
        Ok(()) => Err(denied(failure)),
        Err(second) => Err(Failure::new(format!(
            "{failure}; the database has the new password and {} the old one, because: {second}",
            config.file.display()
        ))
        .hint("repair the cause and run the same command again")),
    }
}

fn with_password(url: &str, password: &str) -> Result<String, Failure> {
    let wrong = || Failure::new("`url` of [database] takes no password");
    let mut url = Url::parse(url).map_err(|_| wrong())?;
    url.set_password(Some(password)).map_err(|()| wrong())?;
    Ok(url.into())
}

/// What a change prints.
pub fn changed(wanted: &Change, file: &Path, restart: bool) -> (Value, Vec<String>) {
    let mut lines = vec![format!("the password of the database's user {} has been changed", wanted.user)];
    if restart {
        lines.push(format!("{} has been changed with it", file.display()));
    }
    (json!({"user": wanted.user, "configuration": restart.then_some(file)}), lines)
}

/// Gives the administrator the first password again (OPS-CTL-030); the running service does it.
pub async fn reset(config: &Config) -> Result<(Value, Vec<String>), Failure> {
    let answer: Result<Value, _> = Client::new(config.control_socket()).post(RESET_PASSWORD, &json!({})).await;
    answer.map_err(|error| {
        let hint = matches!(error, ControlError::NotRunning { .. }).then(|| "start it: zstack-ctl start".to_owned());
        Failure { message: format!("the password cannot be reset: {error}"), hint }
    })?;
    let text = "the password of admin is `password` again, and his sessions have ended; choose another one soon";
    Ok((json!({"account": "admin"}), vec![text.to_owned()]))
}
