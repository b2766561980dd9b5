//! `Test Network` (OS-TUI-065): the gateway, the look-up of a name, and the answers of an address.

use std::{net::IpAddr, path::Path, time::Duration};

use node_manager_net::{kernel::Kernel, live::Live};

use super::{Report, program};

/// How long a name is looked up.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Tests one after the other. A gateway that does not answer is said, and the address is tested all the same: it may lie
/// in a network of the node's own.
pub(super) async fn test(target: &str, report: &Report) -> Result<String, String> {
    let way = match gateway().await {
        Ok(Some((link, gateway))) => {
            report.say(format!("gateway {gateway} through {link}"));
            match ping(&gateway.to_string(), 2, report).await {
                Ok(()) => format!("The gateway {gateway} answers."),
                Err(why) => format!("The gateway {gateway}: {why}."),
            }
        }
        Ok(None) => "There is no default route: only the networks of this node can be reached.".to_owned(),
        Err(why) => why,
    };
    report.say(way.clone());
    if target.parse::<IpAddr>().is_err() {
        let found = tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((target, 0))).await;
        match found {
            Ok(Ok(addresses)) => {
                let addresses: Vec<String> = addresses.map(|address| address.ip().to_string()).collect();
                report.say(format!("{target} is {}", addresses.join(", ")));
            }
            Ok(Err(error)) => return Err(format!("{target} cannot be looked up: {error}\n{way}")),
            Err(_) => {
                let seconds = LOOK_UP.as_secs();
                return Err(format!("{target} cannot be looked up: no answer within {seconds} s\n{way}"));
            }
        }
    }
    match ping(target, 5, report).await {
        Ok(()) => Ok(format!("{target} answers.\n{way}")),
        Err(why) => Err(format!("{target}: {why}.\n{way}")),
    }
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
