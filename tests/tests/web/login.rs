//! Login, passwords, languages, the end of a session, hints about the browser.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use sha2::{Digest, Sha512};
use system_tests::{Browser, Client, Cloud};

use crate::{PASSWORD, address, start};

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn the_first_login_is_with_the_default_password_which_must_be_changed() -> Result<()> {
    let cloud = Cloud::with_ui(1).await?;
    let browser = Browser::start(&address(&cloud)).await?;
    browser.open("/").await?;
    // PLAT-LOGIN-022: a wrong password is said to be one.
    browser.fill("#account", "admin").await;
    browser.fill("#password", "wrong").await;
    browser.click("[data-testid=login]").await;
    browser.see_text("[data-testid=login-error]", "wrong account name or password").await;
    browser.see_text("[data-testid=login-error]", "ID.1000").await;
    // PLAT-LOGIN-001, and the forced change.
    browser.log_in("password").await?;
    browser.see_text(".password-dialog", "Choose another one before you go on").await;
    assert!(!browser.shows(".password-dialog .ant-modal-close").await?, "the forced change can be closed");
    browser.fill("#old", "password").await;
    browser.fill("#next", PASSWORD).await;
    browser.fill("#repeat", "another password").await;
    browser.click(".password-dialog [data-testid=submit]").await;
    browser.see_text(".password-dialog", "The two new passwords differ").await;
    browser.fill("#repeat", PASSWORD).await;
    browser.click(".password-dialog [data-testid=submit]").await;
    browser.gone(".password-dialog").await;
    // The change holds for every client.
    let mut client = Client::new(&address(&cloud));
    assert!(client.log_in("admin", "password").await?.is_err());
    assert!(client.log_in("admin", PASSWORD).await?.is_ok());
    browser.click("[data-testid=account]").await;
    browser.click("[data-testid=logout]").await;
    browser.see("[data-testid=login]").await;
    browser.log_in(PASSWORD).await?;
    assert!(!browser.shows(".password-dialog").await?, "the new password has to be changed too");
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn a_session_that_ends_leads_to_the_login_and_back_to_where_it_was() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    browser.open("/zones").await?;
    browser.see_text("[data-testid=list-zones]", "zone").await;
    let session = browser.evaluate("return JSON.parse(localStorage.getItem('zstack.session')).uuid").await?;
    let session = session.as_str().unwrap_or_default();
    cloud.admin().send(Method::DELETE, &format!("/accounts/sessions/{session}"), None).await?;
    // OPS-LGN-004: the page asks again by itself and learns it.
    browser.see_text("[data-testid=expired]", "The session has expired").await;
    browser.log_in(PASSWORD).await?;
    browser.see("[data-testid=list-zones]").await;
    assert_eq!(browser.path().await?, "/zones");
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn the_language_is_chosen_and_kept() -> Result<()> {
    let (_cloud, browser) = start(1).await?;
    browser.see_text(".toolbar", "Dashboard").await;
    browser.choose(".header .ant-select-selector", "中文").await;
    browser.see_text(".toolbar", "首页").await;
    browser.click_text(".ant-menu-item", "区域").await;
    browser.see_text("[data-testid=list-zones]", "共 1 条").await;
    browser.open("/zones").await?;
    browser.see_text("[data-testid=list-zones]", "已启用").await;
    assert_eq!(browser.evaluate("return document.documentElement.lang").await?, "zh-CN");
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn f_572_and_f_573_hints_about_clock_and_window() -> Result<()> {
    let (_cloud, browser) = start(1).await?;
    browser.see("[data-testid=dashboard]").await;
    assert!(!browser.shows("[data-testid=clock-hint]").await?, "a hint although the clocks agree");
    assert!(!browser.shows("[data-testid=narrow-hint]").await?, "a hint although the window is wide");
    browser.resize(1024, 800).await?;
    browser.see_text("[data-testid=narrow-hint]", "1280").await;
    let late = "const now = Date.now.bind(Date); Date.now = () => now() - 3600e3;";
    browser.before_each_page(late).await?;
    browser.open("/").await?;
    browser.see_text("[data-testid=clock-hint]", "differ by 3").await;
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn an_account_sees_what_it_may_use() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let password = hex::encode(Sha512::digest("tenant password"));
    cloud.admin().create("/accounts", json!({ "name": "tenant", "password": password })).await?;
    cloud.create_vm("not-yours").await?;
    browser.click("[data-testid=account]").await;
    browser.click("[data-testid=logout]").await;
    browser.log_in_as("tenant", "tenant password").await?;
    browser.see_text(".ant-menu-item", "Virtual machines").await;
    browser.see_text(".counts", "Virtual machines").await;
    for (item, seen) in [("vms", true), ("volumes", true), ("hosts", false), ("zones", false), ("settings", false)] {
        assert_eq!(browser.shows(&format!(".ant-menu a[href='/{item}']")).await?, seen, "{item}");
    }
    assert!(!browser.shows(".failure").await?, "the dashboard shows a failure");
    browser.open("/vms").await?;
    browser.see_text("[data-testid=list-vms]", "Nothing here yet").await;
    browser.close().await
}
