//! Console access (CS-VM-210..213, PROTOCOL.md section 12).

use mn_service_types::{ApiError, ErrorCode, date::to_wire, error::ApiResult};
use serde_json::{Map, Value, json};

use super::vm;
use crate::{
    api::{Apis, Call, Reply},
    app::Tx,
};

mn_service_types::messages! {
    RequestConsoleAccess { vm_instance_uuid: String }
    GetVmConsoleAddress { uuid: String }
}

pub(super) fn register(apis: &mut Apis) {
    apis.record(request);
    apis.sync(address);
}

async fn host_of(call: &Call, uuid: &str) -> ApiResult<String> {
    let row = vm::find(call.app.db.read(), uuid).await?;
    match row.host_uuid.filter(|_| matches!(row.state.as_str(), "Running" | "Paused")) {
        Some(host) => Ok(host),
        None => Err(ApiError::new(
            ErrorCode::VmState,
            format!("VM {} ({uuid}) is {}; only a Running VM has a console", row.name, row.state),
        )),
    }
}

async fn request(call: Call, _tx: Tx, msg: RequestConsoleAccess) -> ApiResult<Reply> {
    let app = &call.app;
    let host = host_of(&call, &msg.vm_instance_uuid).await?;
    let seconds = app.settings.integer("console", "vnc.token.timeout", 1800);
    let (token, access) = app.consoles.issue(&call.caller, &msg.vm_instance_uuid, &host, seconds);
    let listen = app.consoles.address().unwrap_or(app.config.console_listen);
    // What the caller reached the API by leads to the proxy too; only a call from before a restart does not know it.
    let reached = || url::Url::parse(call.caller.base.as_deref()?).ok()?.host_str().map(str::to_owned);
    let hostname = app.config.console_host.clone().or_else(reached).unwrap_or_else(|| listen.ip().to_string());
    let inventory = json!({
        "scheme": "http",
        "targetScheme": "vnc",
        "hostname": hostname,
        "port": listen.port(),
        "token": token,
        "version": "1",
        "expiredDate": to_wire(access.expires),
    });
    Ok(Reply::Fields(Map::from_iter([("inventory".to_owned(), inventory)])))
}

/// The raw address: VNC servers listen on their hosts only, so this names the host and no port that could be reached.
async fn address(call: Call, msg: GetVmConsoleAddress) -> ApiResult<Map<String, Value>> {
    let host = host_of(&call, &msg.uuid).await?;
    let row = super::host::find(call.app.db.read(), &host).await?;
    Ok(Map::from_iter([
        ("hostIp".to_owned(), json!(row.management_ip)),
        ("port".to_owned(), json!(0)),
        ("protocol".to_owned(), json!("vnc")),
    ]))
}
