//! What the cases about the node's network share: its commands as an administrator types them, and whether machines
//! reach each other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::e2e::{machine::Machine, wait::until};

/// How long links, bridges and bonds may take until frames pass.
pub(super) const SETTLE: Duration = Duration::from_secs(120);

/// Runs a command of the node with `--json`, which must succeed, and returns its object.
pub(super) async fn zs(machine: &Machine, command: &str) -> Result<Value> {
    let said = machine.ok(&format!("{command} --json")).await?;
    let line = said.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("`{command} --json` on {} ended with: {line}", machine.name()))
}

/// Runs a command of the node, which must keep its change at once.
pub(super) async fn change(machine: &Machine, command: &str) -> Result<()> {
    let said = zs(machine, &format!("{command} --confirm")).await?;
    ensure!(said["state"] == "confirmed", "`{command}` on {}: {said}", machine.name());
    Ok(())
}

/// Runs a command of the node, which must refuse with the exit code for wrong wishes and name what is wrong.
pub(super) async fn refused(machine: &Machine, command: &str, reason: &str) -> Result<()> {
    let output = machine.run(command).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.code == 2 && said.contains(reason), "`{command}` ended with {}: {said}", output.code);
    Ok(())
}

/// One interface as `zs-show-network --json` shows it.
pub(super) async fn interface(machine: &Machine, name: &str) -> Result<Value> {
    find(machine, name).await?.with_context(|| format!("{} has no interface {name}", machine.name()))
}

async fn find(machine: &Machine, name: &str) -> Result<Option<Value>> {
    let shown = zs(machine, "zs-show-network").await?;
    let all = shown["interfaces"].as_array().into_iter().flatten();
    Ok(all.into_iter().find(|interface| interface["name"] == name).cloned())
}

/// Waits until an interface is there and as it should be: networkd is at work when a boot is over.
pub(super) async fn becomes(machine: &Machine, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
    let what = format!("{name} of {} {what}", machine.name());
    until(&what, SETTLE, async || Ok(find(machine, name).await?.filter(&is).map(drop))).await
}

/// Waits until an interface has an address.
pub(super) async fn has_address(machine: &Machine, name: &str, address: &str) -> Result<()> {
    let has = |interface: &Value| interface["addresses"].as_array().is_some_and(|all| all.iter().any(|a| a == address));
    becomes(machine, name, &format!("has {address}"), has).await
}

/// One ping is answered.
pub(super) async fn answers(machine: &Machine, to: &str) -> Result<bool> {
    Ok(machine.run(&format!("ping -c 1 -W 1 {to}")).await?.code == 0)
}

/// Waits until pings are answered.
pub(super) async fn reaches(machine: &Machine, to: &str) -> Result<()> {
    let what = format!("{} reaches {to}", machine.name());
    until(&what, SETTLE, async || Ok(answers(machine, to).await?.then_some(()))).await
}

/// Pings that are lost in a row. A machine that is slow answers late, so one lost ping proves nothing.
pub(super) async fn reaches_not(machine: &Machine, to: &str) -> Result<()> {
    let output = machine.run(&format!("ping -c 3 -i 0.3 -W 2 {to}")).await?;
    ensure!(output.code != 0, "{} reaches {to}, and must not", machine.name());
    Ok(())
}
