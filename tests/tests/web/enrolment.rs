//! Codes by which nodes join, on the page of hosts (docs/decisions/0015-enrolment.md).

use anyhow::{Context as _, Result};
use node_manager_types::enrolment::Code;

use crate::start;

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn a_code_is_shown_once_with_what_to_do_and_withdrawn() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let codes = async || -> Result<Vec<serde_json::Value>> {
        let answer = cloud.admin().get("/extensions/host-enrolment-codes").await?;
        let answer = answer.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(answer["inventories"].as_array().context("no list")?.clone())
    };
    browser.open("/hosts").await?;
    browser.click("[data-testid=create-enrol]").await;
    // Nothing is made before the cluster is chosen.
    browser.click("[data-testid=make-code]").await;
    browser.see_text(".enrolment-dialog .ant-form-item-explain-error", "Required").await;
    assert!(codes().await?.is_empty());
    browser.choose("#clusterUuid", "cluster").await;
    browser.fill("#uses", "3").await;
    browser.click("[data-testid=make-code]").await;

    let shown = browser.see("[data-testid=code]").await.text().await?;
    let code: Code = shown.parse()?;
    assert_eq!(code.reveal(), shown);
    let made = codes().await?;
    assert_eq!((made.len(), &made[0]["identifier"]), (1, &serde_json::json!(code.identifier())));
    assert_eq!((&made[0]["uses"], &made[0]["clusterUuid"]), (&serde_json::json!(3), &serde_json::json!(cloud.cluster)));
    browser.see_text("[data-testid=made-code]", "F2, Join a Cloud").await;
    browser.see_text("[data-testid=command]", "node-manager join --address 127.0.0.1").await;
    browser.see_text("[data-testid=enrolment-codes]", "0 / 3").await;
    browser.see_text("[data-testid=enrolment-codes]", "59 min").await;

    // Whoever comes later sees that there is one, and not which.
    browser.click(".enrolment-dialog .ant-modal-footer button").await;
    browser.gone(".enrolment-dialog").await;
    browser.click("[data-testid=create-enrol]").await;
    browser.see_text("[data-testid=enrolment-codes]", code.identifier()).await;
    assert!(!browser.shows("[data-testid=code]").await?);
    browser.click(&format!("[data-testid=withdraw-{}]", code.identifier())).await;
    browser.click("[data-testid=withdraw-sure]").await;
    browser.gone("[data-testid=enrolment-codes]").await;
    assert!(codes().await?.is_empty());
    browser.close().await
}
