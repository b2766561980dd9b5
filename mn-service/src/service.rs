//! Starting and stopping the service.

use std::{fs, io::Write, net::SocketAddr, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use mn_service_db::entity::{account, management_node};
use mn_service_types::{ADMIN_ACCOUNT, ApiError, date::now_millis, error::ApiResult};
use mn_service_workflow::Engine;
use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};
use tokio::net::TcpListener;

use crate::{
    agents::Agents,
    app::{App, OrInternal, Parts},
    ca::Authority,
    config::{Config, layout},
    control,
    deadline::Watch,
    deploy::trust::Trust,
    door::{
        Door, Peer,
        certificate::{Certificate, CertificateError},
    },
    http, initial_password, jobs,
    password::Passwords,
    resource,
    saga_store::SagaStore,
    secret::Sealer,
    session::Sessions,
    settings::Settings,
};

/// How long steps under way may take to end when the service stops.
const GRACE: Duration = Duration::from_secs(20);

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A folder or file cannot be used.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Database and keys are neither those of before a restore nor those of the backup.
    #[error(
        "a restore is under way or was interrupted, as {} says; run it again with the backup that is named there: \
         zstack-ctl restore_mysql -f FILE", path.display()
    )]
    Restoring {
        /// Says so.
        path: std::path::PathBuf,
    },
    /// The service is being put back as it was installed.
    #[error(
        "a reset is under way or was interrupted, as {} says; finish it as it was begun: zstack-ctl reset, with or \
         without --drop-database", path.display()
    )]
    Resetting {
        /// Says so.
        path: std::path::PathBuf,
    },
    /// The database cannot be used.
    #[error("the database cannot be opened")]
    Database(#[from] mn_service_db::DbError),
    /// Secrets cannot be used.
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Certificates(#[from] crate::ca::CaError),
    /// The management node's SSH key cannot be used.
    #[error("SSH files of the management node")]
    Ssh(#[from] crate::deploy::trust::TrustError),
    /// The certificate of the service cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Certificates cannot be used for connections.
    #[error(transparent)]
    Tls(#[from] node_manager_client::TlsError),
    /// The control socket cannot be opened.
    #[error(transparent)]
    Control(#[from] node_control::DoorError),
    /// Two workflows share a name.
    #[error(transparent)]
    Workflows(#[from] mn_service_workflow::RegistryError),
    /// Anything that the API would report.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Opens everything and takes up interrupted jobs; serves nothing yet.
pub async fn open(config: Config) -> Result<Arc<App>, StartError> {
    shared_folder(&config.data_dir)?;
    let unfinished = layout::unfinished_restore(&config.data_dir);
    if unfinished.exists() {
        return Err(StartError::Restoring { path: unfinished });
    }
    let unfinished = layout::unfinished_reset(&config.data_dir);
    if unfinished.exists() {
        return Err(StartError::Resetting { path: unfinished });
    }
    let sealer = Sealer::open(&config.data_dir.join("secret.key"))?;
    let authority = Authority::open(&config.data_dir.join("ca"))?;
    // Made now, so that operators find the public key before they add a host that shall know it.
    Trust::open(&config.data_dir)?.key_pair()?;
    let db = mn_service_db::connect(&config.database_url()).await?;
    let agents = Agents::new(&authority.management()?, config.simulator.clone(), config.agent_port)?;
    let settings = Settings::load(&db).await?;
    let sessions = Sessions::load(&db).await?;
    let passwords = Passwords::new(Duration::from_secs(config.remember_passwords_seconds));
    let node_uuid = node_uuid(&config)?;
    let parts = Parts {
        config,
        db: db.clone(),
        settings,
        sessions,
        passwords,
        apis: resource::apis(),
        agents,
        authority,
        sealer,
        node_uuid,
    };
    let app = Arc::new(App::new(parts));
    first_rows(&app).await?;
    let watch = Watch { progress: app.progress.clone(), deadlines: app.deadlines.clone() };
    let engine = Engine::new(Arc::new(SagaStore::new(db)), app.clone(), resource::workflows()?, Arc::new(watch));
    app.set_engine(engine);
    let taken_up = jobs::recover(&app).await?;
    if taken_up > 0 {
        tracing::info!(jobs = taken_up, "jobs from before the restart are taken up");
    }
    Ok(app)
}

/// Makes the data folder. On a node that is a host as well the agent has its folders there, and what serves networks and
/// VMs reaches its files below them under users of its own (F-023): these may pass and see no list. What lies
/// here from before is closed; what the program writes is its own by the umask of `main`.
fn shared_folder(path: &std::path::Path) -> Result<(), StartError> {
    let at = |source| StartError::Io { what: format!("the data folder {} cannot be used", path.display()), source };
    fs::create_dir_all(path).map_err(at)?;
    for entry in fs::read_dir(path).map_err(at)? {
        let entry = entry.map_err(at)?;
        let close = || -> std::io::Result<()> {
            let meta = entry.metadata()?;
            let mode = meta.permissions().mode();
            if meta.is_file() && mode & 0o077 != 0 {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode & 0o700))?;
            }
            Ok(())
        };
        match close() {
            // The agent works in the same folder, and its files come and go.
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
            closed => closed.map_err(at)?,
        }
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o711)).map_err(at)
}

/// Uuid of this node: kept in a file, because the database may be shared by several.
fn node_uuid(config: &Config) -> Result<String, StartError> {
    let path = config.data_dir.join("node-uuid");
    if let Ok(text) = fs::read_to_string(&path)
        && mn_service_types::is_uuid(text.trim())
    {
        return Ok(text.trim().to_owned());
    }
    let uuid = mn_service_types::new_uuid();
    let at = |source| StartError::Io { what: format!("{} cannot be written", path.display()), source };
    fs::write(&path, &uuid).map_err(at)?;
    Ok(uuid)
}

/// Rows that every cloud has.
async fn first_rows(app: &App) -> ApiResult<()> {
    let admin = account::Entity::find_by_id(ADMIN_ACCOUNT).one(app.db.read()).await.or_internal()?;
    let password = match admin {
        Some(_) => None,
        None => Some(app.passwords.hash(initial_password::SENT).await?),
    };
    let address = app.own_node.reached(app.config.listen).ip().to_string();
    app.write(|tx| async move {
        let now = now_millis();
        if let Some(password) = password {
            let row = account::ActiveModel {
                uuid: Set(ADMIN_ACCOUNT.to_owned()),
                name: Set("admin".to_owned()),
                description: Set(None),
                password: Set(password),
                r#type: Set("SystemAdmin".to_owned()),
                state: Set("Enabled".to_owned()),
                create_date: Set(now),
                last_op_date: Set(now),
            };
            account::Entity::insert(row).exec_without_returning(&*tx).await.or_internal()?;
        }
        let node = management_node::ActiveModel {
            uuid: Set(app.node_uuid.clone()),
            host_name: Set(address),
            join_date: Set(now),
            heart_beat: Set(now),
        };
        management_node::Entity::insert(node)
            .on_conflict(
                // The address follows by its timer, with what goes by it.
                OnConflict::column(management_node::Column::Uuid)
                    .update_column(management_node::Column::HeartBeat)
                    .to_owned(),
            )
            .exec_without_returning(&*tx)
            .await
            .or_internal()?;
        resource::l3_network::ensure_providers(&tx).await?;
        resource::host::forget_connections(&tx).await
    })
    .await
}

/// A service that answers.
#[derive(Debug)]
pub struct Serving {
    /// The service.
    pub app: Arc<App>,
    /// Where the API listens.
    pub address: SocketAddr,
    /// Where the web UI listens.
    pub ui_address: SocketAddr,
    stop: tokio::sync::watch::Sender<bool>,
    servers: tokio::task::JoinSet<std::io::Result<()>>,
    timers: tokio::task::JoinSet<()>,
}

/// Starts answering and runs the timers.
pub async fn serve(app: Arc<App>) -> Result<Serving, StartError> {
    let certificate = Arc::new(Certificate::load(&app.config.tls, &app.config.data_dir.join("ca"))?);
    let door = async |address, key| {
        let listener = bind(address, key).await?;
        let at = |source| StartError::Io { what: "a listening socket has no address".to_owned(), source };
        Door::open(listener, certificate.clone()).map_err(at)
    };
    let api = door(app.config.listen, "listen").await?;
    let ui = door(app.config.ui_listen, "ui_listen, the web UI").await?;
    let consoles = door(app.config.console_listen, "console_listen, the console proxy").await?;
    let (address, ui_address) = (api.address(), ui.address());
    app.consoles.listens(consoles.address());
    let control = node_control::Door::open(&app.config.control_socket())?;
    let local = control::router(&app, address, ui_address, consoles.address());
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut servers = tokio::task::JoinSet::new();
    let proxy = crate::console::router(app.clone());
    for (door, router) in [(api, http::router(app.clone())), (ui, crate::ui::router(&app)), (consoles, proxy)] {
        let router = router.into_make_service_with_connect_info::<Peer>();
        let mut signal = stopped.clone();
        let shutdown = async move {
            // An error means that the sender is gone, which is a stop too.
            let _gone = signal.wait_for(|stop| *stop).await;
        };
        servers.spawn(async move { axum::serve(door, router).with_graceful_shutdown(shutdown).await });
    }
    let mut signal = stopped.clone();
    servers.spawn(control.serve(local, async move {
        let _gone = signal.wait_for(|stop| *stop).await;
    }));
    write_pid(&app.config)?;
    let mut timers = crate::timers::start(&app);
    timers.spawn(certificate.renew());
    tracing::info!(%address, %ui_address, "serving");
    Ok(Serving { app, address, ui_address, stop, servers, timers })
}

/// Takes an address; `key` is where the configuration names it.
async fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Io {
        what: format!("cannot listen on {address} ({key}); is another service using the port?"),
        source,
    })
}

fn write_pid(config: &Config) -> Result<(), StartError> {
    let path = config.data_dir.join("mn-service.pid");
    let at = |source| StartError::Io { what: format!("{} cannot be written", path.display()), source };
    let mut file = fs::File::create(&path).map_err(at)?;
    writeln!(file, "{}", std::process::id()).map_err(at)
}

impl Serving {
    /// Stops answering, lets steps under way end, and leaves unfinished jobs for the next start.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        self.timers.shutdown().await;
        if let Ok(engine) = self.app.engine() {
            engine.shutdown(GRACE).await;
        }
        // Clients that keep a connection open are not waited for.
        self.servers.shutdown().await;
        if let Err(error) = self.app.sessions.flush(&self.app.db).await {
            tracing::warn!(%error, "session expiries were not written back");
        }
        let pid_file = self.app.config.data_dir.join("mn-service.pid");
        if let Err(error) = fs::remove_file(&pid_file) {
            tracing::debug!(%error, "the PID file was gone already");
        }
    }
}
