//! Adding images (CS-IMG-020 to CS-IMG-035): the workflow `image.add`, and the beginning of uploads.

use std::{sync::Arc, time::Duration};

use mn_service_db::entity::{image, image_backup_storage_ref};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult};
use mn_service_workflow::{Registry, RegistryError, Undo, Workflow};
use node_manager_types::{
    image::{ImageFacts, ImageFormat, ImageSource},
    operation::AddImage as Fetch,
};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

use super::{install_path, local_path, server, server_path, upload, uuid_for};
use crate::{
    access, agents,
    api::{Apis, Call, Plan, Reply, StepError, StepResult},
    app::{App, OrInternal, Tx},
    garbage::{self, Garbage},
    resource::{
        primary_storage::bytes,
        quota::{self, Counted},
    },
    tags,
};

mn_service_types::messages! {
    AddImage { name: String, description: Option<String>, url: String, media_type: Option<String>, guest_os_type: Option<String>, architecture: Option<String>, system: Option<bool>, format: Option<String>, platform: Option<String>, backup_storage_uuids: Vec<String>, r#type: Option<String>, virtio: Option<bool> }
}

/// Longest download of an image.
const TRANSFER: Duration = Duration::from_secs(24 * 3600);

pub(super) fn register(apis: &mut Apis) {
    apis.workflow("image.add", prepare, |state: &Add| Reply::Inventory("ImageInventory", state.new.uuid.clone()));
}

pub(super) fn workflows(registry: &mut Registry<App, StepError>) -> Result<(), RegistryError> {
    registry.register(
        Workflow::named("image.add", 1)
            .step("record", record, Undo::with(forget_record))
            .step("fetch", fetch, Undo::with(remove_files))
            .step("ready", ready, Undo::nothing("it is the last step and one transaction")),
    )
}

/// An image that is being made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::resource) struct New {
    pub(in crate::resource) uuid: String,
    pub(in crate::resource) account: String,
    pub(in crate::resource) name: String,
    pub(in crate::resource) description: Option<String>,
    /// As clients may see it: without credentials.
    pub(in crate::resource) url: String,
    pub(in crate::resource) media_type: String,
    pub(in crate::resource) guest_os_type: Option<String>,
    pub(in crate::resource) architecture: Option<String>,
    pub(in crate::resource) platform: String,
    pub(in crate::resource) format: Option<ImageFormat>,
    pub(in crate::resource) system: bool,
    pub(in crate::resource) virtio: bool,
    /// Image servers that get it.
    pub(in crate::resource) storages: Vec<String>,
}

/// State of adding an image.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Add {
    job: String,
    new: New,
    /// The URL with its credentials, sealed: states are stored.
    sealed_url: String,
    facts: Vec<(String, ImageFacts)>,
}

fn purpose(uuid: &str) -> String {
    format!("image-url:{uuid}")
}

/// Where a URL says that the image is.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Http(Url),
    File(String),
    Upload,
}

fn source(url: &str) -> Result<Source, String> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
    match scheme.as_str() {
        "http" | "https" => match Url::parse(url) {
            Ok(parsed) if parsed.has_host() => Ok(Source::Http(parsed)),
            Ok(_) => Err("url names no host".to_owned()),
            Err(error) => Err(format!("url cannot be read: {error}")),
        },
        "file" => {
            let path = &url["file://".len()..];
            let plain = path.starts_with('/') && !path.split('/').any(|part| matches!(part, "." | ".."));
            if plain { Ok(Source::File(path.to_owned())) } else { Err("url must be file:///absolute/path".to_owned()) }
        }
        "upload" => Ok(Source::Upload),
        _ => Err("url must begin with http://, https://, file:/// or upload://".to_owned()),
    }
}

/// A URL as clients and logs may see it: neither user information nor a query, which may be a signature.
fn shown(url: &str, source: &Source) -> String {
    match source {
        Source::Http(parsed) => {
            let mut parsed = parsed.clone();
            // They fail only for URLs that cannot have a host, and this one has.
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.set_query(None);
            parsed.set_fragment(None);
            parsed.to_string()
        }
        Source::File(path) => format!("file://{path}"),
        Source::Upload => url.to_owned(),
    }
}

/// The format that a client names; absent means detect (CS-IMG-035).
fn format(word: Option<&str>) -> Result<Option<ImageFormat>, String> {
    match word.map(str::to_ascii_lowercase).as_deref() {
        None | Some("") => Ok(None),
        Some("qcow2") => Ok(Some(ImageFormat::Qcow2)),
        Some("raw") => Ok(Some(ImageFormat::Raw)),
        Some("iso") => Ok(Some(ImageFormat::Iso)),
        Some(other) => Err(format!("format must be qcow2, raw or iso, not {other:?}")),
    }
}

