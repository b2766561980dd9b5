//! The same test on SQLite and on MariaDB.

use std::{
    fs::File,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use mn_service_db::{Backend, Db, connect};
use sea_orm::{ConnectionTrait, Database};

/// Runs `test` on a fresh database of each kind.
pub(crate) async fn on_both(test: impl AsyncFn(Db)) {
    test(Db::temporary().await.unwrap()).await;
    let db = mariadb().await;
    assert_eq!(db.backend, Backend::MariaDb);
    test(db).await;
}

/// A fresh MariaDB database.
pub(crate) async fn mariadb() -> Db {
    connect(&mariadb_url().await).await.unwrap()
}

/// Address of a new, empty MariaDB database.
pub(crate) async fn mariadb_url() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Starting takes seconds and happens once; a blocking thread keeps the runtime of the test free.
    let socket = tokio::task::spawn_blocking(|| SERVER.socket.clone()).await.unwrap();
    let root = format!("mysql://root@localhost/?socket={}", socket.display());
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let admin = Database::connect(&root).await.unwrap();
    // The server's default character set must not matter.
    admin.execute_unprepared(&format!("CREATE DATABASE {name} CHARACTER SET latin1")).await.unwrap();
    admin.close().await.unwrap();
    format!("mysql://root@localhost/{name}?socket={}", socket.display())
}

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// A MariaDB server of this test binary's own.
struct Server {
    socket: PathBuf,
    /// Its standard input is open as long as this process lives; then the shell below stops the server, also when
    /// the tests were killed.
    _shell: Child,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap().keep();
        let data = directory.join("data");
        let log = directory.join("log");
        let program = |name: &str| {
            let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"].iter().map(Path::new);
            places.map(|place| place.join(name)).find(|path| path.exists()).unwrap_or_else(|| {
                panic!("{name} is missing; these tests need a MariaDB server: apt-get install mariadb-server")
            })
        };
        let install = Command::new(program("mariadb-install-db"))
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"])
            .arg(format!("--datadir={}", data.display()))
            .output()
            .unwrap();
        assert!(install.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&install.stderr));
        let socket = directory.join("s");
        let script = r#"directory=$1; shift
            "$@" </dev/null &
            server=$!
            read -r _
            kill "$server"; wait "$server"
            rm -rf "$directory""#;
        let shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&directory)
            .arg(program("mariadbd"))
            .args(["--no-defaults", "--user=root", "--skip-networking", "--innodb-buffer-pool-size=128M"])
            .args(["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF", "--lower-case-table-names=0"])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .stdin(Stdio::piped())
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "mariadbd does not answer: {}",
                std::fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Self { socket, _shell: shell }
    }
}
