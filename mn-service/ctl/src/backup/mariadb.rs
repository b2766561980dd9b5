//! Dumps of a MariaDB database, through the server's own programs. They get the password in a private file: a command
//! line can be read by everybody on the machine.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use percent_encoding::percent_decode_str;
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    task::JoinHandle,
};
use url::Url;

use crate::{
    event::Reporter,
    failure::{AtPath as _, Failure},
};

const CHUNK: usize = 1 << 18;
const INSTALL: &str = "install Debian's package mariadb-client";

/// How to reach the database.
#[derive(Clone)]
pub(crate) struct Server {
    user: String,
    password: Option<String>,
    host: String,
    port: u16,
    socket: Option<String>,
    database: String,
}

impl Server {
    /// From `mysql://user:password@host:port/name?socket=/path`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        // The URL holds a password and is not repeated.
        let wrong = |what: &str| {
            Failure::new(format!("`url` of [database] {what}"))
                .hint("write mysql://user:password@host/database, or leave it out for SQLite")
        };
        let url = Url::parse(text).map_err(|error| wrong(&format!("is no URL: {error}")))?;
        if !["mysql", "mariadb"].contains(&url.scheme()) {
            return Err(wrong(&format!("names an unknown kind of database, {}", url.scheme())));
        }
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let database = plain(url.path().trim_start_matches('/'));
        if database.is_empty() {
            return Err(wrong("names no database"));
        }
        Ok(Self {
            user: plain(url.username()),
            password: url.password().map(plain),
            host: url.host_str().unwrap_or("localhost").to_owned(),
            port: url.port().unwrap_or(3306),
            socket: url.query_pairs().find(|(key, _)| key == "socket").map(|(_, value)| value.into_owned()),
            database,
        })
    }

    /// The same server for its administrator.
    pub(crate) fn as_root(&self, password: &str) -> Self {
        Self { user: "root".to_owned(), password: Some(password.to_owned()), ..self.clone() }
    }

    /// The same user with another password.
    pub(crate) fn with_password(&self, password: &str) -> Self {
        Self { password: Some(password.to_owned()), ..self.clone() }
    }

    /// The user.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// The user's password, where there is one.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// A file of options for the server's programs, in the private folder `work`.
    fn options(&self, work: &Path) -> Result<PathBuf, Failure> {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut text = format!("[client]\nuser={}\n", quoted(&self.user));
        if let Some(password) = &self.password {
            text.push_str(&format!("password={}\n", quoted(password)));
        }
        match &self.socket {
            Some(socket) => text.push_str(&format!("protocol=socket\nsocket={}\n", quoted(socket))),
            // As the service does: encrypted where the server can, whatever its certificate says.
            None => text.push_str(&format!(
                "protocol=tcp\nhost={}\nport={}\nssl-verify-server-cert=0\n",
                quoted(&self.host),
                self.port
            )),
        }
        let path = work.join("client.cnf");
        let open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
        open.and_then(|mut file| file.write_all(text.as_bytes())).at("write", &path)?;
        Ok(path)
    }

    fn program(&self, name: &str, work: &Path) -> Result<Command, Failure> {
        let mut command = Command::new(name);
        // Their standard input and output are pipes: when we are killed they end, too.
        command.arg(format!("--defaults-file={}", self.options(work)?.display())).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }

    /// The answer to statements, a line a row.
    async fn ask(&self, work: &Path, sql: &str) -> Result<Vec<String>, Failure> {
        let mut command = self.program("mariadb", work)?;
        let mut running = Running::start(command.args(["--batch", "--skip-column-names"]))?;
        running.feed(sql.as_bytes()).await;
        // It answers until its input ends.
        drop(running.child.stdin.take());
        let mut text = String::new();
        let read = match running.child.stdout.take() {
            Some(mut out) => out.read_to_string(&mut text).await,
            None => Ok(0),
        };
        running.end().await?;
        read.map_err(|error| Failure::new(format!("the database's answer cannot be read: {error}")))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Names of the tables.
    pub(crate) async fn tables(&self, work: &Path) -> Result<Vec<String>, Failure> {
        let sql = format!(
            "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_TYPE = 'BASE TABLE'",
            literal(&self.database)
        );
        self.ask(work, &sql).await
    }

    /// Steps of the schema that the database has.
    pub(super) async fn migrations(&self, work: &Path) -> Result<Vec<String>, Failure> {
        let sql = format!("SELECT version FROM {}.seaql_migrations ORDER BY version", name(&self.database));
        self.ask(work, &sql).await
    }

    /// Whether the user's password is one that the server knows for him. On its own machine the server may have let him in
    /// for who he is there, whatever password he gave; one that has no password to compare counts as right.
    pub(crate) async fn knows_password(&self, work: &Path) -> Result<bool, Failure> {
        let (Some(password), true) = (&self.password, self.socket.is_some()) else { return Ok(true) };
        let sql = format!(
            "SELECT COALESCE(SUM(Priv LIKE '%\"*%'), 0) = 0 \
             OR COALESCE(SUM(Priv LIKE CONCAT('%\"', PASSWORD({}), '\"%')), 0) > 0 \
             FROM mysql.global_priv WHERE User = {} AND Host = 'localhost'",
            literal(password),
            literal(&self.user)
        );
        Ok(self.ask(work, &sql).await?.first().is_some_and(|line| line == "1"))
    }

    /// From where the user `user` may come: the second half of MariaDB's account names.
    pub(crate) async fn hosts_of(&self, work: &Path, user: &str) -> Result<Vec<String>, Failure> {
        self.ask(work, &format!("SELECT Host FROM mysql.user WHERE User = {}", literal(user))).await
    }

    /// Changes the password of `user` wherever he comes from.
    pub(crate) async fn set_password(
        &self,
        work: &Path,
        user: &str,
        hosts: &[String],
        password: &str,
    ) -> Result<(), Failure> {
        let account =
            |host: &String| format!("{}@{} IDENTIFIED BY {}", literal(user), literal(host), literal(password));
        let accounts: Vec<String> = hosts.iter().map(account).collect();
        self.ask(work, &format!("ALTER USER {};\n", accounts.join(", "))).await.map(drop)
    }

    /// Writes the statements that make the database, as it is at one moment, to the new file `to`.
    pub(super) async fn dump(&self, work: &Path, to: &Path, reporter: &mut Reporter) -> Result<(), Failure> {
        let sql = format!(
            "SELECT COALESCE(SUM(DATA_LENGTH), 0) FROM information_schema.TABLES WHERE TABLE_SCHEMA = {}",
            literal(&self.database)
        );
        let total: u64 = self.ask(work, &sql).await?.first().and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut command = self.program("mariadb-dump", work)?;
        command.args(["--single-transaction", "--routines", "--quick", "--hex-blob", "--no-tablespaces"]);
        command.arg("--default-character-set=utf8mb4");
        let mut running = Running::start(command.arg("--").arg(&self.database))?;
        let open = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to);
        let mut file = File::from_std(open.at("make", to)?);
        let (mut buffer, mut done) = (vec![0; CHUNK], 0_u64);
        if let Some(mut out) = running.child.stdout.take() {
            loop {
                let read = out.read(&mut buffer).await.at("write", to)?;
                if read == 0 {
                    break;
                }
                file.write_all(&buffer[..read]).await.at("write", to)?;
                done += read as u64;
                #[expect(clippy::cast_precision_loss, reason = "a part of a whole, for people")]
                reporter.progress((done as f64 / total.max(done) as f64) / 2.0, "copying the database");
            }
        }
        running.end().await?;
        file.sync_all().await.at("write", to)
    }

    /// Makes the database, and its user as the configuration names it, where they are missing. For the administrator.
    pub(super) async fn prepare(&self, work: &Path, user: &Self) -> Result<(), Failure> {
        let password = user.password.as_deref().unwrap_or_default();
        let mut sql = format!("CREATE DATABASE IF NOT EXISTS {} CHARACTER SET utf8mb4;\n", name(&self.database));
        for host in ["localhost", "%"] {
            let account = format!("{}@{}", literal(&user.user), literal(host));
            sql.push_str(&format!(
                "CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {};\nGRANT ALL ON {}.* TO {account};\n",
                literal(password),
                name(&self.database)
            ));
        }
        self.ask(work, &sql).await.map(drop)
    }

    /// Drops the database and makes an empty one of its name. Whoever may do everything with it may do that, and rights
    /// stay.
    pub(super) async fn anew(&self, work: &Path) -> Result<(), Failure> {
        let database = name(&self.database);
        let sql = format!("DROP DATABASE IF EXISTS {database};\nCREATE DATABASE {database} CHARACTER SET utf8mb4;\n");
        self.ask(work, &sql).await.map(drop)
    }

    /// Replaces everything in the database by what the statements in `from` make.
    pub(super) async fn load(&self, work: &Path, from: &Path, reporter: &mut Reporter) -> Result<(), Failure> {
        let mut sql = "SET FOREIGN_KEY_CHECKS = 0;\n".to_owned();
        for table in self.tables(work).await? {
            sql.push_str(&format!("DROP TABLE {}.{};\n", name(&self.database), name(&table)));
        }
        self.ask(work, &sql).await?;
        let mut command = self.program("mariadb", work)?;
        command.args(["--batch", "--default-character-set=utf8mb4", "--"]).arg(&self.database).stdout(Stdio::null());
        let mut running = Running::start(&mut command)?;
        let mut file = File::open(from).await.at("read", from)?;
        let total = file.metadata().await.at("read", from)?.len();
        let (mut buffer, mut done) = (vec![0; CHUNK], 0_u64);
        loop {
            let read = file.read(&mut buffer).await.at("read", from)?;
            if read == 0 || !running.feed(&buffer[..read]).await {
                break;
            }
            done += read as u64;
            #[expect(clippy::cast_precision_loss, reason = "a part of a whole, for people")]
            reporter.progress(done as f64 / total.max(1) as f64, "recovering the database");
        }
        running.end().await
    }
}

