//! Against a service that keeps what it is told in memory: what is created, in which order, and what a second run does.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{Method, StatusCode, Uri},
};

use super::*;

/// Resources by collection path, and every change that was asked for.
#[derive(Clone, Default)]
struct Service {
    rows: Arc<Mutex<Vec<(String, Value)>>>,
    changes: Arc<Mutex<Vec<String>>>,
}

/// Where a create lands in the query collections.
fn collection(path: &str) -> &str {
    match path {
        "/hosts/kvm" => "/hosts",
        "/primary-storage/local-storage" => "/primary-storage",
        "/backup-storage/image-store" => "/backup-storage",
        "/l2-networks/no-vlan" => "/l2-networks",
        other => other,
    }
}

async fn serve(
    State(service): State<Service>,
    method: Method,
    uri: Uri,
    Query(query): Query<Vec<(String, String)>>,
    body: String,
) -> (StatusCode, Json<Value>) {
    let path = uri.path().strip_prefix("/zstack/v1").unwrap().to_owned();
    let body: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let mut rows = service.rows.lock().unwrap();
    if method == Method::GET {
        let fits = |row: &Value| {
            query.iter().all(|(_, condition)| match condition.split_once("!=") {
                Some((field, value)) => row[field] != value,
                None => condition.split_once('=').is_some_and(|(field, value)| row[field] == value),
            })
        };
        let found: Vec<&Value> = rows.iter().filter(|(at, row)| *at == path && fits(row)).map(|(_, row)| row).collect();
        return (StatusCode::OK, Json(json!({"inventories": found})));
    }
    if path == "/accounts/login" {
        return (StatusCode::OK, Json(json!({"inventory": {"uuid": "session"}})));
    }
    service.changes.lock().unwrap().push(format!("{method} {path}"));
    let mut parts = path.split('/').skip(1);
    let (first, second, third, fourth) = (parts.next().unwrap(), parts.next(), parts.next(), parts.next());
    let mut row_of = |uuid: &str, change: &mut dyn FnMut(&mut Value)| {
        let row = rows.iter_mut().map(|(_, row)| row).find(|row| row["uuid"] == uuid).unwrap();
        change(row);
        row.clone()
    };
    let answer = match (first, second, third, fourth) {
        ("clusters", Some(to), Some("primary-storage"), Some(uuid))
        | ("l2-networks", Some(uuid), Some("clusters"), Some(to)) => {
            row_of(uuid, &mut |row| row["attachedClusterUuids"] = json!([to]))
        }
        ("zones", Some(to), Some("backup-storage"), Some(uuid)) => {
            row_of(uuid, &mut |row| row["attachedZoneUuids"] = json!([to]))
        }
        ("l3-networks", Some(uuid), Some(part), None) => {
            let field = if part == "ip-ranges" {
                "ipRanges"
            } else if part == "dns" {
                "dns"
            } else {
                "networkServices"
            };
            row_of(uuid, &mut |row| row[field] = json!([body["params"]]))
        }
        ("vm-instances", Some(uuid), Some("actions"), None) => {
            let state = if body.get("stopVmInstance").is_some() { "Stopped" } else { "Running" };
            row_of(uuid, &mut |row| row["state"] = json!(state))
        }
        _ => {
            let mut row = body["params"].clone();
            let fresh = row["resourceUuid"].as_str().map_or_else(|| format!("u{}", rows.len()), str::to_owned);
            row["uuid"] = json!(fresh);
            let at = collection(&path).to_owned();
            match at.as_str() {
                "/hosts" => row["status"] = json!("Connected"),
                "/images" => row["status"] = json!("Ready"),
                "/vm-instances" => {
                    row["state"] = json!("Running");
                    row["hostUuid"] = json!("h057");
                    row["vmNics"] = json!([{"ip": "10.213.100.10"}]);
                }
                _ => {}
            }
            rows.push((at, row.clone()));
            row
        }
    };
    (StatusCode::OK, Json(json!({"inventory": answer})))
}

