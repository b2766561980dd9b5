//! Volumes, snapshots and images in directories (local, NFS, shared mount point).
//!
//! A volume is a qcow2 file; a snapshot is the layer that was active before. New files are made in a scratch directory
//! of the same file system and get their name when they are complete and on disk, so a name always means a whole file.

use std::{
    collections::HashSet,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use node_manager_client::Pool;
use node_manager_types::{
    AgentError, ByteSize, ErrorKind, HostId,
    image::{Access, ImageFacts, ImageFormat, ImageServer, ImageSource},
    operation::AllowTransfer,
    storage::{Capacity, ContentQuery, StorageRoot, VolumeFacts},
};

use crate::{
    drivers::{ByteStream, Content, Context, Result, Storage},
    files::{PRIVATE, blocking, io_error},
    image::{self, local::Forbidden, sidecar, transfers::Transfers},
};

pub mod content;
pub mod qemu_img;
pub mod root;

use root::Root;

/// Storage in directories of this host.
pub struct Directories {
    pub(crate) host: HostId,
    /// To other agents.
    pub(crate) agents: Option<Pool>,
    /// To the world, for images.
    pub(crate) web: reqwest::Client,
    /// What `file://` may not read.
    pub(crate) forbidden: Forbidden,
    transfers: Transfers,
    swept: Mutex<HashSet<PathBuf>>,
}

impl Directories {
    /// `agents` reaches other hosts (none in tests that have no other host); `web` downloads images; files that are
    /// `forbidden` never become images.
    pub fn new(host: HostId, agents: Option<Pool>, web: reqwest::Client, forbidden: Forbidden) -> Arc<Self> {
        Arc::new(Self { host, agents, web, forbidden, transfers: Transfers::default(), swept: Mutex::default() })
    }

    /// Opens a root, and once per life of the agent removes what an earlier life left unfinished there.
    pub(crate) async fn open(&self, root: &StorageRoot) -> Result<Root> {
        let spec = root.clone();
        let root = blocking(move || Root::open(&spec)).await?;
        let first = self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(root.path().to_owned());
        if first {
            root.sweep(self.host);
        }
        Ok(root)
    }

    /// A base below the same root, with its format.
    fn base(root: &Root, path: &str) -> Result<(PathBuf, &'static str)> {
        let file = root.existing(path)?;
        let format = qemu_img::format_of(&file).map_err(|e| io_error(format_args!("cannot read {path}"), &e))?;
        Ok((file, format))
    }
}

async fn facts(file: &Path) -> Result<VolumeFacts> {
    let info = qemu_img::info(file, "qcow2").await?;
    Ok(VolumeFacts {
        path: file.display().to_string(),
        size: ByteSize::bytes(info.virtual_size),
        actual_size: ByteSize::bytes(info.actual_size),
    })
}

#[async_trait]
impl Storage for Directories {
    async fn init(&self, root: &StorageRoot) -> Result<Capacity> {
        let spec = root.clone();
        blocking(move || Root::claim(&spec)).await?;
        self.measure(root).await
    }

    async fn measure(&self, root: &StorageRoot) -> Result<Capacity> {
        self.open(root).await?.capacity()
    }

    async fn missing(&self, root: &StorageRoot, paths: &[String]) -> Result<Vec<String>> {
        let root = self.open(root).await?;
        let paths = paths.to_vec();
        blocking(move || {
            let mut missing = Vec::new();
            for path in paths {
                match root.existing(&path) {
                    Ok(_) => {}
                    Err(error) if error.kind == ErrorKind::NotFound => missing.push(path),
                    Err(error) => return Err(error),
                }
            }
            Ok(missing)
        })
        .await
    }

    async fn create_volume(
        &self,
        root: &StorageRoot,
        path: &str,
        size: ByteSize,
        backing: Option<&str>,
    ) -> Result<VolumeFacts> {
        let root = self.open(root).await?;
        let file = root.file(path)?;
        let base = backing.map(|below| Self::base(&root, below)).transpose()?;
        if let Some((below, format)) = &base {
            let least = ByteSize::bytes(qemu_img::info(below, format).await?.virtual_size);
            if size < least {
                let message = format!("{path} of {size} is smaller than its image {} of {least}", below.display());
                return Err(AgentError::new(ErrorKind::Invalid, message));
            }
        }
        if file.exists() {
            // Asked twice. A volume that has grown since is still this volume.
            let info = qemu_img::info(&file, "qcow2").await?;
            let same_base = match (&info.backing, &base) {
                (None, None) => true,
                (Some(a), Some((b, _))) => qemu_img::same(a, b),
                _ => false,
            };
            if !same_base || info.virtual_size < size.as_bytes() {
                let message = format!(
                    "{path} exists already with another size or image; delete it first, or choose another path"
                );
                return Err(AgentError::new(ErrorKind::Conflict, message));
            }
            return facts(&file).await;
        }
        let temp = root.scratch(self.host)?;
        qemu_img::create(&temp, Some(size), base.as_ref().map(|(file, format)| (file.as_path(), *format))).await?;
        root.publish(temp, &file, PRIVATE)?;
        facts(&file).await
    }

    async fn delete(&self, root: &StorageRoot, path: &str) -> Result<()> {
        let root = self.open(root).await?;
        let file = root.file(path)?;
        if file.is_dir() {
            return Err(AgentError::new(ErrorKind::Invalid, format!("{path} is a directory; only files are deleted")));
        }
        blocking(move || {
            for victim in sidecar::all(&file).into_iter().chain([file.clone()]) {
                match std::fs::remove_file(&victim) {
                    Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                        return Err(io_error(format_args!("cannot delete {}", victim.display()), &cause));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    async fn resize_volume(&self, root: &StorageRoot, path: &str, size: ByteSize) -> Result<VolumeFacts> {
        let file = self.open(root).await?.existing(path)?;
        let now = facts(&file).await?;
        if size < now.size {
            let message = format!("{path} holds {}; a volume grows only, {size} is smaller", now.size);
            return Err(AgentError::new(ErrorKind::Invalid, message));
        }
        if size > now.size {
            qemu_img::resize(&file, size).await?;
        }
        facts(&file).await
    }

    async fn stat_volume(&self, root: &StorageRoot, path: &str) -> Result<VolumeFacts> {
        facts(&self.open(root).await?.existing(path)?).await
    }

    async fn create_layer(&self, root: &StorageRoot, path: &str, new_path: &str) -> Result<VolumeFacts> {
        let root = self.open(root).await?;
        let (below, format) = Self::base(&root, path)?;
        let file = root.file(new_path)?;
        if file.exists() {
            let info = qemu_img::info(&file, "qcow2").await?;
            if !info.backing.is_some_and(|backing| qemu_img::same(backing, &below)) {
                let message = format!("{new_path} exists already and is not a layer on {path}; choose another path");
                return Err(AgentError::new(ErrorKind::Conflict, message));
            }
            return facts(&file).await;
        }
        let temp = root.scratch(self.host)?;
        qemu_img::create(&temp, None, Some((&below, format))).await?;
        root.publish(temp, &file, PRIVATE)?;
        facts(&file).await
    }

    async fn rebase(&self, root: &StorageRoot, path: &str, new_base: Option<&str>) -> Result<VolumeFacts> {
        let root = self.open(root).await?;
        let file = root.existing(path)?;
        let base = new_base.map(|base| Self::base(&root, base)).transpose()?;
        let chain = qemu_img::chain(&file).await?;
        let present = chain.first().and_then(|top| top.backing.clone());
        let wanted = base.as_ref().map(|(file, _)| file.clone());
        if present == wanted {
            return facts(&file).await;
        }
        if let Some(wanted) = &wanted
            && !chain.iter().skip(1).any(|layer| qemu_img::same(&layer.filename, wanted))
        {
            let message =
                format!("{} is not below {path}; only a layer of its own chain can become its base", wanted.display());
            return Err(AgentError::new(ErrorKind::Conflict, message));
        }
        qemu_img::rebase(&file, base.as_ref().map(|(file, format)| (file.as_path(), *format))).await?;
        facts(&file).await
    }

    async fn copy_volume(&self, root: &StorageRoot, from: &str, to: &str) -> Result<VolumeFacts> {
        let root = self.open(root).await?;
        let source = root.existing(from)?;
        let target = root.file(to)?;
        let size = qemu_img::info(&source, "qcow2").await?.virtual_size;
        if target.exists() {
            let info = qemu_img::info(&target, "qcow2").await?;
            // Names are given to whole files only: this one was copied by an earlier attempt.
            if info.backing.is_some() || info.virtual_size != size {
                let message = format!("{to} exists already and is no copy of {from}; choose another path");
                return Err(AgentError::new(ErrorKind::Conflict, message));
            }
            return facts(&target).await;
        }
        root.require(qemu_img::measure(&source).await?, "the copy")?;
        let temp = root.scratch(self.host)?;
        qemu_img::flatten(&source, &temp).await?;
        root.publish(temp, &target, PRIVATE)?;
        facts(&target).await
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
        image::transfer::fetch(self, root, server, remote_path, path, sha256, context).await
    }

    async fn store_image(
        &self,
        root: &StorageRoot,
        volume_path: &str,
        server: &ImageServer,
        remote_path: &str,
        context: &Context,
    ) -> Result<ImageFacts> {
        image::transfer::store(self, root, volume_path, server, remote_path, context).await
    }

    async fn add_image(
        &self,
        root: &StorageRoot,
        source: &ImageSource,
        format: Option<ImageFormat>,
        path: &str,
        context: &Context,
    ) -> Result<ImageFacts> {
        image::add::add(self, root, source, format, path, context).await
    }

    async fn allow_transfer(&self, told: &AllowTransfer) -> Result<()> {
        self.transfers.allow(told);
        Ok(())
    }

    fn check_transfer(&self, peer: HostId, query: &ContentQuery, access: Access) -> Result<()> {
        self.transfers.check(peer, query, access)
    }

    async fn read(&self, query: &ContentQuery, range: Option<Range<u64>>) -> Result<Content> {
        content::read(self, query, range).await
    }

    async fn write(&self, query: &ContentQuery, body: &mut ByteStream) -> Result<u64> {
        content::write(self, query, body).await
    }
}
