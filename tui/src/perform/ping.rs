//! `Test Network` (OS-TUI-065): the gateway, the look-up of a name, and the answers of an address.

use std::{net::IpAddr, path::Path, time::Duration};

use node_manager_net::{kernel::Kernel, live::Live};

use super::{Report, program};

/// How long a name is looked up.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Tests one after the other. What failed is said, and the rest is tested all the same.
pub(super) async fn test(target: &str, report: &Report) -> Result<String, String> {
    let mut failed = Vec::new();
    match gateway().await {
        Ok(Some((link, gateway))) => {
            report.say(format!("gateway {gateway} through {link}"));
            if let Err(why) = ping(&gateway.to_string(), 2, report).await {
                failed.push(format!("gateway: {why}"));
            }
        }
        Ok(None) => {
            report.say("there is no default route: only the networks of this node can be reached");
            failed.push("no default route".to_owned());
        }
        Err(why) => failed.push(why),
    }
    if target.parse::<IpAddr>().is_err() {
        let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((target, 0))).await;
        match found {
            Ok(Ok(addresses)) => {
                let addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
                report.say(format!("{target} is {}", addresses.join(", ")));
            }
            Ok(Err(error)) => return Err(format!("{target} cannot be looked up: {error}")),
            Err(_) => return Err(format!("{target} cannot be looked up: no answer within {} s", LOOK_UP.as_secs())),
        }
    }
    if let Err(why) = ping(target, 5, report).await {
        failed.push(format!("{target}: {why}"));
    }
    if failed.is_empty() { Ok(format!("{target} answers.")) } else { Err(failed.join("\n")) }
}

/// The router of the first default route, and the interface that it is behind.
async fn gateway() -> Result<Option<(String, IpAddr)>, String> {
    let kernel = Kernel::open().map_err(|error| error.to_string())?;
    let live = Live::read(&kernel).await.map_err(|error| error.to_string())?;
    Ok(live.gateway().map(|(link, gateway)| (link.to_owned(), gateway)))
}

async fn ping(target: &str, count: u32, report: &Report) -> Result<(), String> {
    let count = count.to_string();
    let words = ["-n", "-O", "-W", "2", "-c", &count, "--", target];
    match program::lines(Path::new("ping"), &words, report).await {
        Ok(_) => Ok(()),
        Err(why) if why.contains("cannot be started") => Err(why),
        Err(_) => Err("no answer, or not to every question".to_owned()),
    }
}
