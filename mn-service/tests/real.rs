//! Management and host on real parts: `mn-service` and `node-manager` as programs, libvirt and QEMU, qcow2 files, the
//! kernel's bridges, dnsmasq. What a crash, bad input, a dead agent or a dead VM leaves behind is looked for on the host
//! itself and not only in the tables.

#![allow(clippy::unwrap_used, reason = "a test program: a panic is its report")]

mod site;

use std::{fs, net::SocketAddr, sync::Arc, time::Duration};

use mn_service_types::new_uuid;
use private_host::run;
use reqwest::Method;
use serde_json::{Value, json};
use site::{Site, files};
use system_tests::{cloud::uuid, eventually};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

fn isolated<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    // Err means that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    private_host::isolated(test);
}

fn steps_of(workflow: &str) -> Vec<&'static str> {
    let registry = mn_service::resource::workflows().unwrap();
    let info = registry.workflows().into_iter().find(|info| info.name == workflow).unwrap();
    info.steps.iter().map(|step| step.name).collect()
}

/// The worst moment of every step of the VM's workflows: the host has done it, the database does not know. The matrix
/// over all moments and workflows is run against simulated hosts (`crash.rs`).
#[test]
fn what_a_killed_management_service_leaves_on_a_real_host() {
    isolated(|| async {
        let mut site = Site::open().await;
        // The image is cached once, so that the figures compare.
        let warm = new_uuid();
        site.client.create("/vm-instances", site.vm_params(&warm)).await.unwrap();
        site.assert_agreement("first VM").await;
        expunge(&site, &warm).await;
        let clean = site.figures().await;

        for workflow in ["vm.create", "vm.stop", "vm.start", "vm.destroy"] {
            for step in steps_of(workflow) {
                let case = format!("{workflow}/{step}");
                let id = new_uuid();
                let path = format!("/vm-instances/{id}");
                if workflow != "vm.create" {
                    site.client.create("/vm-instances", site.vm_params(&id)).await.unwrap();
                }
                if workflow == "vm.start" {
                    site.client.act(&path, "stopVmInstance", json!({ "type": "cold" })).await.unwrap();
                }
                site.start_management(Some(&format!("{case}/AfterStep"))).await;
                site.host_becomes("Connected").await;
                let job = new_uuid();
                let put = |action: &str, params: Value| {
                    (Method::PUT, format!("{path}/actions"), Some(json!({ action: params })))
                };
                let (method, path, body) = match workflow {
                    "vm.create" => {
                        let body = json!({ "params": site.vm_params(&id) });
                        (Method::POST, "/vm-instances".to_owned(), Some(body))
                    }
                    "vm.stop" => put("stopVmInstance", json!({ "type": "cold" })),
                    "vm.start" => put("startVmInstance", json!({})),
                    _ => (Method::DELETE, path.clone(), None),
                };
                site.send(&job, method, &path, body).await;
                site.management_dies(&case).await;

                site.start_management(None).await;
                site.host_becomes("Connected").await;
                let outcome = site.client.follow(&format!("/api-jobs/{job}")).await.unwrap();
                assert!(outcome.is_ok(), "{case}: {outcome:?}\n{}", site.log("mn.log"));
                site.assert_agreement(&case).await;
                expunge(&site, &id).await;
                assert_eq!(site.figures().await, clean, "{case}: capacities and addresses");
                site.assert_agreement(&case).await;
            }
        }

        // The network goes with everything it put on the host.
        site.client.delete(&format!("/l2-networks/{}", site.l2)).await.unwrap();
        let links = run("ip", &["-o", "link", "show", "type", "bridge"]);
        assert_eq!(links, "", "a bridge stayed");
        assert_eq!(fs::read_dir("/run/netns").map(Iterator::count).unwrap_or_default(), 0, "a namespace stayed");
        assert_eq!(files(&site.path("node/dnsmasq")), Vec::<String>::new());
    });
}

async fn expunge(site: &Site, id: &str) {
    let path = format!("/vm-instances/{id}");
    let vm = site.client.one(&path).await.unwrap();
    if vm["state"] != "Destroyed" {
        site.client.delete(&path).await.unwrap();
    }
    site.client.action(&path, "expungeVmInstance", json!({})).await.unwrap().unwrap();
}

/// What the web server says to one path.
struct Page {
    path: &'static str,
    body: Vec<u8>,
    /// The length it announces; without one the body is chunked.
    promised: Option<usize>,
    /// Whether it keeps the connection open after the body.
    holds: bool,
}

/// A whole body in one chunk (RFC 9112 section 7.1).
fn chunk(body: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n0\r\n\r\n"].concat()
}

/// A web server with images that are none. Bytes on a socket: an HTTP library would not lie so well.
async fn web(good: Vec<u8>) -> SocketAddr {
    let mut corrupt = good.clone();
    // A header that points its first table far behind the end of the file.
    corrupt[40..48].copy_from_slice(&0x4000_0000_u64.to_be_bytes());
    let whole = |path, body: Vec<u8>| Page { path, promised: Some(body.len()), body, holds: false };
    let part = |path, holds| Page { path, promised: Some(good.len()), body: good[..1000].to_vec(), holds };
    let pages = Arc::new([
        whole("/good.qcow2", good.clone()),
        whole("/corrupt.qcow2", corrupt),
        whole("/page.qcow2", b"<!doctype html><p>please log in".to_vec()),
        whole("/big.raw", vec![0x55; 40 << 20]),
        Page { path: "/unknown.raw", promised: None, body: chunk(&vec![0x55; 40 << 20]), holds: false },
        part("/stall.qcow2", true),
        part("/short.qcow2", false),
    ]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let pages = Arc::clone(&pages);
            tokio::spawn(async move {
                let mut request = vec![0; 8192];
                let length = stream.read(&mut request).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let page = pages.iter().find(|page| text.split_whitespace().nth(1) == Some(page.path));
                let (status, promised) = page.map_or(("404 Not Found", Some(0)), |page| ("200 OK", page.promised));
                let length =
                    promised.map_or("Transfer-Encoding: chunked".to_owned(), |n| format!("Content-Length: {n}"));
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{length}\r\n\r\n");
                // A client that gives up half-way is what some of these pages are for.
                let _begun = stream.write_all(head.as_bytes()).await;
                let Some(page) = page else { return };
                let _sent = stream.write_all(&page.body).await;
                if page.holds {
                    let _closed = stream.read(&mut request).await;
                }
            });
        }
    });
    address
}