/// Wire word of a format.
pub(super) fn word(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Qcow2 => "qcow2",
        ImageFormat::Raw => "raw",
        ImageFormat::Iso => "iso",
    }
}

/// True where guests of a platform are expected to have virtio drivers (CS-IMG-010).
pub(in crate::resource) fn has_virtio(platform: &str) -> bool {
    !matches!(platform, "Windows" | "Other")
}

async fn prepare(call: Call, msg: AddImage) -> ApiResult<Plan<Add>> {
    let app = &call.app;
    let mut problems = Vec::new();
    let claimed = format(msg.format.as_deref()).unwrap_or_else(|problem| {
        problems.push(problem);
        None
    });
    let media_type = msg.media_type.filter(|ty| !ty.is_empty()).unwrap_or_else(|| {
        if claimed == Some(ImageFormat::Iso) { "ISO".to_owned() } else { "RootVolumeTemplate".to_owned() }
    });
    if media_type == "ISO" && claimed.is_some_and(|format| format != ImageFormat::Iso) {
        problems.push("mediaType ISO goes with format iso only".to_owned());
    }
    if media_type != "ISO" && claimed == Some(ImageFormat::Iso) {
        problems.push(format!("format iso goes with mediaType ISO only, not {media_type}"));
    }
    if media_type == "ISO" && call.tags().system_tags.iter().any(|tag| tag == "qemuga") {
        problems.push("systemTags: an ISO has no guest agent; qemuga is for templates".to_owned());
    }
    let found = source(&msg.url).map_err(|problem| problems.push(problem)).ok();
    if let Some(Source::File(path)) = &found {
        problems.extend(local_path::problem(app, path, call.caller.admin).await?);
    }
    if msg.backup_storage_uuids.is_empty() {
        problems.push("backupStorageUuids must name at least one backup storage".to_owned());
    }
    if found == Some(Source::Upload) && msg.backup_storage_uuids.len() > 1 {
        problems.push("an upload goes to one backup storage; name one in backupStorageUuids".to_owned());
    }
    for uuid in &msg.backup_storage_uuids {
        let row = server::load(app.db.read(), uuid).await?;
        problems.extend(server::problems(app.db.read(), &row, None).await?);
    }
    let Some(found) = found.filter(|_| problems.is_empty()) else { return Err(ApiError::invalid(&problems)) };
    let platform = msg.platform.filter(|p| !p.is_empty()).unwrap_or_else(|| "Linux".to_owned());
    let mut storages = msg.backup_storage_uuids;
    storages.dedup();
    let new = New {
        // The same after a restart before the workflow began.
        uuid: uuid_for(&call, "image"),
        account: call.caller.account.clone(),
        name: msg.name,
        description: msg.description,
        url: shown(&msg.url, &found),
        format: claimed.or((media_type == "ISO").then_some(ImageFormat::Iso)),
        media_type,
        guest_os_type: msg.guest_os_type,
        architecture: Some(msg.architecture.filter(|a| !a.is_empty()).unwrap_or_else(|| "x86_64".to_owned())),
        system: msg.system.unwrap_or(false),
        virtio: msg.virtio.unwrap_or_else(|| has_virtio(&platform)),
        platform,
        storages,
    };
    if found == Source::Upload {
        let uuid = new.uuid.clone();
        upload::begin(app, new, call.caller.base.as_deref()).await?;
        return Ok(Plan::Done(Reply::Inventory("ImageInventory", uuid)));
    }
    let sealed_url = app.sealer.seal(&purpose(&new.uuid), &msg.url).or_internal()?;
    Ok(Plan::Run(Add { job: call.job.clone(), new, sealed_url, facts: Vec::new() }))
}

