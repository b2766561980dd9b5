//! The first start of a management node (OS-BOOT-001, OS-MODE-010): a database and a message bus with passwords of this
//! node's own, and a configuration that knows them. Every step can be done again: a start that was cut off is finished by
//! the next one.

mod agent;
mod bus_files;
mod data_folder;
mod database_files;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use clap::{Args, Subcommand};
use rand::Rng as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::{
    config::Config,
    event::Reporter,
    failure::{AtPath as _, Failure},
    settings,
};

/// Name of the database, and of its user and that of the bus (OPS-CTL-031).
pub(crate) const NAME: &str = "zstack";
/// Where the generated passwords are.
pub(crate) const PASSWORDS: &str = "/etc/zstack/generated-passwords.toml";
/// What controls RabbitMQ.
pub(crate) const BUS_CONTROL: &str = "rabbitmqctl";
/// Letters and digits of a generated password: they need no quoting anywhere, and 24 of them have 142 bits.
const LENGTH: usize = 24;

/// Options of `prepare_node`.
#[derive(Debug, Args)]
pub struct Options {
    /// What to prepare
    #[command(subcommand)]
    part: Part,
    /// Where the generated passwords are kept, for root alone
    #[arg(long, global = true, value_name = "FILE", default_value = PASSWORDS)]
    passwords: PathBuf,
    /// Print JSON objects, one a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// A part of a node.
#[derive(Debug, Subcommand)]
enum Part {
    /// The files of the database server of this machine, which does not run yet
    DatabaseFiles {
        /// Folder that gets them
        #[arg(long, value_name = "DIR", default_value = "/var/lib/mysql")]
        folder: PathBuf,
        /// User that the server runs as
        #[arg(long, value_name = "USER", default_value = "mysql")]
        user: String,
    },
    /// The database server of this machine: a database, a user, a password for root, and the address in the configuration
    Database {
        /// Socket of the server
        #[arg(long, value_name = "SOCKET", default_value = "/run/mysqld/mysqld.sock")]
        socket: PathBuf,
    },
    /// The files of the message bus of this machine, which does not run yet: what a first start that was cut off left goes
    BusFiles {
        /// Folder that has them
        #[arg(long, value_name = "DIR", default_value = "/var/lib/rabbitmq")]
        folder: PathBuf,
        /// User that the bus runs as
        #[arg(long, value_name = "USER", default_value = "rabbitmq")]
        user: String,
    },
    /// The message bus of this machine: a user in place of the guest that everybody knows
    Bus {
        /// The program that controls it
        #[arg(long, value_name = "PROGRAM", default_value = BUS_CONTROL)]
        control: PathBuf,
    },
    /// The agent of this machine: a certificate of the cloud's own authority
    Agent {
        /// The management service, which has the authority
        #[arg(long, value_name = "PROGRAM", default_value = "mn-service")]
        service: PathBuf,
        /// Folder of the agent's certificate
        #[arg(long, value_name = "DIR", default_value = "/etc/zstack/tls")]
        tls: PathBuf,
    },
}

/// Passwords that this node made itself.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Passwords {
    #[serde(skip_serializing_if = "Option::is_none")]
    database_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database_zstack: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bus_zstack: Option<String>,
    /// What it is about to become, while that is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bus_zstack_next: Option<String>,
}

/// Does it.
///
/// # Errors
/// A server does not answer or refuses, or a file cannot be written; what is done by then is found done the next time.
pub async fn prepare(
    options: &Options,
    config: &Config,
    reporter: &mut Reporter,
) -> Result<(Value, Vec<String>), Failure> {
    match &options.part {
        Part::DatabaseFiles { folder, user } => database_files::files(folder, user, reporter).await,
        Part::Database { socket } => database(config, &options.passwords, socket, reporter).await,
        Part::Agent { service, tls } => agent::agent(config, service, tls, reporter).await,
        Part::BusFiles { folder, user } => bus_files::files(folder, user, reporter),
        Part::Bus { control } => bus(&options.passwords, control, reporter).await,
    }
}

