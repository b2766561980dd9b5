//! The web UI in a real browser, over a cloud of simulated hosts. Needs Chromium and the built UI, so these run where
//! `cargo xtask test` has both: `ZSTACK_UI_DIR=$(cargo xtask ui) cargo test -p system-tests --test web -- --ignored`.

mod console;
mod enrolment;
mod installer;
mod lists;
mod login;
mod upload;
mod vm;

use anyhow::Result;
use mn_service_types::ADMIN_ACCOUNT;
use serde_json::json;
use sha2::{Digest, Sha512};
use system_tests::{Browser, Cloud};

/// Password of the administrator in these clouds; the one every cloud starts with has to be changed first.
const PASSWORD: &str = "a password of our own";

/// A cloud and a browser that is logged in to it.
async fn start(hosts: usize) -> Result<(Cloud, Browser)> {
    let cloud = Cloud::with_ui(hosts).await?;
    let password = hex::encode(Sha512::digest(PASSWORD));
    let path = format!("/accounts/{ADMIN_ACCOUNT}");
    let body = json!({ "updateAccount": { "password": password } });
    let changed = cloud.admin().call(reqwest::Method::PUT, &path, Some(body)).await?;
    changed.map_err(|error| anyhow::anyhow!("{error}"))?;
    let browser = Browser::start(&address(&cloud)).await?;
    browser.open("/").await?;
    browser.log_in(PASSWORD).await?;
    Ok((cloud, browser))
}

/// Address of the cloud's web UI.
fn address(cloud: &Cloud) -> String {
    format!("http://{}", cloud.world().serving.ui_address)
}
