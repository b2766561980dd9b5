//! A headless Chromium that uses the web UI as a person would, driven through WebDriver.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use fantoccini::{
    Client, ClientBuilder, Locator,
    actions::{InputSource as _, KeyAction, KeyActions},
    elements::Element,
    key::Key,
};
use hyper_util::client::legacy::connect::HttpConnector;
use nix::{sys::signal, unistd::Pid};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::eventually;

/// Names the folder of the built UI.
pub const UI_DIR: &str = "ZSTACK_UI_DIR";

/// How long a person would wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the built UI, which `cargo xtask ui` prints.
pub fn ui_dir() -> Result<PathBuf> {
    let text = std::env::var(UI_DIR);
    let folder =
        text.with_context(|| format!("{UI_DIR} must name the built web UI: cargo xtask ui prints the folder"))?;
    let folder = PathBuf::from(folder);
    if !folder.join("index.html").exists() {
        bail!("{} has no index.html; build the web UI with: cargo xtask ui", folder.display());
    }
    Ok(folder)
}

/// How often a driver may meet a port that is taken.
const ATTEMPTS: usize = 10;

/// A browser window and what it is driven by; both end with it.
pub struct Browser {
    client: Client,
    driver: Driver,
    base: String,
    _folder: TempDir,
}

/// `chromedriver` and the browsers that it started, in a process group of their own.
struct Driver {
    child: Child,
    port: u16,
}

impl Driver {
    /// Starts a driver at a port that is free.
    ///
    /// `--port=0` is a port that is free for IPv6; when another process has the same one for IPv4, the
    /// driver says so and ends, and the next attempt gets another port. Both are killed in the end; what they leave is in
    /// `temporary`.
    fn start(temporary: &Path) -> Result<Self> {
        let mut said = String::new();
        for _ in 0..ATTEMPTS {
            match Self::attempt(temporary)? {
                Ok(driver) => return Ok(driver),
                Err(output) => said = output,
            }
        }
        bail!("chromedriver ended {ATTEMPTS} times before it listened, and said:\n{said}");
    }

    /// Starts a driver; when it ends before it listens: what it said.
    fn attempt(temporary: &Path) -> Result<Result<Self, String>> {
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("chromedriver cannot be started; install the packages chromium and chromium-driver")?;
        let output = child.stdout.take().context("chromedriver has no output")?;
        let mut driver = Self { child, port: 0 };
        let mut said = String::new();
        for line in BufReader::new(output).lines() {
            let line = line?;
            let port = line.split_once("started successfully on port ").map(|(_, rest)| rest.trim_end_matches('.'));
            if let Some(port) = port {
                driver.port = port.parse().with_context(|| format!("chromedriver said {line:?}"))?;
                return Ok(Ok(driver));
            }
            said.push_str(&line);
            said.push('\n');
        }
        Ok(Err(said))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // The group is ours alone: the driver and its browsers.
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Err(error) = signal::killpg(Pid::from_raw(pid), signal::Signal::SIGKILL)
        {
            eprintln!("the browser was gone already: {error}");
        }
        if let Err(error) = self.child.wait() {
            eprintln!("chromedriver cannot be waited for: {error}");
        }
    }
}

