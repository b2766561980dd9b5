//! Every list, its details, its filters, and what its deletes would take along.

use anyhow::Result;
use reqwest::Method;
use serde_json::json;

use crate::start;

/// Addresses of all lists.
const KINDS: [&str; 16] = [
    "vms",
    "volumes",
    "snapshots",
    "images",
    "instance-offerings",
    "disk-offerings",
    "affinity-groups",
    "zones",
    "clusters",
    "hosts",
    "primary-storage",
    "image-servers",
    "l2-networks",
    "l3-networks",
    "settings",
    "audits",
];

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn every_list_and_every_detail_opens() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let admin = cloud.admin();
    let vm = cloud.create_vm("vm").await?;
    let root = vm["rootVolumeUuid"].as_str().unwrap_or_default();
    admin.create(&format!("/volumes/{root}/volume-snapshots"), json!({ "name": "snapshot" })).await?;
    admin.create("/disk-offerings", json!({ "name": "disk", "diskSize": 1 << 30 })).await?;
    admin.create("/affinity-groups", json!({ "name": "group", "policy": "antiSoft" })).await?;
    for kind in KINDS {
        browser.open(&format!("/{kind}")).await?;
        browser.see(&format!("[data-testid=list-{kind}] .ant-table-row")).await;
        browser.click(".ant-table-row a").await;
        browser.see(".detail .ant-descriptions-item-content").await;
        assert!(!browser.shows(".failure").await?, "{kind} shows a failure");
    }
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn f_571_a_delete_says_what_goes_with_it() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let vm = cloud.create_vm("victim").await?;
    let root = vm["rootVolumeUuid"].as_str().unwrap_or_default();
    let snapshot = format!("/volumes/{root}/volume-snapshots");
    for name in ["first", "second"] {
        cloud.admin().create(&snapshot, json!({ "name": name })).await?;
    }
    // Where it is deleted, by which name, and what is said to go.
    let cases = [
        ("zones", "zone", vec!["Virtual machines", "Volumes", "Hosts", "L3 networks", "Image servers"]),
        ("clusters", "cluster", vec!["Virtual machines", "Volumes", "Hosts"]),
        ("hosts", "host-1", vec!["Virtual machines", "Volumes"]),
        ("primary-storage", "local", vec!["Virtual machines", "Volumes"]),
        ("image-servers", "images", vec!["Images"]),
        ("l2-networks", "l2", vec!["L3 networks", "Virtual machines"]),
        ("l3-networks", "l3", vec!["Virtual machines"]),
        ("instance-offerings", "tiny", vec!["Virtual machines"]),
        ("snapshots", "first", vec!["Snapshots"]),
    ];
    for (kind, name, consequences) in cases {
        browser.open(&format!("/{kind}")).await?;
        browser.click(&format!("[data-testid=actions-{name}]")).await;
        browser.click("[data-testid=action-delete]").await;
        for consequence in consequences {
            browser.see_text(".remove-dialog tr", consequence).await;
        }
        let button = browser.see(".remove-dialog .ant-btn-dangerous").await;
        assert!(!button.is_enabled().await?, "{kind} can be deleted unread");
    }
    // Only whoever writes the name deletes a zone.
    browser.open("/zones").await?;
    browser.click("[data-testid=actions-zone]").await;
    browser.click("[data-testid=action-delete]").await;
    browser.fill("[data-testid=confirm-name]", "zon").await;
    assert!(!browser.see(".remove-dialog .ant-btn-dangerous").await.is_enabled().await?);
    browser.fill("[data-testid=confirm-name]", "zone").await;
    browser.click(".remove-dialog .ant-btn-dangerous").await;
    browser.see_text("[data-testid=list-zones]", "Nothing here yet").await;
    assert!(cloud.admin().query("/zones").await?.is_empty());
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn plat_dash_031_lists_are_paged_sorted_filtered_and_searched_by_the_service() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    for number in 1..=24 {
        let offering = json!({ "name": format!("size-{number:02}"), "cpuNum": 1, "memorySize": 1_i64 << 30 });
        let made = cloud.admin().create("/instance-offerings", offering).await?;
        if number == 7 {
            let path = format!("/instance-offerings/{}", made["uuid"].as_str().unwrap_or_default());
            cloud.admin().act(&path, "changeInstanceOfferingState", json!({ "stateEvent": "disable" })).await?;
        }
    }
    let row = ".ant-table-row";
    browser.open("/instance-offerings?sort=name&size=10").await?;
    browser.see_text(".ant-pagination", "25 in total").await;
    browser.see_text(row, "size-01").await;
    browser.click(".ant-pagination-item-3").await;
    browser.see_text(row, "size-24").await;
    assert_eq!(browser.evaluate("return location.search").await?, "?page=3&size=10&sort=name");
    // Another order, by a click on the column's head.
    browser.open("/instance-offerings?size=10&sort=name").await?;
    browser.click_text("th", "Name").await;
    browser.see_text(".ant-table-row:first-of-type, .ant-table-row", "tiny").await;
    // A filter and a search are conditions of the query.
    browser.open("/instance-offerings?is.state=Disabled").await?;
    browser.see_text(".ant-pagination", "1 in total").await;
    browser.see_text(row, "size-07").await;
    browser.open("/instance-offerings").await?;
    browser.fill(".search input", "size-1").await;
    browser.click(".search .ant-input-search-button").await;
    browser.see_text(".ant-pagination", "10 in total").await;
    browser.fill(".search input", "no such thing").await;
    browser.click(".search .ant-input-search-button").await;
    browser.see_text(".ant-table", "Nothing matches").await;
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn a_global_setting_is_changed_and_a_wrong_value_is_refused() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let value = async || -> Result<String> {
        let path = "/global-configurations?q=category=identity&q=name=session.timeout";
        let (_, answer) = cloud.admin().send(Method::GET, path, None).await?;
        Ok(answer["inventories"][0]["value"].as_str().unwrap_or_default().to_owned())
    };
    browser.open("/settings?q=session.timeout").await?;
    browser.click("[data-testid='actions-session.timeout']").await;
    browser.click("[data-testid=action-set]").await;
    browser.fill("#value", "soon").await;
    browser.click(".form-dialog [data-testid=submit]").await;
    browser.see(".form-dialog .failure").await;
    assert_eq!(value().await?, "7200");
    // OPS-LGN-005.
    browser.fill("#value", "720000").await;
    browser.click(".form-dialog [data-testid=submit]").await;
    browser.gone(".form-dialog").await;
    browser.see_text("tr", "720000").await;
    assert_eq!(value().await?, "720000");
    browser.close().await
}