/// Writes the rows of an image that is being made; a second time changes nothing.
pub(in crate::resource) async fn write_rows(
    app: &App,
    tx: &Tx,
    new: &New,
    status: &str,
    copy_path: Option<&str>,
) -> ApiResult<()> {
    if image::Entity::find_by_id(&new.uuid).one(&**tx).await.or_internal()?.is_some() {
        return Ok(());
    }
    quota::demand(app, tx, &new.account, &[(Counted::Images, 1)], "").await?;
    let now = now_millis();
    let row = image::ActiveModel {
        uuid: Set(new.uuid.clone()),
        name: Set(new.name.clone()),
        description: Set(new.description.clone()),
        state: Set("Enabled".to_owned()),
        status: Set(status.to_owned()),
        size: Set(0),
        actual_size: Set(0),
        md5_sum: Set(None),
        url: Set(Some(new.url.clone())),
        media_type: Set(new.media_type.clone()),
        guest_os_type: Set(new.guest_os_type.clone()),
        r#type: Set("zstack".to_owned()),
        platform: Set(Some(new.platform.clone())),
        architecture: Set(new.architecture.clone()),
        format: Set(word(new.format.unwrap_or(ImageFormat::Qcow2)).to_owned()),
        system: Set(new.system),
        virtio: Set(new.virtio),
        create_date: Set(now),
        last_op_date: Set(now),
    };
    image::Entity::insert(row).exec_without_returning(&**tx).await.or_internal()?;
    for storage in &new.storages {
        let copy = image_backup_storage_ref::ActiveModel {
            image_uuid: Set(new.uuid.clone()),
            backup_storage_uuid: Set(storage.clone()),
            install_path: Set(copy_path.map(str::to_owned)),
            status: Set(status.to_owned()),
            create_date: Set(now),
            last_op_date: Set(now),
            ..Default::default()
        };
        image_backup_storage_ref::Entity::insert(copy).exec_without_returning(&**tx).await.or_internal()?;
    }
    access::own(tx, &new.account, "ImageVO", &new.uuid).await
}

/// Removes the rows of an image and everything that is noted about it.
pub(in crate::resource) async fn remove_rows(tx: &Tx, uuid: &str) -> ApiResult<()> {
    use image_backup_storage_ref::{Column, Entity};
    Entity::delete_many().filter(Column::ImageUuid.eq(uuid)).exec(&**tx).await.or_internal()?;
    image::Entity::delete_by_id(uuid).exec(&**tx).await.or_internal()?;
    let gone = [uuid.to_owned()];
    tags::forget(tx, &gone).await?;
    access::forget(tx, &gone).await
}

/// Makes an image Ready on the servers that have it.
pub(in crate::resource) async fn settle(
    app: &App,
    tx: &Tx,
    uuid: &str,
    facts: &[(String, ImageFacts)],
) -> ApiResult<()> {
    let Some((_, first)) = facts.first() else {
        return Err(ApiError::internal(format!("no facts about image {uuid}")));
    };
    // How large an image is shows when it is there.
    if let Some(account) = access::owner_of(&**tx, uuid).await? {
        quota::demand(app, tx, &account, &[(Counted::ImageBytes, bytes(first.size))], uuid).await?;
    }
    let now = now_millis();
    {
        use image::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Status, Expr::value("Ready"))
            .col_expr(Column::Size, Expr::value(bytes(first.size)))
            .col_expr(Column::ActualSize, Expr::value(bytes(first.actual_size)))
            .col_expr(Column::Format, Expr::value(word(first.format)))
            .col_expr(Column::LastOpDate, Expr::value(now))
            .filter(Column::Uuid.eq(uuid))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    use image_backup_storage_ref::{Column, Entity};
    for (storage, facts) in facts {
        Entity::update_many()
            .col_expr(Column::Status, Expr::value("Ready"))
            .col_expr(Column::InstallPath, Expr::value(install_path(uuid, &facts.sha256)))
            .col_expr(Column::LastOpDate, Expr::value(now))
            .filter(Column::ImageUuid.eq(uuid))
            .filter(Column::BackupStorageUuid.eq(storage))
            .exec(&**tx)
            .await
            .or_internal()?;
    }
    Ok(())
}

/// An ISO cannot be a disk, and a disk cannot be an ISO.
pub(super) fn check_media(name: &str, media_type: &str, found: ImageFormat) -> ApiResult<()> {
    if (media_type == "ISO") == (found == ImageFormat::Iso) {
        return Ok(());
    }
    let way_out = if found == ImageFormat::Iso { "add it with mediaType ISO" } else { "add it as RootVolumeTemplate" };
    Err(ApiError::new(
        ErrorCode::InvalidArgument,
        format!("image {name} is {} and mediaType is {media_type}; {way_out}", word(found)),
    ))
}

async fn record(app: Arc<App>, state: Add) -> StepResult<Add> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            write_rows(&service, &tx, &state.new, "Downloading", None).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

async fn forget_record(app: Arc<App>, state: Add) -> Result<(), StepError> {
    Ok(app.write(|tx| async move { remove_rows(&tx, &state.new.uuid).await }).await?)
}

