//! The console: pixels of a VNC screen on a canvas, keys from the browser.

use std::time::Duration;

use anyhow::Result;
use node_manager_sim::screen::{BARS, Colour, FIELD, HEIGHT, WIDTH};
use serde_json::Value;
use system_tests::{Browser, eventually};

use crate::start;

/// Waits for the colour of a pixel of the VM's screen.
async fn pixel(browser: &Browser, x: u16, y: u16, expected: Colour) {
    let script = format!(
        "const canvas = document.querySelector('.console-screen canvas');
         if (!canvas || canvas.width !== {WIDTH} || canvas.height !== {HEIGHT}) return null;
         return [...canvas.getContext('2d').getImageData({x}, {y}, 1, 1).data].slice(0, 3);"
    );
    eventually(Duration::from_secs(60), || async {
        let found = browser.evaluate(&script).await.map_err(|error| error.to_string())?;
        let wanted = Value::from(expected.to_vec());
        if found == wanted { Ok(()) } else { Err(format!("pixel {x},{y} is {found} and not {wanted}")) }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn cs_vm_210_the_console_shows_the_screen_and_takes_keys() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    cloud.create_vm("seen").await?;
    browser.open("/vms").await?;
    browser.click("[data-testid=actions-seen]").await;
    browser.click("[data-testid=action-console]").await;
    browser.newest_window().await?;
    browser.see("[data-testid=console][data-status=connected]").await;
    let last = WIDTH - 10;
    for (x, bar) in [(10, BARS[0]), (WIDTH / 3 + 10, BARS[1]), (last, BARS[2])] {
        pixel(&browser, x, 10, bar).await;
    }
    pixel(&browser, WIDTH / 2, HEIGHT / 2, FIELD[0]).await;
    browser.press('a').await?;
    pixel(&browser, WIDTH / 2, HEIGHT / 2, FIELD[1]).await;
    browser.close().await
}

#[tokio::test]
#[ignore = "needs Chromium and the built UI"]
async fn the_console_of_a_stopped_vm_says_why_there_is_none() -> Result<()> {
    let (cloud, browser) = start(1).await?;
    let vm = cloud.create_vm("still").await?;
    let uuid = vm["uuid"].as_str().unwrap_or_default();
    cloud.admin().act(&format!("/vm-instances/{uuid}"), "stopVmInstance", serde_json::json!({})).await?;
    browser.open(&format!("/console/{uuid}")).await?;
    browser.see_text(".failure", "only a Running VM has a console").await;
    browser.close().await
}