/// A program of the server, and what it says of errors.
struct Running {
    child: Child,
    words: JoinHandle<String>,
    name: String,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self, Failure> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| {
            let failure = Failure::new(format!("cannot run {name}: {error}"));
            if error.kind() == std::io::ErrorKind::NotFound { failure.hint(INSTALL) } else { failure }
        })?;
        let err = child.stderr.take();
        let words = tokio::spawn(async move {
            let mut text = Vec::new();
            if let Some(mut err) = err {
                // What was said before it broke off is all there is.
                let _broken = err.read_to_end(&mut text).await;
            }
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        Ok(Self { child, words, name })
    }

    /// Gives it input; false when it takes no more. It says itself why, at its end.
    async fn feed(&mut self, bytes: &[u8]) -> bool {
        match &mut self.child.stdin {
            Some(input) => input.write_all(bytes).await.is_ok() && input.flush().await.is_ok(),
            None => false,
        }
    }

    /// Waits for its end.
    async fn end(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await;
        let words = self.words.await.unwrap_or_default();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(said(&self.name, status, &words)),
            Err(error) => Err(Failure::new(format!("cannot wait for {}: {error}", self.name))),
        }
    }
}

fn said(name: &str, status: ExitStatus, words: &str) -> Failure {
    let failure = Failure::new(format!("{name} failed ({status}): {words}"));
    if words.contains("Access denied") {
        failure.hint("user and password are those of `url` in [database]; --mysql-root-password gives root's")
    } else if words.contains("Can't connect") {
        failure.hint("does the database server run? its address is that of `url` in [database]")
    } else {
        failure
    }
}

/// A text in a statement.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name in a statement.
fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_passwords_are_not_repeated() {
        let server = Server::parse("mysql://zstack:a%40%22b@192.0.2.1:3307/cloud").unwrap();
        assert_eq!(server.password.as_deref(), Some("a@\"b"));
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(server.options(folder.path()).unwrap()).unwrap();
        assert!(text.contains("password=\"a@\\\"b\"") && text.contains("port=3307"), "{text}");
        for wrong in ["mysql://u:geheim@host", "postgres://u:geheim@host/x", "geheim"] {
            let failure = Server::parse(wrong).err().unwrap();
            assert!(!failure.message.contains("geheim") && failure.message.contains("[database]"), "{failure}");
        }
    }
}
