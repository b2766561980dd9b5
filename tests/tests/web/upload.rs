//! Images from the browser's own machine.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use system_tests::eventually;

use crate::start;

/// Larger than two slices, so that there is something to watch.
const SIZE: usize = 20 << 20;

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn cs_img_031_an_image_is_uploaded_with_progress() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("system.qcow2");
    std::fs::write(&file, vec![7_u8; SIZE])?;
    // Every figure that the page shows is written down.
    browser.open("/images").await?;
    browser
        .evaluate(
            "window.seen = [];
             new MutationObserver(() => {
               const place = document.querySelector('[data-testid=upload-progress]');
               const sent = place && Number(place.dataset.sent);
               if (place && sent !== window.seen.at(-1)) window.seen.push(sent);
             }).observe(document.body, { subtree: true, childList: true, attributes: true });",
        )
        .await?;
    browser.click("[data-testid=create-upload]").await;
    browser.give_file("[data-testid=file]", &file).await?;
    // The file's name says name and format.
    assert_eq!(browser.see("#name").await.prop("value").await?.as_deref(), Some("system"));
    browser.see_text(".upload-dialog", "system.qcow2 (20 MiB)").await;
    browser.choose("#backupStorageUuids", "images").await;
    browser.click(".upload-dialog [data-testid=submit]").await;
    browser.gone(".upload-dialog").await;
    browser.see_text("tr", "system").await;
    let image = cloud.admin().one("/images?q=name=system").await?;
    assert_eq!((&image["status"], &image["size"], &image["format"]), (&json!("Ready"), &json!(SIZE), &json!("qcow2")));
    let seen = browser.evaluate("return window.seen").await?;
    let seen: Vec<u64> = seen.as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64).collect();
    // One figure a slice at least. Whether the last one is ever seen is luck: the dialog closes with it.
    assert!(seen.len() >= 3 && seen.is_sorted() && seen.last() <= Some(&(SIZE as u64)), "{seen:?}");
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn an_upload_that_is_cancelled_leaves_nothing() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("system.qcow2");
    std::fs::write(&file, vec![7_u8; SIZE])?;
    browser.open("/images").await?;
    // Slow enough to be cancelled in time.
    browser.slow_uploads(256 * 1024).await?;
    browser.click("[data-testid=create-upload]").await;
    browser.give_file("[data-testid=file]", &file).await?;
    browser.choose("#backupStorageUuids", "images").await;
    browser.click(".upload-dialog [data-testid=submit]").await;
    browser.see_text("[data-testid=upload-progress]", "20 MiB").await;
    browser.click("[data-testid=upload-abort]").await;
    eventually(Duration::from_secs(60), || async {
        let images = cloud.admin().query("/images?q=name=system").await.map_err(|error| error.to_string())?;
        if images.is_empty() { Ok(()) } else { Err(format!("{images:?}")) }
    })
    .await;
    browser.close().await
}