async fn fetch(app: Arc<App>, mut state: Add) -> StepResult<Add> {
    let new = &state.new;
    let url = app.sealer.unseal(&purpose(&new.uuid), &state.sealed_url).or_internal()?;
    let id = Uuid::try_parse(&state.job).unwrap_or_default();
    let mut facts = Vec::new();
    for uuid in &new.storages {
        let storage = server::load(app.db.read(), uuid).await?;
        let host = server::host_of(&storage)?;
        let operation = Fetch {
            root: server::root(&storage)?,
            image: agents::id(&new.uuid)?,
            source: match source(&url) {
                Ok(Source::File(path)) => ImageSource::File { path },
                _ => ImageSource::Http { url: url.clone() },
            },
            format: new.format,
            path: server_path(&storage.url, &new.uuid),
        };
        let agent = app.agents.of(app.db.read(), &host).await?;
        let watch = |seen: &node_manager_types::Progress| app.progress.report(id, seen.percent, &seen.stage);
        let added = agents::run_watched(&agent, &state.job, &format!("add-{uuid}"), operation, TRANSFER, watch).await;
        let added = added.map_err(|error| {
            let what = format!("image {} could not be added from {}", new.name, new.url);
            agents::failure(ErrorCode::DownloadImage, what, &host, &error)
        })?;
        check_media(&new.name, &new.media_type, added.format)?;
        facts.push((uuid.clone(), added));
    }
    state.facts = facts;
    Ok(state)
}

async fn remove_files(app: Arc<App>, state: Add) -> Result<(), StepError> {
    Ok(drop_files(&app, &state.new.uuid, &state.new.storages).await?)
}

/// Removes an image's files from these servers, now or as soon as they answer.
pub(in crate::resource) async fn drop_files(app: &App, image: &str, storages: &[String]) -> ApiResult<()> {
    let ids = app.write(|tx| async move { note_files(&tx, image, storages).await }).await?;
    garbage::collect_now(app, &ids).await
}

/// Notes an image's files on these servers for removal.
pub(super) async fn note_files(tx: &Tx, image: &str, storages: &[String]) -> ApiResult<Vec<i64>> {
    let mut ids = Vec::new();
    for uuid in storages {
        let storage = server::load(&**tx, uuid).await?;
        // A server without a host has nobody who could remove anything.
        let Ok(host) = server::host_of(&storage) else { continue };
        let path = server_path(&storage.url, image);
        let file = garbage::File { host, root: server::root(&storage)?, path };
        ids.push(garbage::add(tx, &Garbage::DeleteImageFile(file)).await?);
    }
    Ok(ids)
}

async fn ready(app: Arc<App>, state: Add) -> StepResult<Add> {
    let service = app.clone();
    let state = app
        .write(|tx| async move {
            still_there(&*tx, &state.new.uuid).await?;
            settle(&service, &tx, &state.new.uuid, &state.facts).await?;
            Ok(state)
        })
        .await?;
    Ok(state)
}

/// The image may have gone with its image server while it was fetched.
pub(super) async fn still_there<C: ConnectionTrait>(conn: &C, uuid: &str) -> ApiResult<()> {
    super::load(conn, uuid).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cs_img_022_to_028_urls_are_told_apart() {
        assert!(matches!(source("http://a/b.qcow2"), Ok(Source::Http(_))));
        assert!(matches!(source("HTTPS://a/b"), Ok(Source::Http(_))));
        assert_eq!(source("file:///a/b"), Ok(Source::File("/a/b".to_owned())));
        assert_eq!(source("upload://x"), Ok(Source::Upload));
        for url in ["ftp://a/b", "file://a/b", "file:///a/../b", "b.qcow2", "http://", ""] {
            assert!(source(url).is_err(), "{url}");
        }
    }

    #[test]
    fn clients_and_logs_see_no_credentials() {
        let url = "https://user:secret@a.example/b.qcow2?X-Signature=topsecret#secret";
        let seen = shown(url, &source(url).unwrap());
        assert_eq!(seen, "https://a.example/b.qcow2");
    }

    #[test]
    fn cs_img_002_formats() {
        assert_eq!(format(Some("QCOW2")), Ok(Some(ImageFormat::Qcow2)));
        assert_eq!(format(None), Ok(None));
        assert!(format(Some("vmtx")).unwrap_err().contains("qcow2, raw or iso"));
    }

    #[test]
    fn an_iso_is_no_disk() {
        check_media("a", "ISO", ImageFormat::Iso).unwrap();
        check_media("a", "RootVolumeTemplate", ImageFormat::Raw).unwrap();
        assert!(
            check_media("a", "RootVolumeTemplate", ImageFormat::Iso).unwrap_err().details.contains("mediaType ISO")
        );
        assert!(check_media("a", "ISO", ImageFormat::Qcow2).is_err());
    }
}
