//! Management nodes, version, readiness, task progress.

use mn_service_types::{date::now_millis, error::ApiResult};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    api::{Apis, Call},
    app::OrInternal,
};

mn_service_types::messages! {
    IsReadyToGo { management_node_id: Option<String> }
    GetVersion {}
    GetCurrentTime {}
    GetTaskProgress { api_id: Option<String>, all: bool }
}

pub(super) fn register(apis: &mut Apis) {
    apis.query("QueryManagementNode");
    apis.sync(ready);
    apis.sync(version);
    apis.sync(time);
    apis.sync(progress);
}

async fn ready(call: Call, _msg: IsReadyToGo) -> ApiResult<Map<String, Value>> {
    // Answering at all means that jobs were taken up and the database answers.
    call.app.db.read().ping().await.or_internal()?;
    Ok(Map::new())
}

async fn version(_call: Call, _msg: GetVersion) -> ApiResult<Map<String, Value>> {
    Ok(Map::from_iter([("version".to_owned(), json!(env!("CARGO_PKG_VERSION")))]))
}

async fn time(_call: Call, _msg: GetCurrentTime) -> ApiResult<Map<String, Value>> {
    let millis = now_millis();
    let current = json!({ "MillionSeconds": millis, "Seconds": millis / 1000 });
    Ok(Map::from_iter([("currentTime".to_owned(), current)]))
}

async fn progress(call: Call, msg: GetTaskProgress) -> ApiResult<Map<String, Value>> {
    let job = msg.api_id.and_then(|id| Uuid::try_parse(&id).ok());
    let entries = job.map(|job| call.app.progress.of(job)).unwrap_or_default();
    Ok(Map::from_iter([("inventories".to_owned(), Value::Array(entries))]))
}
