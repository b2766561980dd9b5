//! The life of a VM, from the dialog to the recycle bin.

use anyhow::Result;
use serde_json::json;

use crate::start;

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn a_vm_is_created_stopped_started_and_destroyed() -> Result<()> {
    let (cloud, browser) = start(2).await?;
    browser.open("/vms").await?;
    browser.click("[data-testid=create-create]").await;
    // What is missing is said under its field, and nothing is sent.
    browser.click(".form-dialog [data-testid=submit]").await;
    browser.see_text(".ant-form-item-explain-error", "Required").await;
    browser.fill("#name", "web-1").await;
    browser.choose("#imageUuid", "tiny").await;
    browser.choose("#instanceOfferingUuid", "tiny").await;
    browser.choose("#l3NetworkUuids", "l3").await;
    browser.see_text(".form-dialog", "2 hosts have room for it").await;
    browser.click(".form-dialog [data-testid=submit]").await;
    browser.gone(".form-dialog").await;
    browser.see_text("tr", "web-1").await;
    browser.see("tr [data-state=Running]").await;
    let vm = cloud.admin().one("/vm-instances?q=name=web-1").await?;
    assert_eq!((&vm["state"], &vm["vmNics"][0]["l3NetworkUuid"]), (&json!("Running"), &json!(cloud.l3)));
    browser.see_text("tr", vm["vmNics"][0]["ip"].as_str().unwrap_or("no address")).await;

    // Stopping asks first; the list follows by itself.
    browser.click("[data-testid=actions-web-1]").await;
    browser.click("[data-testid=action-stop]").await;
    browser.click_text(".ant-modal-confirm button", "Stop").await;
    browser.see("tr [data-state=Stopped]").await;
    cloud.vm_becomes(vm["uuid"].as_str().unwrap_or_default(), "Stopped").await;
    browser.click("[data-testid=actions-web-1]").await;
    assert!(!browser.shows("[data-testid=action-pause]").await?, "a stopped VM is offered to be paused");
    browser.click("[data-testid=action-start]").await;
    browser.see("tr [data-state=Running]").await;

    // Details slide in; the same actions are there.
    browser.click_text("tr a", "web-1").await;
    browser.see_text(".detail", "ROOT-for-web-1").await;
    browser.click(".detail [data-testid=do-destroy]").await;
    browser.see_text(".remove-dialog", "recycle bin").await;
    browser.see_text(".remove-dialog tr", "1").await;
    let button = ".remove-dialog .ant-btn-dangerous";
    assert!(!browser.see(button).await.is_enabled().await?, "removed without a confirmation");
    browser.click(".remove-dialog .ant-checkbox-wrapper").await;
    browser.click(button).await;
    browser.see(".detail [data-state=Destroyed]").await;
    // The list of tasks has the whole story.
    browser.open("/tasks").await?;
    for (task, outcome) in [("Create Vm Instance", "Succeeded"), ("Destroy Vm Instance", "Succeeded")] {
        let row = browser.see_text(".tasks tr", task).await;
        assert!(row.text().await?.contains(outcome), "{}", row.text().await?);
    }
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn f_096_a_failure_shows_code_details_and_the_way_out() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let huge = json!({ "name": "huge", "cpuNum": 1, "memorySize": 1_i64 << 50 });
    cloud.admin().create("/instance-offerings", huge).await?;
    browser.open("/vms").await?;
    browser.click("[data-testid=create-create]").await;
    browser.fill("#name", "too-big").await;
    browser.choose("#imageUuid", "tiny").await;
    browser.choose("#instanceOfferingUuid", "huge").await;
    browser.choose("#l3NetworkUuids", "l3").await;
    browser.see_text(".form-dialog", "No host has room for it now").await;
    browser.see_text(".form-dialog .reasons", "host-1").await;
    browser.click(".form-dialog [data-testid=submit]").await;
    let failure = browser.see(".form-dialog .failure").await.text().await?;
    for part in ["Code", "Details", "host-1", "What to do", "Job"] {
        assert!(failure.contains(part), "no {part:?} in {failure}");
    }
    // What was typed is still there, to be corrected.
    assert_eq!(browser.see("#name").await.prop("value").await?.as_deref(), Some("too-big"));
    assert!(cloud.admin().query("/vm-instances?q=name=too-big").await?.is_empty());
    browser.close().await
}
