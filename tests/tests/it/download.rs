//! Links for downloads of backups and collected logs (OS-TUI-096, OS-TUI-100).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test like the tests themselves")]

use std::{fs, path::PathBuf};

use node_control::{
    Client, ControlError,
    management::{PUBLICATIONS, Publication, Publish, Published},
};
use reqwest::{Method, StatusCode, header};
use serde_json::Value;
use system_tests::World;

/// A browser that trusts the authority of `world`.
fn browser(world: &World) -> reqwest::Client {
    let ca = fs::read(world.data.path().join("ca/ca.pem")).unwrap();
    let ca = reqwest::Certificate::from_pem(&ca).unwrap();
    let none = reqwest::redirect::Policy::none();
    reqwest::Client::builder().tls_certs_only([ca]).redirect(none).no_proxy().build().unwrap()
}

fn control(world: &World) -> Client {
    Client::new(world.serving.app.config.control_socket())
}

/// A collection of logs with these files.
fn logs(world: &World, files: &[(&str, &str)]) -> PathBuf {
    let folder = world.data.path().join("published/logs-1");
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

async fn publish(world: &World, path: PathBuf) -> Published {
    let asked = Publish { paths: vec![path], ..Publish::default() };
    control(world).post(PUBLICATIONS, &asked).await.unwrap()
}

#[tokio::test]
async fn os_tui_096_a_browser_reads_and_downloads_what_a_link_leads_to() {
    let world = World::start().await.unwrap();
    let folder = logs(&world, &[("host <1>/agent.log", "<b>0123456789</b>"), ("dump.tar.gz", "zip")]);
    let link = publish(&world, folder).await;
    let browser = browser(&world);
    let get = async |url: &str| browser.get(url).send().await.unwrap();

    assert!(link.url.starts_with("https://"), "{}", link.url);
    let page = get(&link.url).await;
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        assert_eq!(page.headers()[&name], value, "{name}");
    }
    assert!(page.text().await.unwrap().contains("logs-1/"));
    let page = get(&format!("{}logs-1/", link.url)).await.text().await.unwrap();
    assert!(page.contains("host%20%3C1%3E/") && page.contains("host &lt;1&gt;/"), "{page}");
    let at = format!("{}logs-1/host%20%3C1%3E/agent.log", link.url);
    let text = get(&at).await;
    assert_eq!(text.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(text.text().await.unwrap(), "<b>0123456789</b>");
    let part = browser.get(&at).header(header::RANGE, "bytes=3-6").send().await.unwrap();
    assert_eq!((part.status(), part.text().await.unwrap().as_str()), (StatusCode::PARTIAL_CONTENT, "0123"));
    let archive = get(&format!("{}logs-1/dump.tar.gz", link.url)).await;
    assert_eq!(archive.headers()[header::CONTENT_DISPOSITION], "attachment");

    let query = "/zwatch/audit-records?q=apiName=DownloadPublishedFile&sort=id";
    let audits = world.admin.query(query).await.unwrap();
    assert_eq!(audits.len(), 3, "{audits:?}");
    assert_eq!((&audits[0]["resourceName"], &audits[0]["clientIp"]), (&"agent.log".into(), &"127.0.0.1".into()));
}

#[tokio::test]
async fn what_is_not_published_looks_like_what_is_not_there() {
    let world = World::start().await.unwrap();
    let folder = logs(&world, &[("a.log", "x"), (".hidden", "x")]);
    std::os::unix::fs::symlink(world.data.path().join("secret.key"), folder.join("link.log")).unwrap();
    let link = publish(&world, folder).await;
    let browser = browser(&world);
    let answer = async |method: Method, url: String| {
        let answer = browser.request(method, url).send().await.unwrap();
        let mut headers = answer.headers().clone();
        headers.remove(header::DATE);
        (answer.status(), headers, answer.text().await.unwrap())
    };
    let base = link.url.split("/download/").next().unwrap().to_owned();
    let wrong = answer(Method::GET, format!("{base}/download/{}/", "A".repeat(43))).await;
    assert_eq!(wrong.0, StatusCode::NOT_FOUND);
    for rest in [
        "x",
        "logs-1/none",
        "logs-1/.hidden",
        "logs-1/link.log",
        "logs-1/%2e%2e/secret.key",
        "logs-1/..%2fx",
        "logs-1/a.log/",
    ] {
        assert_eq!(answer(Method::GET, format!("{}{rest}", link.url)).await, wrong, "{rest}");
    }
    assert_eq!(answer(Method::GET, format!("{base}/download/")).await, wrong);
    assert_eq!(answer(Method::POST, format!("{}logs-1/a.log", link.url)).await, wrong);

    let control = control(&world);
    let listed: Vec<Publication> = control.get(PUBLICATIONS).await.unwrap();
    assert_eq!((listed.len(), &listed[0].id, listed[0].expires_ms), (1, &link.id, link.expires_ms));
    let _ended: Value = control.delete(&format!("{PUBLICATIONS}/{}", link.id)).await.unwrap();
    assert_eq!(answer(Method::GET, link.url.clone()).await, wrong, "ended");

    let outside = Publish { paths: vec![world.data.path().join("secret.key")], ..Publish::default() };
    let refused = control.post::<_, Published>(PUBLICATIONS, &outside).await.unwrap_err();
    assert!(
        matches!(&refused, ControlError::Refused { status: 400, message } if message.contains("secret.key")),
        "{refused:?}"
    );
}