impl Browser {
    /// A fresh browser in front of the UI at `base`, in English.
    pub async fn start(base: &str) -> Result<Self> {
        // For commands beyond the standard; another part of the test may have done it.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::Builder::new().prefix("zstack-browser-").tempdir()?;
        let temporary = folder.path().to_owned();
        let driver = tokio::task::spawn_blocking(move || Driver::start(&temporary)).await??;
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--lang=en",
            // A click on what slides in may land beside it.
            "--force-prefers-reduced-motion",
            "--window-size=1440,900",
        ];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", folder.path().join("profile").display()));
        let capabilities = json!({
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
            // Servers of tests have nobody who vouches for them.
            "acceptInsecureCerts": base.starts_with("https:"),
            // What Chromium asks before a page is left would hang the test.
            "unhandledPromptBehavior": "accept",
        });
        let Value::Object(capabilities) = capabilities else { bail!("capabilities are an object") };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", driver.port))
            .await
            .context("Chromium cannot be started")?;
        Ok(Self { client, driver, base: base.to_owned(), _folder: folder })
    }

    /// Goes to an address of the UI.
    pub async fn open(&self, path: &str) -> Result<()> {
        Ok(self.client.goto(&format!("{}{path}", self.base)).await?)
    }

    /// The path of the page that is shown.
    pub async fn path(&self) -> Result<String> {
        Ok(self.client.current_url().await?.path().to_owned())
    }

    /// Logs in as the administrator.
    pub async fn log_in(&self, password: &str) -> Result<()> {
        self.log_in_as("admin", password).await
    }

    /// Logs in.
    pub async fn log_in_as(&self, account: &str, password: &str) -> Result<()> {
        self.fill("#account", account).await;
        self.fill("#password", password).await;
        self.click("[data-testid=login]").await;
        self.see("[data-testid=account]").await;
        Ok(())
    }

    /// Waits until something is on the page.
    pub async fn see(&self, css: &str) -> Element {
        self.see_text(css, "").await
    }

    /// Waits until something with this text is on the page.
    pub async fn see_text(&self, css: &str, text: &str) -> Element {
        eventually(PATIENCE, || async {
            let mut seen = Vec::new();
            for element in self.client.find_all(Locator::Css(css)).await.map_err(|e| e.to_string())? {
                let Ok(found) = element.text().await else { continue };
                if found.contains(text) && element.is_displayed().await.unwrap_or(false) {
                    return Ok(element);
                }
                seen.push(found);
            }
            Err(format!("no {css} with {text:?}, only {seen:?}"))
        })
        .await
    }

    /// Waits until nothing of that kind is on the page.
    pub async fn gone(&self, css: &str) {
        eventually(PATIENCE, || async {
            let found = self.client.find_all(Locator::Css(css)).await.map_err(|e| e.to_string())?;
            for element in found {
                if element.is_displayed().await.unwrap_or(false) {
                    return Err(format!("{css} is still there"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// True when something of that kind is on the page now.
    pub async fn shows(&self, css: &str) -> Result<bool> {
        Ok(!self.client.find_all(Locator::Css(css)).await?.is_empty())
    }

    /// Clicks; waits until nothing is in the way.
    pub async fn click(&self, css: &str) {
        self.click_text(css, "").await;
    }

    /// Clicks what has this text.
    pub async fn click_text(&self, css: &str, text: &str) {
        eventually(PATIENCE, || async {
            let element = self.see_text(css, text).await;
            element.click().await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Replaces the text of an input.
    pub async fn fill(&self, css: &str, text: &str) {
        eventually(PATIENCE, || async {
            let element = self.see(css).await;
            let typed = async {
                // Chromium's own `clear` is not noticed by the page's state.
                element.click().await?;
                element.send_keys(&(Key::Control + "a")).await?;
                element.send_keys(text).await
            };
            typed.await.map_err(|error| error.to_string())?;
            let value = element.prop("value").await.map_err(|error| error.to_string())?.unwrap_or_default();
            if value == text { Ok(()) } else { Err(format!("{css} has the text {value:?}")) }
        })
        .await;
    }

    /// Chooses from a list.
    pub async fn choose(&self, field: &str, label: &str) {
        let option =
            format!(".ant-select-dropdown:not(.ant-select-dropdown-hidden) .ant-select-item-option[title=\"{label}\"]");
        eventually(PATIENCE, || async {
            let chosen = async {
                self.client.find(Locator::Css(field)).await?.click().await?;
                self.client
                    .wait()
                    .at_most(Duration::from_secs(2))
                    .for_element(Locator::Css(&option))
                    .await?
                    .click()
                    .await
            };
            chosen.await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Gives a file to an input that the page keeps out of sight.
    pub async fn give_file(&self, css: &str, file: &std::path::Path) -> Result<()> {
        let input = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(css)).await?;
        Ok(input.send_keys(file.to_str().context("the file's name is not UTF-8")?).await?)
    }

    /// Presses a key.
    pub async fn press(&self, key: char) -> Result<()> {
        let action = KeyActions::new("keyboard".to_owned())
            .then(KeyAction::Down { value: key })
            .then(KeyAction::Up { value: key });
        Ok(self.client.perform_actions(action).await?)
    }

    /// Runs the body of a function in the page and returns its value.
    pub async fn evaluate(&self, body: &str) -> Result<Value> {
        Ok(self.client.execute(body, Vec::new()).await?)
    }

    /// Runs a script in every page before its own scripts.
    pub async fn before_each_page(&self, source: &str) -> Result<()> {
        self.command(
            "goog/cdp/execute",
            json!({
                "cmd": "Page.addScriptToEvaluateOnNewDocument", "params": { "source": source },
            }),
        )
        .await
        .map(drop)
    }

    /// Lets the browser send so many bytes per second from now on.
    pub async fn slow_uploads(&self, bytes_per_second: u32) -> Result<()> {
        let conditions = json!({
            "offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second,
        });
        for (cmd, params) in [("Network.enable", json!({})), ("Network.emulateNetworkConditions", conditions)] {
            self.command("goog/cdp/execute", json!({ "cmd": cmd, "params": params })).await?;
        }
        Ok(())
    }

    /// Resizes the window.
    pub async fn resize(&self, width: u32, height: u32) -> Result<()> {
        Ok(self.client.set_window_size(width, height).await?)
    }

    /// The window as a PNG picture.
    pub async fn picture(&self) -> Result<Vec<u8>> {
        Ok(self.client.screenshot().await?)
    }

    /// Opens the window that was opened last; the one before stays.
    pub async fn newest_window(&self) -> Result<()> {
        let before = self.client.window().await?;
        let newest = eventually(PATIENCE, || async {
            let windows = self.client.windows().await.map_err(|error| error.to_string())?;
            windows.into_iter().find(|window| *window != before).ok_or_else(|| "no new window".to_owned())
        })
        .await;
        Ok(self.client.switch_to_window(newest).await?)
    }

    /// Ends the browser, and fails when the page broke its own security policy or threw anything meanwhile.
    pub async fn close(self) -> Result<()> {
        let messages = self.command("se/log", json!({ "type": "browser" })).await?;
        let complaints: Vec<&str> = messages
            .as_array()
            .into_iter()
            .flatten()
            .filter(|entry| entry["level"] == "SEVERE" && entry["source"] != "network")
            .filter_map(|entry| entry["message"].as_str())
            .collect();
        self.client.close().await?;
        if complaints.is_empty() { Ok(()) } else { bail!("the browser complained: {complaints:#?}") }
    }

    /// A command of Chromium's driver beyond the standard.
    async fn command(&self, path: &str, body: Value) -> Result<Value> {
        let session = self.client.session_id().await?.context("no session")?;
        let url = format!("http://127.0.0.1:{}/session/{session}/{path}", self.driver.port);
        let mut answer: Map<String, Value> = reqwest::Client::new().post(url).json(&body).send().await?.json().await?;
        let value = answer.remove("value").unwrap_or_default();
        match value["error"].as_str() {
            Some(error) => Err(anyhow!("{path}: {error}: {}", value["message"])),
            None => Ok(value),
        }
    }
}
