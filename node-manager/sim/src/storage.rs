//! Files of all simulated hosts: names, sizes and layers; contents only of what was uploaded.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use node_manager::{
    drivers::{ByteStream, Content, Context, Result, Storage},
    image::transfers::Transfers,
};
use node_manager_types::{
    AgentError, ByteSize, ErrorKind, HostId, StorageId,
    image::{Access, ImageFacts, ImageFormat, ImageServer, ImageSource},
    operation::AllowTransfer,
    storage::{Capacity, ContentQuery, StorageRoot, VolumeFacts},
};
use sha2::{Digest as _, Sha256};

use crate::drivers::{Simulated, locked};

/// What a new layer or volume takes: the header and tables of an empty qcow2 file.
const EMPTY: u64 = 196 * 1024;
/// Size of an image that came by URL; nothing is downloaded.
const IMAGE: u64 = 1 << 30;
/// Bytes an upload may hold in memory.
const UPLOAD: usize = 64 << 20;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct File {
    size: u64,
    actual: u64,
    backing: Option<String>,
    image: Option<(ImageFormat, String)>,
    bytes: Option<Vec<u8>>,
}

/// Host (absent for shared directories) and path.
type Key = (Option<HostId>, String);

#[derive(Default)]
struct Shelves {
    roots: BTreeMap<Key, StorageId>,
    files: BTreeMap<Key, File>,
    /// What each host's agent was told of transfers.
    transfers: BTreeMap<HostId, Transfers>,
}

/// Every file of every host.
#[derive(Default)]
pub(crate) struct Depot(Mutex<Shelves>);

fn error(kind: ErrorKind, text: String) -> AgentError {
    AgentError::new(kind, text)
}