/// CS-IMG-030: every bad source ends in an error that names the cause, and leaves no row, no file, no claim.
#[test]
fn bad_images_are_refused_with_a_reason_and_leave_nothing() {
    isolated(|| async {
        let site = Site::open().await;
        let admin = &site.client;
        let source = site.path("empty.qcow2");
        let web = web(fs::read(&source).unwrap()).await;
        let server = format!("/backup-storage?q=uuid={}", site.backup_storage);
        let before = (files(&site.path("server")), admin.one(&server).await.unwrap());
        let cases = [
            ("missing.qcow2", "qcow2", "404"),
            ("stall.qcow2", "qcow2", "sent nothing more"),
            ("short.qcow2", "qcow2", "promised"),
            ("corrupt.qcow2", "qcow2", "qcow2"),
            ("page.qcow2", "qcow2", "web page"),
            ("good.qcow2", "raw", "as claimed"),
            ("big.raw", "raw", "free some room"),
            ("unknown.raw", "raw", "is larger than the room"),
        ];
        for (name, format, words) in cases {
            let mut params = site.image_params("bad", &format!("http://reader:hidden@{web}/{name}"));
            params["format"] = json!(format);
            let error = admin.create_fails("/images", params).await.unwrap();
            let text = error.to_string();
            assert!(text.contains(words), "{name}: {text} does not say {words:?}");
            assert!(!text.contains("hidden"), "{name}: a password in {text}");
            assert_eq!(admin.query("/images?q=name=bad").await.unwrap(), Vec::<Value>::new(), "{name}");
            let after = (files(&site.path("server")), admin.one(&server).await.unwrap());
            assert_eq!(after, before, "{name}: files and capacity of the image server");
        }
        // The server is none the worse for it.
        let params = site.image_params("good", &format!("http://{web}/good.qcow2"));
        let image = admin.create("/images", params).await.unwrap();
        assert_eq!((image["status"].as_str(), image["size"].as_i64()), (Some("Ready"), Some(16 << 20)));
        for log in ["mn.log", "agent.log"] {
            assert!(!fs::read_to_string(site.path(log)).unwrap().contains("hidden"), "a password in {log}");
        }
    });
}

/// A killed agent takes no VM with it; what happened meanwhile is seen when it is back (CS-HOST-022, CS-VM-030).
#[test]
fn a_dead_agent_and_a_dead_vm_are_seen_and_survived() {
    isolated(|| async {
        let mut site = Site::open().await;
        for (name, value) in [("ping.interval", "2"), ("ping.timeout", "2"), ("ping.maxFailure", "1")] {
            let path = format!("/global-configurations/host/{name}");
            site.client.act(&path, "updateGlobalConfig", json!({ "value": value })).await.unwrap();
        }
        let (lives, dies) = (new_uuid(), new_uuid());
        for id in [&lives, &dies] {
            site.client.create("/vm-instances", site.vm_params(id)).await.unwrap();
        }
        let state = async |site: &Site, id: &str, wanted: &str| {
            eventually(Duration::from_secs(60), || async {
                let vm = site.client.one(&format!("/vm-instances/{id}")).await.map_err(|e| e.to_string())?;
                if vm["state"] == wanted { Ok(()) } else { Err(format!("the VM is {}", vm["state"])) }
            })
            .await;
        };
        let qemu = || run("pgrep", &["-f", &format!("guest={lives}")]);
        let pid = qemu();

        // A change begun while the agent is dead is refused and leaves the VM as it was.
        site.kill_agent();
        site.host_becomes("Disconnected").await;
        state(&site, &lives, "Unknown").await;
        let path = format!("/vm-instances/{lives}");
        let refused = site.client.action(&path, "stopVmInstance", json!({})).await.unwrap().unwrap_err();
        assert!(refused.to_string().contains("Disconnected"), "{refused}");

        // One VM dies while nobody looks.
        run("virsh", &["-q", "-c", "qemu:///system", "destroy", &dies]);
        site.start_agent().await;
        site.host_becomes("Connected").await;
        state(&site, &lives, "Running").await;
        state(&site, &dies, "Stopped").await;
        assert_eq!(qemu(), pid, "the VM went on untouched");
        site.assert_agreement("after the agent's death").await;

        // And one while everybody looks.
        run("virsh", &["-q", "-c", "qemu:///system", "destroy", &lives]);
        state(&site, &lives, "Stopped").await;
        site.assert_agreement("after the VM's death").await;
        let again = site.client.act(&path, "startVmInstance", json!({})).await.unwrap();
        assert_eq!((uuid(&again).unwrap(), again["state"].as_str()), (lives.clone(), Some("Running")));
    });
}
