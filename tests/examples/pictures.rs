//! Takes the pictures of the web UI that the documentation shows:
//! `ZSTACK_UI_DIR=$(cargo xtask ui) cargo run -p system-tests --example pictures -- docs/images`.
//! A simulated screen is colours only; with the address of the web UI of a cloud that runs (`cargo xtask run`) as a second
//! argument, and its password in `ZSTACK_PASSWORD`, the console of its VM is taken instead.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha512};
use system_tests::{Browser, Client, Cloud};

const PASSWORD: &str = "a password of our own";

/// Charts and dialogs move into place; a picture is taken when they stand still.
const STILL: Duration = Duration::from_millis(1500);

async fn take(browser: &Browser, folder: &std::path::Path, name: &str) -> Result<()> {
    tokio::time::sleep(STILL).await;
    let file = folder.join(name).with_extension("png");
    std::fs::write(&file, browser.picture().await?).with_context(|| format!("{} cannot be written", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).context("name the folder for the pictures")?);
    std::fs::create_dir_all(&folder)?;
    let cloud = Cloud::with_ui(4).await?;
    let admin = cloud.admin();
    let password = json!({ "updateAccount": { "password": hex::encode(Sha512::digest(PASSWORD)) } });
    let account = format!("/accounts/{}", mn_service_types::ADMIN_ACCOUNT);
    admin.call(Method::PUT, &account, Some(password)).await?.map_err(|error| anyhow::anyhow!("{error}"))?;
    let mut first = String::new();
    for (index, name) in
        ["web-1", "web-2", "database", "mail", "build", "monitor", "archive", "test"].into_iter().enumerate()
    {
        let vm = cloud.create_vm(name).await?;
        let uuid = vm["uuid"].as_str().unwrap_or_default().to_owned();
        let path = format!("/vm-instances/{uuid}");
        match index {
            0 => first = uuid,
            4 => drop(admin.act(&path, "pauseVmInstance", json!({})).await?),
            6 | 7 => drop(admin.act(&path, "stopVmInstance", json!({})).await?),
            _ => {}
        }
    }
    let browser = Browser::start(&format!("http://{}", cloud.world().serving.ui_address)).await?;
    browser.resize(1360, 850).await?;
    browser.open("/").await?;
    browser.see("[data-testid=login]").await;
    take(&browser, &folder, "login").await?;
    browser.log_in(PASSWORD).await?;
    browser.see("[data-testid=dashboard] canvas").await;
    take(&browser, &folder, "dashboard").await?;
    browser.open("/vms").await?;
    browser.see_text("tr", "web-1").await;
    take(&browser, &folder, "vms").await?;
    browser.click("[data-testid=create-create]").await;
    browser.fill("#name", "shop").await;
    browser.choose("#imageUuid", "tiny").await;
    browser.choose("#instanceOfferingUuid", "tiny").await;
    browser.choose("#l3NetworkUuids", "l3").await;
    browser.see_text(".form-dialog", "hosts have room").await;
    take(&browser, &folder, "create").await?;
    browser.open(&format!("/vms/{first}")).await?;
    browser.see_text(".detail", "ROOT-for-web-1").await;
    take(&browser, &folder, "detail").await?;
    browser.open("/zones").await?;
    browser.click("[data-testid=actions-zone]").await;
    browser.click("[data-testid=action-delete]").await;
    browser.see_text(".remove-dialog tr", "Virtual machines").await;
    take(&browser, &folder, "delete").await?;
    browser.open("/").await?;
    browser.choose(".header .ant-select-selector", "中文").await;
    take(&browser, &folder, "dashboard-zh").await?;
    browser.close().await?;
    match std::env::args().nth(2) {
        Some(url) => console(&url, &std::env::var("ZSTACK_PASSWORD")?, &folder).await,
        None => Ok(()),
    }
}

/// The console of the first VM of a cloud that runs, with a command on it.
async fn console(url: &str, password: &str, folder: &std::path::Path) -> Result<()> {
    let mut client = Client::new(url);
    client.log_in("admin", password).await?.map_err(|error| anyhow::anyhow!("{error}"))?;
    let running = client.query("/vm-instances?q=state=Running&sort=createDate").await?;
    let vm = running.first().context("the cloud has no running VM")?["uuid"].as_str().unwrap_or_default();
    let browser = Browser::start(url).await?;
    browser.resize(1360, 850).await?;
    browser.open("/").await?;
    browser.log_in(password).await?;
    browser.open(&format!("/console/{vm}")).await?;
    browser.see("[data-testid=console][data-status=connected]").await;
    const ENTER: char = '\u{E007}';
    for key in [ENTER].into_iter().chain("uname -a".chars()).chain([ENTER]) {
        browser.press(key).await?;
    }
    take(&browser, folder, "console").await?;
    browser.close().await
}
