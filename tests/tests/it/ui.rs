//! The web UI's address: files, the API and consoles (PLAT-UI-001). What a browser makes of it is in `tests/web`.

use std::path::Path;

use anyhow::Result;
use mn_service::resource;
use reqwest::{Client as Http, StatusCode, header};
use serde_json::{Value, json};
use system_tests::{Client, World, world::Options};

async fn with_files(folder: &Path) -> Result<(World, String)> {
    let world = World::with(Options { ui_dir: Some(folder.to_owned()), ..Default::default() }).await?;
    let base = format!("http://{}", world.serving.ui_address);
    Ok((world, base))
}

fn install(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("assets"))?;
    std::fs::write(folder.join("index.html"), "<meta name=\"csp-nonce\" content=\"__CSP_NONCE__\"><div id=\"root\">")?;
    std::fs::write(folder.join("assets/app-1.js"), "plain")?;
    std::fs::write(folder.join("assets/app-1.js.gz"), "zipped")?;
    Ok(())
}

/// The client's own unpacking would hide what the service sends.
async fn get(url: &str, headers: &[(header::HeaderName, &str)]) -> Result<reqwest::Response> {
    let request = headers.iter().fold(Http::new().get(url), |request, (name, value)| request.header(name, *value));
    Ok(request.send().await?)
}

#[tokio::test]
async fn the_page_comes_with_a_policy_and_files_with_caching() -> Result<()> {
    let folder = tempfile::tempdir()?;
    install(folder.path())?;
    let (_world, base) = with_files(folder.path()).await?;
    // Addresses of the UI's own pages begin with the page, too.
    for path in ["/", "/vms", "/vms/9b26312501614ec0b6dc731e6977dfb2"] {
        let page = get(&format!("{base}{path}"), &[]).await?;
        assert_eq!(page.status(), StatusCode::OK, "{path}");
        assert_eq!(page.headers()[header::CACHE_CONTROL], "no-store");
        assert_eq!(page.headers()[header::X_FRAME_OPTIONS], "DENY");
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str()?.to_owned();
        let text = page.text().await?;
        let nonce = text.split("content=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        assert!(nonce.len() > 20 && policy.contains(&format!("'nonce-{nonce}'")), "{policy} for {text}");
    }
    let script = format!("{base}/assets/app-1.js");
    let file = get(&script, &[(header::ACCEPT_ENCODING, "gzip")]).await?;
    assert_eq!(file.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(file.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
    assert_eq!(file.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!(file.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    let tag = file.headers()[header::ETAG].to_str()?.to_owned();
    assert_eq!(file.text().await?, "zipped");
    let again = get(&script, &[(header::ACCEPT_ENCODING, "gzip"), (header::IF_NONE_MATCH, &tag)]).await?;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(get(&script, &[]).await?.text().await?, "plain");
    let head = Http::new().head(&script).send().await?;
    assert_eq!((head.status(), head.text().await?.as_str()), (StatusCode::OK, ""));
    Ok(())
}

#[tokio::test]
async fn nothing_but_the_built_files_is_served() -> Result<()> {
    let folder = tempfile::tempdir()?;
    install(&folder.path().join("ui"))?;
    std::fs::write(folder.path().join("secret.txt"), "secret")?;
    let (world, base) = with_files(&folder.path().join("ui")).await?;
    // Written by hand: a client library would tidy the paths up.
    for path in ["/../secret.txt", "/assets/../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/.env"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = raw(world.serving.ui_address, &request).await?;
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("secret\n"), "{path}: {answer}");
    }
    assert_eq!(get(&format!("{base}/assets/none.js"), &[]).await?.status(), StatusCode::NOT_FOUND);
    let post = Http::new().post(&base).send().await?;
    assert_eq!(
        (post.status(), &post.headers()[header::ALLOW]),
        (StatusCode::METHOD_NOT_ALLOWED, &"GET, HEAD".parse()?)
    );
    Ok(())
}

async fn raw(address: std::net::SocketAddr, request: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn without_files_the_page_says_how_to_get_them_and_the_api_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (_world, base) = with_files(&folder.path().join("nowhere")).await?;
    let page = get(&base, &[]).await?;
    // What `zstack-ctl ui_status` takes for "not running".
    assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
    let text = page.text().await?;
    assert!(text.contains("nowhere") && text.contains("cargo xtask ui"), "{text}");
    let mut client = Client::new(&base);
    assert!(client.log_in("admin", "password").await?.is_ok());
    // Installed while the service runs.
    install(&folder.path().join("nowhere"))?;
    assert_eq!(get(&base, &[]).await?.status(), StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn the_api_and_the_consoles_are_at_the_same_address() -> Result<()> {
    let folder = tempfile::tempdir()?;
    install(folder.path())?;
    let (_world, base) = with_files(folder.path()).await?;
    let mut client = Client::new(&base);
    client.log_in("admin", "password").await?.map_err(|error| anyhow::anyhow!("{error}"))?;
    // A job is found where it was asked for.
    let zone = client.create("/zones", json!({ "name": "zone" })).await?;
    assert_eq!(client.one("/zones").await?["uuid"], zone["uuid"]);
    let unknown = get(&format!("{base}/zstack/elsewhere"), &[]).await?;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);
    let console = get(
        &format!("{base}/console?token=guess"),
        &[
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
    )
    .await?;
    assert_eq!(console.status(), StatusCode::FORBIDDEN);
    Ok(())
}

/// The UI offers nothing that the service would answer with "not implemented".
#[test]
fn every_call_of_the_ui_is_implemented() -> Result<()> {
    let used: Value = serde_json::from_str(include_str!("../../../mn-service/ui/src/contract/used.json"))?;
    let apis = resource::apis();
    let names = used["apis"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let missing: Vec<&str> = names.filter(|name| apis.get(name).is_none()).collect();
    assert!(missing.is_empty(), "the web UI uses APIs that are not implemented: {missing:?}");
    Ok(())
}