impl Depot {
    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Simulated {
    fn key_of(&self, host: HostId, path: &str) -> Key {
        let shared = self.options.shared.iter().any(|dir| path == dir || path.starts_with(&format!("{dir}/")));
        ((!shared).then_some(host), path.to_owned())
    }

    fn key(&self, path: &str) -> Key {
        self.key_of(self.id, path)
    }

    /// True when a VM of this host could open the file.
    pub(crate) fn has_file(&self, path: &str) -> bool {
        self.depot.lock().files.contains_key(&self.key(path))
    }

    /// Files of this host with their virtual sizes, for the state dump.
    pub(crate) fn files(&self) -> BTreeMap<String, u64> {
        let own = |key: &Key| key.0 == Some(self.id) || key.0.is_none();
        self.depot
            .lock()
            .files
            .iter()
            .filter(|(key, _)| own(key))
            .map(|(key, file)| (key.1.clone(), file.size))
            .collect()
    }

    /// Refuses to change a file behind the back of the VM that has it open.
    fn unlocked(&self, path: &str) -> Result<()> {
        self.opener(path).map_or(Ok(()), |vm| Err(locked(path, vm)))
    }

    /// Loses a file of this host; true when there was one.
    pub(crate) fn lose(&self, path: &str) -> bool {
        self.depot.lock().files.remove(&self.key(path)).is_some()
    }

    /// Layers of this host that stand on a file that is not there, each with that file: their data is lost.
    pub(crate) fn broken(&self) -> Vec<(String, String)> {
        let shelves = self.depot.lock();
        let own = |key: &Key| key.0 == Some(self.id) || key.0.is_none();
        let layers = shelves.files.iter().filter(|(key, _)| own(key));
        let broken = layers.filter_map(|(key, file)| {
            let below = file.backing.clone()?;
            (!shelves.files.contains_key(&self.key(&below))).then(|| (key.1.clone(), below))
        });
        broken.collect()
    }

    fn check(&self, shelves: &Shelves, root: &StorageRoot, path: Option<&str>) -> Result<()> {
        let owner = shelves.roots.get(&self.key(&root.path));
        if owner != Some(&root.id) {
            let text = match owner {
                Some(owner) => format!("{} belongs to storage {owner}, not to {}", root.path, root.id),
                None => format!(
                    "{} does not belong to storage {}: its marker is missing; initialise the storage",
                    root.path, root.id
                ),
            };
            return Err(error(ErrorKind::Conflict, text));
        }
        match path {
            Some(path) if !path.starts_with(&format!("{}/", root.path)) || path.split('/').any(|part| part == "..") => {
                Err(error(
                    ErrorKind::Invalid,
                    format!("{path} is refused: it is not below the storage root {}", root.path),
                ))
            }
            _ => Ok(()),
        }
    }

    fn room(&self, shelves: &Shelves, root: &StorageRoot) -> Capacity {
        let (host, _) = self.key(&root.path);
        let below = format!("{}/", root.path);
        let used: u64 = shelves
            .files
            .iter()
            .filter(|(key, _)| key.0 == host && key.1.starts_with(&below))
            .map(|(_, file)| file.actual)
            .sum();
        let total = self.options.disk;
        Capacity { total, available: ByteSize::bytes(total.as_bytes().saturating_sub(used)) }
    }

    /// Looks at a file after the usual checks.
    fn look(&self, root: &StorageRoot, path: &str) -> Result<File> {
        let shelves = self.depot.lock();
        self.check(&shelves, root, Some(path))?;
        let found = shelves.files.get(&self.key(path)).cloned();
        found.ok_or_else(|| error(ErrorKind::NotFound, format!("{path} is not there")))
    }

    /// Puts a file on the shelf, if there is room. `same` says whether a present file is this one.
    fn put(&self, root: &StorageRoot, path: &str, file: File, same: impl Fn(&File) -> bool) -> Result<File> {
        let mut shelves = self.depot.lock();
        self.check(&shelves, root, Some(path))?;
        if let Some(present) = shelves.files.get(&self.key(path)) {
            return if same(present) {
                Ok(present.clone())
            } else {
                Err(error(ErrorKind::Conflict, format!("{path} exists already and is something else")))
            };
        }
        let room = self.room(&shelves, root).available;
        if ByteSize::bytes(file.actual) > room {
            let need = ByteSize::bytes(file.actual);
            return Err(error(ErrorKind::NoSpace, format!("{path} needs {need}, {} has {room} left", root.path)));
        }
        shelves.files.insert(self.key(path), file.clone());
        Ok(file)
    }

    fn change(&self, root: &StorageRoot, path: &str, change: impl FnOnce(&mut File)) -> Result<VolumeFacts> {
        let mut shelves = self.depot.lock();
        self.check(&shelves, root, Some(path))?;
        let missing = || error(ErrorKind::NotFound, format!("{path} is not there"));
        let file = shelves.files.get_mut(&self.key(path)).ok_or_else(missing)?;
        change(file);
        Ok(volume(path, file))
    }

    /// Grows a volume whoever has it open.
    pub(crate) fn grow(&self, path: &str, size: ByteSize) {
        if let Some(file) = self.depot.lock().files.get_mut(&self.key(path)) {
            file.size = file.size.max(size.as_bytes());
        }
    }

    /// Changes what a layer sits on.
    pub(crate) fn set_backing(&self, path: &str, backing: Option<&str>) {
        if let Some(file) = self.depot.lock().files.get_mut(&self.key(path)) {
            file.backing = backing.map(str::to_owned);
        }
    }

    /// What the image server's agent says to this host.
    fn announced(&self, server: &ImageServer, path: &str, access: Access) -> Result<()> {
        let host = self.remote(server)?;
        if host == self.id {
            return Ok(());
        }
        let (rename_to, path) = match access {
            Access::Read => (None, path.to_owned()),
            Access::Write => (Some(path.to_owned()), format!("{path}.part")),
        };
        let (storage, root) = (server.root.id, server.root.path.clone());
        let query = ContentQuery { storage, root, path, offset: 0, rename_to, sha256: None };
        self.depot.lock().transfers.entry(host).or_default().check(self.id, &query, access)
    }

    /// An agent that starts anew waits to be told again.
    pub(crate) fn forget_transfers(&self) {
        self.depot.lock().transfers.remove(&self.id);
    }

    fn remote(&self, server: &ImageServer) -> Result<HostId> {
        let of_url = || server.url.trim_end_matches('/').rsplit('/').next()?.parse().ok();
        server
            .host
            .or_else(of_url)
            .ok_or_else(|| error(ErrorKind::Invalid, format!("image server {} names no host", server.url)))
    }
}

fn volume(path: &str, file: &File) -> VolumeFacts {
    VolumeFacts { path: path.to_owned(), size: ByteSize::bytes(file.size), actual_size: ByteSize::bytes(file.actual) }
}

fn image(path: &str, file: &File) -> Result<ImageFacts> {
    let (format, sha256) =
        file.image.clone().ok_or_else(|| error(ErrorKind::BadImage, format!("{path} is no image")))?;
    let (size, actual_size) = (ByteSize::bytes(file.size), ByteSize::bytes(file.actual));
    Ok(ImageFacts { path: path.to_owned(), format, size, actual_size, sha256 })
}

fn empty(size: u64, backing: Option<&str>) -> File {
    File { size, actual: EMPTY, backing: backing.map(str::to_owned), image: None, bytes: None }
}

fn hash(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[async_trait]
impl Storage for Simulated {
    async fn init(&self, root: &StorageRoot) -> Result<Capacity> {
        self.enter("init_storage").await?;
        let system = ["/", "/bin", "/boot", "/dev", "/etc", "/proc", "/sys", "/usr"];
        if system.iter().any(|dir| {
            root.path.trim_end_matches('/') == dir.trim_end_matches('/')
                || (*dir != "/" && root.path.starts_with(&format!("{dir}/")))
        }) {
            return Err(error(
                ErrorKind::Invalid,
                format!("{} is a system directory; give the storage a directory of its own", root.path),
            ));
        }
        let mut shelves = self.depot.lock();
        shelves.roots.entry(self.key(&root.path)).or_insert(root.id);
        self.check(&shelves, root, None)?;
        Ok(self.room(&shelves, root))
    }

    async fn measure(&self, root: &StorageRoot) -> Result<Capacity> {
        self.enter("measure_storage").await?;
        let shelves = self.depot.lock();
        self.check(&shelves, root, None)?;
        Ok(self.room(&shelves, root))
    }

    async fn missing(&self, root: &StorageRoot, paths: &[String]) -> Result<Vec<String>> {
        self.enter("find_missing").await?;
        let shelves = self.depot.lock();
        self.check(&shelves, root, None)?;
        Ok(paths.iter().filter(|path| !shelves.files.contains_key(&self.key(path))).cloned().collect())
    }

    async fn create_volume(
        &self,
        root: &StorageRoot,
        path: &str,
        size: ByteSize,
        backing: Option<&str>,
    ) -> Result<VolumeFacts> {
        self.enter("create_volume").await?;
        if let Some(below) = backing {
            let least = ByteSize::bytes(self.look(root, below)?.size);
            if size < least {
                return Err(error(
                    ErrorKind::Invalid,
                    format!("{path} of {size} is smaller than its image {below} of {least}"),
                ));
            }
        }
        let same = |present: &File| present.backing.as_deref() == backing && present.size >= size.as_bytes();
        self.put(root, path, empty(size.as_bytes(), backing), same).map(|file| volume(path, &file))
    }

    async fn delete(&self, root: &StorageRoot, path: &str) -> Result<()> {
        self.enter("delete_volume").await?;
        let mut shelves = self.depot.lock();
        self.check(&shelves, root, Some(path))?;
        shelves.files.remove(&self.key(path));
        Ok(())
    }

    async fn resize_volume(&self, root: &StorageRoot, path: &str, size: ByteSize) -> Result<VolumeFacts> {
        self.enter("resize_volume").await?;
        self.unlocked(path)?;
        self.change(root, path, |file| file.size = file.size.max(size.as_bytes()))
    }

    async fn stat_volume(&self, root: &StorageRoot, path: &str) -> Result<VolumeFacts> {
        self.enter("stat_volume").await?;
        self.look(root, path).map(|file| volume(path, &file))
    }

    async fn create_layer(&self, root: &StorageRoot, path: &str, new_path: &str) -> Result<VolumeFacts> {
        self.enter("take_snapshot").await?;
        let size = self.look(root, path)?.size;
        let same = |present: &File| present.backing.as_deref() == Some(path);
        self.put(root, new_path, empty(size, Some(path)), same).map(|file| volume(new_path, &file))
    }

    async fn rebase(&self, root: &StorageRoot, path: &str, new_base: Option<&str>) -> Result<VolumeFacts> {
        self.enter("merge_snapshot").await?;
        self.unlocked(path)?;
        if let Some(base) = new_base {
            self.look(root, base)?;
        }
        self.change(root, path, |file| file.backing = new_base.map(str::to_owned))
    }

    async fn copy_volume(&self, root: &StorageRoot, from: &str, to: &str) -> Result<VolumeFacts> {
        self.enter("copy_volume").await?;
        let source = self.look(root, from)?;
        let copy = File { backing: None, image: None, ..source };
        let same = |present: &File| present.backing.is_none() && present.size == copy.size;
        self.put(root, to, copy.clone(), same).map(|file| volume(to, &file))
    }

    async fn fetch_image(
        &self,
        root: &StorageRoot,
        server: &ImageServer,
        remote_path: &str,
        path: &str,
        sha256: &str,
        context: &Context,
    ) -> Result<ImageFacts> {
        self.enter("fetch_image").await?;
        let host = self.remote(server)?;
        self.announced(server, remote_path, Access::Read)?;
        let found = self.depot.lock().files.get(&self.key_of(host, remote_path)).cloned();
        let file = found.ok_or_else(|| {
            error(ErrorKind::NotFound, format!("{remote_path} is not on image server {}", server.url))
        })?;
        let found = image(remote_path, &file)?.sha256;
        if found != sha256 {
            return Err(error(ErrorKind::BadImage, format!("{remote_path} hashes to {found}, not to {sha256}")));
        }
        context.progress(100, "fetching");
        let same = |present: &File| present.image == file.image;
        let put = self.put(root, path, file.clone(), same)?;
        image(path, &put)
    }

    async fn store_image(
        &self,
        root: &StorageRoot,
        volume_path: &str,
        server: &ImageServer,
        remote_path: &str,
        context: &Context,
    ) -> Result<ImageFacts> {
        self.enter("store_image").await?;
        let source = self.look(root, volume_path)?;
        self.announced(server, remote_path, Access::Write)?;
        let sha256 = hash(format!("{} {volume_path}", self.id));
        let file = File { backing: None, image: Some((ImageFormat::Qcow2, sha256)), ..source };
        let key = self.key_of(self.remote(server)?, remote_path);
        self.depot.lock().files.insert(key, file.clone());
        context.progress(100, "sending");
        image(remote_path, &file)
    }

    async fn add_image(
        &self,
        root: &StorageRoot,
        source: &ImageSource,
        format: Option<ImageFormat>,
        path: &str,
        context: &Context,
    ) -> Result<ImageFacts> {
        self.enter("add_image").await?;
        let (size, sha256, uploaded) = match source {
            ImageSource::Http { url } => (IMAGE, hash(url), None),
            ImageSource::File { path } => (IMAGE, hash(path), None),
            ImageSource::Uploaded { path, size } => {
                let file = self.look(root, path)?;
                if file.actual != size.as_bytes() {
                    let text = format!("the upload has {} bytes, {} were promised", file.actual, size.as_bytes());
                    return Err(error(ErrorKind::BadImage, text));
                }
                (file.actual, hash(file.bytes.unwrap_or_default()), Some(path))
            }
        };
        context.progress(100, "downloading");
        let guess = || if path.ends_with(".iso") { ImageFormat::Iso } else { ImageFormat::Qcow2 };
        let kind = (format.unwrap_or_else(guess), sha256);
        if let Some(from) = uploaded {
            self.depot.lock().files.remove(&self.key(from));
        }
        let file = File { size, actual: size, backing: None, image: Some(kind.clone()), bytes: None };
        let put = self.put(root, path, file, |present| present.image.as_ref() == Some(&kind))?;
        image(path, &put)
    }

    async fn allow_transfer(&self, told: &AllowTransfer) -> Result<()> {
        self.enter("allow_transfer").await?;
        self.depot.lock().transfers.entry(self.id).or_default().allow(told);
        Ok(())
    }

    fn check_transfer(&self, peer: HostId, query: &ContentQuery, access: Access) -> Result<()> {
        self.depot.lock().transfers.entry(self.id).or_default().check(peer, query, access)
    }

    async fn read(&self, query: &ContentQuery, range: Option<Range<u64>>) -> Result<Content> {
        let root = StorageRoot { id: query.storage, path: query.root.clone() };
        let bytes = self.look(&root, &query.path)?.bytes;
        let bytes = bytes
            .ok_or_else(|| error(ErrorKind::Invalid, format!("{} has no contents in a simulation", query.path)))?;
        let size = bytes.len() as u64;
        let Range { start, end } = range.unwrap_or(0..size);
        let range = start.min(size)..end.min(size);
        let cut = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let part = Bytes::copy_from_slice(&bytes[cut(range.start)..cut(range.end)]);
        Ok(Content { size, range, stream: Box::pin(futures::stream::iter([Ok(part)])) })
    }

    async fn write(&self, query: &ContentQuery, body: &mut ByteStream) -> Result<u64> {
        let root = StorageRoot { id: query.storage, path: query.root.clone() };
        let mut chunk = Vec::new();
        while let Some(part) = body.next().await {
            let part = part
                .map_err(|e| error(ErrorKind::Unreachable, format!("the sender of {} broke off: {e}", query.path)))?;
            if chunk.len() + part.len() > UPLOAD {
                return Err(error(ErrorKind::NoSpace, format!("a simulated upload holds {UPLOAD} bytes at most")));
            }
            chunk.extend_from_slice(&part);
        }
        let mut shelves = self.depot.lock();
        self.check(&shelves, &root, Some(&query.path))?;
        let key = self.key(&query.path);
        let present = shelves.files.get(&key).cloned();
        if present.as_ref().is_some_and(|file| file.bytes.is_none()) {
            return Err(error(ErrorKind::Conflict, format!("{} is there already and no upload", query.path)));
        }
        let mut bytes = present.and_then(|file| file.bytes).unwrap_or_default();
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        if offset > bytes.len() || offset.saturating_add(chunk.len()) > UPLOAD {
            return Err(error(
                ErrorKind::Conflict,
                format!("{} has {} bytes; the next chunk starts there", query.path, bytes.len()),
            ));
        }
        bytes.truncate(offset);
        bytes.extend(chunk);
        let size = bytes.len() as u64;
        let mut file = File { size, actual: size, backing: None, image: None, bytes: Some(bytes) };
        let Some(target) = &query.rename_to else {
            shelves.files.insert(key, file);
            return Ok(size);
        };
        self.check(&shelves, &root, Some(target))?;
        let found = hash(file.bytes.take().unwrap_or_default());
        if query.sha256.as_ref() != Some(&found) {
            return Err(error(ErrorKind::BadImage, format!("{} hashes to {found}, not as promised", query.path)));
        }
        file.image = Some((ImageFormat::Qcow2, found));
        shelves.files.remove(&key);
        shelves.files.insert(self.key(target), file);
        Ok(size)
    }
}
