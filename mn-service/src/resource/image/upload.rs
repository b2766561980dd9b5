//! Uploads of images (PROTOCOL.md section 13, CS-IMG-031): the place of an image that is still empty is a URL of this
//! service with a token; what is sent there goes straight on to the image server.

use std::{net::UdpSocket, sync::Arc, time::Duration};

use futures::Stream;
use mn_service_db::entity::{backup_storage, image, image_backup_storage_ref};
use mn_service_types::{ApiError, ErrorCode, date::now_millis, error::ApiResult, new_uuid};
use node_manager_client::{Bytes, Client, ClientError};
use node_manager_types::{
    ErrorKind,
    image::{ImageFormat, ImageSource},
    operation::AddImage as Check,
    storage::ContentQuery,
};
use rand::RngCore as _;
use sea_orm::{Condition, ConnectionTrait, EntityTrait, QueryFilter, prelude::*};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq as _;

use super::{
    add::{self, New},
    load, refs, server, server_path,
};
use crate::{
    agents,
    api::{Apis, Call},
    app::{App, OrInternal},
    garbage,
    resource::primary_storage::size,
};

mn_service_types::messages! {
    GetUploadImageJobDetails { image_id: String }
}

/// Path of uploads below the service's address.
pub const PATH: &str = "/zstack/v1/image-uploads";

pub(super) fn register(apis: &mut Apis) {
    apis.sync(details);
}

/// Longest check of a complete upload.
const CHECK: Duration = Duration::from_secs(2 * 3600);

/// Writes the image down and opens the door for its bytes, at the base URL by which the call came where that is known: who
/// reaches the service by it, over TLS or not, does so with the bytes as well. A second time changes nothing.
pub(super) async fn begin(app: &App, new: New, base: Option<&str>) -> ApiResult<()> {
    let storage = match new.storages.first() {
        Some(uuid) => server::load(app.db.read(), uuid).await?,
        None => return Err(ApiError::new(ErrorCode::InvalidArgument, "an upload needs a backup storage")),
    };
    let mut token = [0_u8; 32];
    rand::rng().fill_bytes(&mut token);
    let base = base.map_or_else(|| address(app, storage.hostname.as_deref()), str::to_owned);
    let url = format!("{base}{PATH}/{}/{}", new.uuid, hex::encode(token));
    app.write(|tx| async move { add::write_rows(app, &tx, &new, "Downloading", Some(&url)).await }).await
}

/// Base URL of this service for clients: as configured, else the address of this machine that faces the storage.
fn address(app: &App, towards: Option<&str>) -> String {
    if let Some(url) = &app.config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let mut listen = app.config.listen;
    if listen.ip().is_unspecified()
        && let Some(ip) = towards.and_then(facing)
    {
        listen.set_ip(ip);
    }
    let scheme = if app.config.plain_http { "http" } else { "https" };
    format!("{scheme}://{listen}")
}

