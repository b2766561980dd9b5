//! F-005: the installer in a browser, as somebody uses it who installs a machine elsewhere.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use private_tty::Tty;
use system_tests::Browser;

/// The program as the workspace has built it, beside this one.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let program = own.parent().context("no folder")?.with_file_name("zstack-installer");
    ensure!(program.exists(), "{} is missing; build it with: cargo build -p zstack-installer", program.display());
    Ok(program)
}

#[tokio::test]
#[ignore = "needs Chromium"]
async fn a_machine_elsewhere_is_installed_from_a_browser() -> Result<()> {
    let sources = Path::new("../installer");
    let medium = tempfile::tempdir()?;
    std::fs::create_dir(medium.path().join("zstack"))?;
    std::fs::copy(sources.join("plan/cases/manifest.json"), medium.path().join("zstack/manifest.json"))?;
    let mut command = Command::new(program()?);
    command.args(["remote", "--listen", "127.0.0.1", "--vnc-port", "0", "--web-port", "0", "--http-port", "0"]);
    command.arg("--medium").arg(medium.path()).arg("--rehearse").arg(sources.join("tests/facts.json"));
    // It is killed in the end, and its own folder stays.
    command.env("TERM", "xterm-256color").env("LC_ALL", "C.UTF-8").env("TMPDIR", medium.path());
    let mut tty = Tty::start(&mut command);
    // The last line: everything above it is drawn then.
    tty.wait("F10 go on here");
    let console = tty.text();
    let word = |wanted: &dyn Fn(&str) -> bool| {
        let found = console.split_whitespace().find(|word| wanted(word)).map(str::to_owned);
        found.with_context(|| format!("not on the console:\n{console}"))
    };
    let address = word(&|word| word.starts_with("https://"))?;
    let password = word(&|word| word.len() == 14 && word.matches('-').count() == 2)?;

    let browser = Browser::start(address.trim_end_matches('/')).await?;
    browser.open("/").await?;
    browser.fill("#password", "wrong").await;
    browser.click("#form button").await;
    browser.see_text("#said", "Try again in 2 s").await;
    system_tests::eventually(std::time::Duration::from_secs(60), || async {
        browser.fill("#password", &password).await;
        browser.click("#form button").await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        if browser.shows("#viewer:not([hidden])").await.map_err(|error| error.to_string())? {
            Ok(())
        } else {
            Err("the password is refused".to_owned())
        }
    })
    .await;
    browser.see_text("#screen", "> SOFTWARE SELECTION").await;
    browser.see_text("#state", "Connected").await;
    // What a keyboard sends, as WebDriver names it: the arrow down.
    browser.press('\u{e015}').await?;
    browser.see_text("#screen", "> INSTALLATION DESTINATION").await;
    // F3: browsers have the glyphs.
    browser.press('\u{e033}').await?;
    browser.see_text("#screen", "> 安装位置").await;
    browser.press('\u{e015}').await?;
    browser.press('\u{e007}').await?;
    browser.see_text("#screen", "主机名").await;
    for character in "n1".chars() {
        browser.press(character).await?;
    }
    browser.see_text("#screen", "[n1").await;
    // A page that is loaded again needs no password: the browser holds the session.
    browser.open("/").await?;
    browser.see_text("#screen", "[n1").await;

    // F10 at the machine: the page says who has it.
    tty.send("\u{1b}[21~");
    tty.wait("[n1");
    browser.see_text("#said", "Somebody at the machine has taken over").await;
    browser.close().await
}