async fn database(
    config: &Config,
    file: &Path,
    socket: &Path,
    reporter: &mut Reporter,
) -> Result<(Value, Vec<String>), Failure> {
    let text = match fs::read_to_string(&config.file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.at("read", &config.file)?,
    };
    let known: mn_service_config::Config =
        toml::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", config.file.display())))?;
    if known.database.url.is_some() {
        let line = format!("{} names a database already; nothing was changed", config.file.display());
        return Ok((json!({"changed": false}), vec![line]));
    }
    // The passwords are on the disk before a server knows them: nobody is locked out by a power cut in between.
    let (root, user) = keep(file, |passwords| {
        let root = passwords.database_root.get_or_insert_with(generated).clone();
        (root, passwords.database_zstack.get_or_insert_with(generated).clone())
    })?;
    reporter.progress(0.2, "making the database");
    let url = format!("mysql://{NAME}:{user}@localhost/{NAME}?socket={}", socket.display());
    let fresh = settings::changed(&config.file, &text, &[format!("database.url={url}")])?;
    let statements = format!(
        "CREATE DATABASE IF NOT EXISTS {NAME} CHARACTER SET utf8mb4;\n\
         CREATE USER IF NOT EXISTS '{NAME}'@'localhost' IDENTIFIED BY '{user}';\n\
         ALTER USER '{NAME}'@'localhost' IDENTIFIED BY '{user}';\n\
         GRANT ALL PRIVILEGES ON {NAME}.* TO '{NAME}'@'localhost';\n\
         ALTER USER 'root'@'localhost' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD('{root}');\n"
    );
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--batch", "--user=root"]).arg(format!("--socket={}", socket.display()));
    run(client, "mariadb", &statements).await.map_err(|failure| {
        failure.hint("systemctl status mariadb shows whether the database server runs; root needs no password there")
    })?;
    // The configuration says that the database is there: it must not be on the disk before the database is. That may be on
    // a file system of its own, and the server does not wait for the folder of a new database.
    nix::unistd::sync();
    reporter.progress(0.8, "writing the configuration");
    if let Some(folder) = config.file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).at("make", folder)?;
    }
    settings::write(&config.file, &fresh)?;
    let lines = vec![
        format!("the database {NAME} is there, and {} names it", config.file.display()),
        format!("the password of its root is in {}", file.display()),
    ];
    Ok((json!({"changed": true, "configuration": config.file, "passwords": file}), lines))
}

async fn bus(file: &Path, control: &Path, reporter: &mut Reporter) -> Result<(Value, Vec<String>), Failure> {
    let password = keep(file, |passwords| passwords.bus_zstack.get_or_insert_with(generated).clone())?;
    let name = control.display().to_string();
    let rabbit = |words: &[&str]| {
        let mut command = Command::new(control);
        command.arg("--quiet").args(words);
        command
    };
    reporter.progress(0.1, "waiting for the message bus");
    run(rabbit(&["await_startup", "--timeout", "300"]), &name, "").await?;
    let users = run(rabbit(&["list_users", "--no-table-headers"]), &name, "").await?;
    let has = |user: &str| users.lines().any(|line| line.split_whitespace().next() == Some(user));
    reporter.progress(0.5, "making its user");
    // User and rights at once. The program runs as a user of its own, so others can read the file, too: what is in there is a salted hash of 142 random bits.
    let work = tempfile::tempdir().at("make a folder in", &std::env::temp_dir())?;
    fs::set_permissions(work.path(), fs::Permissions::from_mode(0o755)).at("open", work.path())?;
    let definitions = work.path().join("definitions.json");
    fs::write(&definitions, definition(&password, rand::random()).to_string()).at("write", &definitions)?;
    fs::set_permissions(&definitions, fs::Permissions::from_mode(0o644)).at("open", &definitions)?;
    run(rabbit(&["import_definitions", &definitions.display().to_string()]), &name, "").await?;
    // Whatever change was under way: this is its password now.
    keep(file, |passwords| passwords.bus_zstack_next = None)?;
    if has("guest") {
        run(rabbit(&["delete_user", "guest"]), &name, "").await?;
    }
    let line = format!("the message bus knows the user {NAME}; his password is in {}", file.display());
    Ok((json!({"user": NAME, "passwords": file}), vec![line]))
}