/// The address of this machine that it would use towards another; connecting a datagram socket sends nothing.
fn facing(other: &str) -> Option<std::net::IpAddr> {
    let other: std::net::IpAddr = other.parse().ok()?;
    let any = if other.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect((other, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The copy of an image whose bytes are awaited.
async fn awaited<C: ConnectionTrait>(
    conn: &C,
    row: &image::Model,
) -> ApiResult<Option<image_backup_storage_ref::Model>> {
    if row.status != "Downloading" {
        return Ok(None);
    }
    let copies = refs(conn, &row.uuid).await?;
    Ok(copies.into_iter().find(|copy| copy.install_path.as_deref().is_some_and(|path| path.contains(PATH))))
}

/// True while an image waits for its bytes.
pub(super) async fn under_way<C: ConnectionTrait>(conn: &C, row: &image::Model) -> ApiResult<bool> {
    Ok(awaited(conn, row).await?.is_some())
}

/// An upload that its token opened.
#[derive(Debug)]
pub struct Upload {
    image: image::Model,
    storage: backup_storage::Model,
    host: String,
    agent: Client,
}

/// Opens an upload. An unknown image, a wrong token and an upload that is over look the same from outside.
pub async fn open(app: &App, image: &str, token: &str) -> ApiResult<Upload> {
    let closed = || {
        ApiError::new(
            ErrorCode::NotFound,
            "there is no such upload, or it is over; add the image again with url upload://<name>",
        )
    };
    let row = load(app.db.read(), image).await.map_err(|_| closed())?;
    let copy = awaited(app.db.read(), &row).await?.ok_or_else(closed)?;
    let known = copy.install_path.as_deref().and_then(|url| url.rsplit('/').next()).unwrap_or_default();
    if !bool::from(known.as_bytes().ct_eq(token.as_bytes())) {
        return Err(closed());
    }
    let storage = server::load(app.db.read(), &copy.backup_storage_uuid).await?;
    let host = server::host_of(&storage)?;
    let agent = app.agents.of(app.db.read(), &host).await?;
    Ok(Upload { image: row, storage, host, agent })
}

impl Upload {
    /// Uuid of the image.
    pub fn image(&self) -> &str {
        &self.image.uuid
    }

    fn query(&self, offset: u64) -> ApiResult<ContentQuery> {
        let root = server::root(&self.storage)?;
        let path = server_path(&self.storage.url, &self.image.uuid);
        Ok(ContentQuery { storage: root.id, root: root.path, path, offset, rename_to: None, sha256: None })
    }

    /// Passes bytes on to the image server; returns how many it has now.
    pub async fn write<S>(&self, offset: u64, bytes: S) -> ApiResult<u64>
    where
        S: Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    {
        let query = self.query(offset)?;
        self.agent.put_content(&query, reqwest::Body::wrap_stream(bytes)).await.map_err(|error| {
            let what = format!("image {} could not be written at byte {offset}", self.image.name);
            agents::failure(ErrorCode::DownloadImage, what, &self.host, &error)
        })
    }

    /// Notes that bytes are coming, so that the upload is not given up.
    pub async fn touch(&self, app: &App) -> ApiResult<()> {
        app.write(|tx| async move {
            image::Entity::update_many()
                .col_expr(image::Column::LastOpDate, Expr::value(now_millis()))
                .filter(image::Column::Uuid.eq(&self.image.uuid))
                .exec(&*tx)
                .await
                .or_internal()?;
            Ok(())
        })
        .await
    }

    /// All bytes are there: the image server checks them, then the image is Ready. An image that is no good is removed.
    pub async fn finish(&self, app: &App, total: u64) -> ApiResult<()> {
        let path = server_path(&self.storage.url, &self.image.uuid);
        let operation = Check {
            root: server::root(&self.storage)?,
            image: agents::id(&self.image.uuid)?,
            source: ImageSource::Uploaded { path: path.clone(), size: size(i64::try_from(total).unwrap_or(i64::MAX)) },
            format: (self.image.media_type == "ISO").then_some(ImageFormat::Iso),
            path,
        };
        let uuid = &self.image.uuid;
        let checked = agents::run(&self.agent, &new_uuid(), "upload", operation, CHECK).await;
        let failure = match checked {
            Ok(facts) => match add::check_media(&self.image.name, &self.image.media_type, facts.format) {
                Ok(()) => {
                    let facts = [(self.storage.uuid.clone(), facts)];
                    let settled = app.write(|tx| async move {
                        add::still_there(&*tx, uuid).await?;
                        add::settle(app, &tx, uuid, &facts).await
                    });
                    return settled.await;
                }
                Err(error) => error,
            },
            // The bytes are still there: the client may send the last slice again.
            Err(error @ (ClientError::Unreachable(_) | ClientError::Timeout { .. } | ClientError::Protocol(_))) => {
                let what = format!("image {} could not be checked; send the last slice again", self.image.name);
                return Err(agents::failure(ErrorCode::DownloadImage, what, &self.host, &error));
            }
            Err(error) => {
                let what = format!("image {} is no good and was removed", self.image.name);
                agents::failure(ErrorCode::DownloadImage, what, &self.host, &error)
            }
        };
        discard(app, &self.image.uuid, std::slice::from_ref(&self.storage.uuid)).await?;
        Err(failure)
    }

    /// Bytes that the image server has.
    async fn received(&self) -> ApiResult<u64> {
        match self.agent.get_content(&self.query(0)?, 0).await {
            Ok((total, _)) => Ok(total),
            Err(ClientError::Agent(error)) if error.kind == ErrorKind::NotFound => Ok(0),
            Err(error) => Err(agents::failure(ErrorCode::Operation, "the upload cannot be read", &self.host, &error)),
        }
    }
}

async fn discard(app: &App, image: &str, storages: &[String]) -> ApiResult<()> {
    let ids = app
        .write(|tx| async move {
            let ids = add::note_files(&tx, image, storages).await?;
            add::remove_rows(&tx, image).await?;
            Ok(ids)
        })
        .await?;
    garbage::collect_now(app, &ids).await
}

/// Removes uploads that nobody goes on with (CS-IMG-031). Called by a timer.
pub async fn expire(app: &Arc<App>) -> ApiResult<()> {
    let idle = app.settings.integer("image", "upload.max.idle.duration.in.seconds", 30);
    // A client may be as silent as that, and lose as many slices in a row, before it is given up.
    let tolerated = app.settings.integer("image", "upload.failure.tolerance.count", 3).max(1);
    let before = now_millis() - idle.saturating_mul(tolerated).saturating_mul(1000);
    let waiting = image::Entity::find()
        .filter(image::Column::Status.eq("Downloading"))
        .filter(image::Column::LastOpDate.lt(before))
        .all(app.db.read())
        .await
        .or_internal()?;
    for row in waiting {
        let Some(copy) = awaited(app.db.read(), &row).await? else { continue };
        let ticket = app.queues.join([queue_key(&row.uuid)]);
        ticket.turn().await;
        let now = image::Entity::find_by_id(&row.uuid).one(app.db.read()).await.or_internal()?;
        if now.is_some_and(|now| now.status == "Downloading" && now.last_op_date < before) {
            tracing::info!(image = %row.uuid, "an upload that nobody goes on with was removed");
            discard(app, &row.uuid, &[copy.backup_storage_uuid]).await?;
        }
    }
    Ok(())
}

/// Queue in which the slices of one upload wait for each other.
pub fn queue_key(image: &str) -> String {
    format!("upload:{image}")
}

async fn details(call: Call, msg: GetUploadImageJobDetails) -> ApiResult<Map<String, Value>> {
    let conn = call.app.db.read();
    let rows = image::Entity::find()
        .filter(image::Column::Status.eq("Downloading"))
        .filter(
            Condition::any()
                .add(image::Column::Url.eq(format!("upload://{}", msg.image_id)))
                .add(image::Column::Uuid.eq(&msg.image_id)),
        )
        .all(conn)
        .await
        .or_internal()?;
    let mut found = Vec::new();
    for row in rows {
        let Some(copy) = awaited(conn, &row).await? else { continue };
        if !crate::access::may_use(conn, &call.caller, &row.uuid).await? {
            continue;
        }
        let url = copy.install_path.unwrap_or_default();
        let upload = open(&call.app, &row.uuid, url.rsplit('/').next().unwrap_or_default()).await?;
        found.push(json!({
            "longJobUuid": row.uuid,
            "longJobState": "Running",
            "imageUuid": row.uuid,
            "imageUploadUrl": url,
            "offset": upload.received().await?,
        }));
    }
    Ok(Map::from_iter([("existingJobDetails".to_owned(), Value::Array(found))]))
}
