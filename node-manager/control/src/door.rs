//! The listening side: a socket that only root and the service's own user reach, and that is never taken from a service
//! that runs.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
        net as blocking,
    },
    path::{Path, PathBuf},
};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, connect_info::Connected},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    serve::IncomingStream,
};
use tokio::net::UnixListener;

/// Bytes of a socket's path that Linux takes (`sun_path`, with its final zero).
const LONGEST_PATH: usize = 107;

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The kernel takes no such path.
    #[error(
        "{} is too long for a socket: {length} bytes, at most {LONGEST_PATH}; name a shorter one (key `control_socket`)",
        path.display()
    )]
    TooLong {
        /// Path of the socket.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// Another process serves there.
    #[error(
        "another process listens on {}; stop it, or name another socket (key `control_socket`)", path.display()
    )]
    InUse {
        /// Path of the socket.
        path: PathBuf,
    },
    /// Something else lies there, which is not ours to remove.
    #[error("{} is not a socket; remove it, or name another path (key `control_socket`)", path.display())]
    NotASocket {
        /// Path of the socket.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("the control socket {} cannot be opened (key `control_socket`)", path.display())]
    Io {
        /// Path of the socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Who is on the other end, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Its user; nothing when the kernel did not say.
    pub uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// An open socket. Its file goes with it.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    file: OwnFile,
}

/// The socket's file, and the lock that says whose it is.
#[derive(Debug)]
struct OwnFile {
    path: PathBuf,
    inode: u64,
    /// Held as long as the socket is: the lock of a process that was killed goes with it, its file does not.
    _lock: File,
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Somebody who removed it and put another there means that one to stay.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _gone_already = fs::remove_file(&self.path);
        }
    }
}

impl Door {
    /// Listens on `path`, for its owner alone. A socket that a dead process left is replaced, one that is served is not.
    ///
    /// # Errors
    /// [`DoorError`].
    pub fn open(path: &Path) -> Result<Self, DoorError> {
        let at = |source| DoorError::Io { path: path.to_owned(), source };
        // The socket is made under a longer name, which must fit too.
        let fresh = beside(path, ".new");
        let length = fresh.as_os_str().len();
        if length > LONGEST_PATH {
            return Err(DoorError::TooLong { path: path.to_owned(), length });
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(at)?;
        }
        let lock_file = beside(path, ".lock");
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(lock_file).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DoorError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(at(source)),
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at(error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(DoorError::NotASocket { path: path.to_owned() });
            }
            // A program that knows nothing of our lock may serve here.
            Ok(_) if blocking::UnixStream::connect(path).is_ok() => {
                return Err(DoorError::InUse { path: path.to_owned() });
            }
            Ok(_) => {}
        }
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
            _ => {}
        }
        // Renamed into place when it is private: at no moment can others connect.
        let listener = blocking::UnixListener::bind(&fresh).map_err(at)?;
        fs::set_permissions(&fresh, Permissions::from_mode(0o600)).map_err(at)?;
        let inode = fs::symlink_metadata(&fresh).map_err(at)?.ino();
        fs::rename(&fresh, path).map_err(at)?;
        let file = OwnFile { path: path.to_owned(), inode, _lock: lock };
        listener.set_nonblocking(true).map_err(at)?;
        Ok(Self { listener: UnixListener::from_std(listener).map_err(at)?, file })
    }

    /// Answers with `router` until `stop`. Callers that are neither root nor this process's own user are refused.
    ///
    /// # Errors
    /// None that accepting brings: those are waited out.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let Self { listener, file } = self;
        let unknown = async |request: Request| {
            Refusal::new(StatusCode::NOT_FOUND, format!("the service has no {} here", request.uri().path()))
        };
        let router = router.fallback(unknown).layer(middleware::from_fn(admit));
        let service = router.into_make_service_with_connect_info::<Caller>();
        let served = axum::serve(listener, service).with_graceful_shutdown(stop).await;
        drop(file);
        served
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

async fn admit(ConnectInfo(caller): ConnectInfo<Caller>, request: Request, next: Next) -> Response {
    let own = nix::unistd::geteuid().as_raw();
    if caller.uid.is_some_and(|uid| uid == 0 || uid == own) {
        return next.run(request).await;
    }
    tracing::warn!(uid = caller.uid, path = request.uri().path(), "refused on the control socket");
    Refusal::new(StatusCode::FORBIDDEN, "only root and the service's own user may ask").into_response()
}

/// An answer that says why not: `{"error": {"message": ...}}`.
#[derive(Debug, Clone)]
pub struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    /// A refusal with words for a person.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"error": {"message": self.message}});
        (self.status, Json(body)).into_response()
    }
}