/// The user of the bus as RabbitMQ imports it; [its way to keep passwords](https://www.rabbitmq.com/docs/passwords) is a
/// salt of four bytes, and behind it the SHA-256 of both.
fn definition(password: &str, salt: [u8; 4]) -> Value {
    let digest = Sha256::new().chain_update(salt).chain_update(password).finalize();
    let hash = BASE64.encode([&salt[..], &digest[..]].concat());
    json!({
        "vhosts": [{"name": "/"}],
        "users": [{
            "name": NAME, "password_hash": hash, "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []
        }],
        "permissions": [{"user": NAME, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
    })
}

/// Runs a program and gives it `input`; what it printed. Its words are part of the failure, the input is not.
pub(crate) async fn run(command: Command, name: &str, input: &str) -> Result<String, Failure> {
    let output = ended(command, name, input).await?;
    success(name, &output)
}

/// Runs a program and gives it `input`; how it ended.
pub(crate) async fn ended(mut command: Command, name: &str, input: &str) -> Result<Output, Failure> {
    let failed = |why: String| Failure::new(format!("{name} failed: {why}"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .env("LC_ALL", "C.UTF-8");
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Who ends before he has read everything says why on standard error.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait_with_output().await.map_err(|error| failed(error.to_string()))
}

/// What a program printed, if all went well.
pub(crate) fn success(name: &str, output: &Output) -> Result<String, Failure> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let (said, told) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    let why = [said.trim(), told.trim()].into_iter().find(|text| !text.is_empty());
    let why = why.map_or_else(|| output.status.to_string(), str::to_owned);
    Err(Failure::new(format!("{name} failed: {why}")))
}

/// Changes the file of passwords, and has it on the disk before it returns.
pub(crate) fn keep<T>(file: &Path, change: impl FnOnce(&mut Passwords) -> T) -> Result<T, Failure> {
    let mut passwords: Passwords = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Passwords::default(),
        read => toml::from_str(&read.at("read", file)?)
            // The message of the parser would quote a password.
            .map_err(|_| Failure::new(format!("{} is no list of passwords; move it away", file.display())))?,
    };
    let before = passwords.clone();
    let result = change(&mut passwords);
    if passwords == before {
        return Ok(result);
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder).at("make", folder)?;
    let fresh = file.with_extension("new");
    let text = toml::to_string(&passwords).map_err(|error| Failure::new(error.to_string()))?;
    let text = format!(
        "# Made by this node at its first start. Later changes of the database's passwords are not written here.\n{text}"
    );
    let mut open =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh).at("write", &fresh)?;
    open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).at("write", &fresh)?;
    fs::rename(&fresh, file).at("replace", file)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).at("write", folder)?;
    Ok(result)
}

fn generated() -> String {
    let mut random = rand::rng();
    (0..LENGTH).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RabbitMQ's documentation of passwords.
    #[test]
    fn the_bus_gets_the_hash_that_it_would_make_itself() {
        let user = definition("test12", [0x90, 0x8d, 0xc6, 0x0a]);
        assert_eq!(user["users"][0]["password_hash"], "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR");
    }

    #[test]
    fn a_password_is_made_once_and_kept_for_root_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("etc/passwords.toml");
        let make = || keep(&file, |all| all.bus_zstack.get_or_insert_with(generated).clone()).unwrap();
        let first = make();
        assert_eq!(first.len(), LENGTH);
        assert_eq!(make(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "bus_zstack = 'geheim").unwrap();
        let failure = keep(&file, |_| ()).unwrap_err();
        assert!(!failure.message.contains("geheim"), "{failure}");
    }
}