async fn service() -> (Client, Service) {
    crate::install_crypto();
    let service = Service::default();
    let provider = ("/network-services/providers".to_owned(), json!({"uuid": "f1a7", "type": "Flat"}));
    service.rows.lock().unwrap().push(provider);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(serve).with_state(service.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (Client::log_in(&url, "admin", "password").await.unwrap(), service)
}

fn plan() -> Plan {
    Plan {
        password: "secret".to_owned(),
        host: "h057".into(),
        vm: "f00d".into(),
        host_address: "127.0.0.1".into(),
        volumes: "/state/volumes".into(),
        images: "/state/images".into(),
        guest: "/cache/guest.qcow2".into(),
        uplink: "zsu123456".into(),
        range: crate::uplink::range("10.213.100.0/24".parse().unwrap()).unwrap(),
        dns: Some(Ipv4Addr::new(192, 0, 2, 53)),
    }
}

async fn bring_up(cloud: &Cloud<'_>) -> (Vm, bool, Vec<String>) {
    let (zone, cluster) = cloud.hosts().await.unwrap();
    let ground = cloud.ground(&zone, &cluster).await.unwrap();
    let mut looked_at = Vec::new();
    let (vm, fresh) = cloud.vm(&ground, async |uuid: &str| looked_at.push(uuid.to_owned())).await.unwrap();
    (vm, fresh, looked_at)
}

#[tokio::test]
async fn a_new_cloud_is_made_in_order_and_found_again() {
    let (api, service) = service().await;
    let plan = plan();
    let cloud = Cloud { api: &api, plan: &plan };
    let (vm, fresh, _) = bring_up(&cloud).await;
    assert!(fresh);
    assert_eq!(
        (vm.uuid.as_str(), vm.state.as_str(), vm.host.as_str(), vm.ip.as_str()),
        ("f00d", "Running", "host1", "10.213.100.10")
    );
    let made: Vec<String> = std::mem::take(&mut service.changes.lock().unwrap());
    let (zone, cluster, storage, server, l2, l3) = ("u1", "u2", "u4", "u5", "u7", "u8");
    assert_eq!(
        made,
        [
            "POST /zones".to_owned(),
            "POST /clusters".to_owned(),
            "POST /hosts/kvm".to_owned(),
            "POST /primary-storage/local-storage".to_owned(),
            format!("POST /clusters/{cluster}/primary-storage/{storage}"),
            "POST /backup-storage/image-store".to_owned(),
            format!("POST /zones/{zone}/backup-storage/{server}"),
            "POST /images".to_owned(),
            "POST /l2-networks/no-vlan".to_owned(),
            format!("POST /l2-networks/{l2}/clusters/{cluster}"),
            "POST /l3-networks".to_owned(),
            format!("POST /l3-networks/{l3}/ip-ranges"),
            format!("POST /l3-networks/{l3}/dns"),
            format!("POST /l3-networks/{l3}/network-services"),
            "POST /instance-offerings".to_owned(),
            "POST /vm-instances".to_owned(),
        ]
    );
    let services = service.rows.lock().unwrap().iter().find(|(_, row)| row["name"] == "network1").unwrap().1.clone();
    assert_eq!(services["networkServices"][0]["networkServices"], json!({"f1a7": ["DHCP", "Userdata"]}));

    let (again, fresh, looked_at) = bring_up(&cloud).await;
    assert_eq!((again, fresh), (vm, false));
    assert_eq!(*service.changes.lock().unwrap(), Vec::<String>::new());
    assert!(looked_at.is_empty());
}

#[tokio::test]
async fn a_stopped_vm_is_started_after_its_console_was_looked_at() {
    let (api, service) = service().await;
    let plan = plan();
    let cloud = Cloud { api: &api, plan: &plan };
    let (vm, ..) = bring_up(&cloud).await;
    cloud.stop(&vm.uuid).await.unwrap();
    assert_eq!(cloud.look(&vm.uuid).await.unwrap().state, "Stopped");
    service.changes.lock().unwrap().clear();
    let (vm, fresh, looked_at) = bring_up(&cloud).await;
    assert_eq!((vm.state.as_str(), fresh), ("Running", true));
    assert_eq!(looked_at, ["f00d"]);
    assert_eq!(*service.changes.lock().unwrap(), ["PUT /vm-instances/f00d/actions"]);
}
