//! `zs-show-network` (OS-SCR-001 to 003).

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;
use node_manager_net::{
    change::{ChangeError, places::Places},
    files::parse,
    kernel::Kernel,
    live::Live,
    ready, show,
};
use serde_json::{Value, json};

use super::{Applet, arguments, fail, print, say};

/// Show the network interfaces of this node and its bonds
#[derive(Debug, Parser)]
struct Show {
    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(words: Vec<OsString>) -> ExitCode {
    let command = match arguments::<Show>(Applet::Show, words) {
        Ok(command) => command,
        Err(code) => return code,
    };
    let read = async {
        let kernel = Kernel::open()?;
        Live::read(&kernel).await
    };
    match read.await {
        Ok(live) if command.json => print(&object(&live).to_string()),
        Ok(live) => {
            print(show::interfaces(&live).trim_end_matches('\n'));
            print(show::wide_table(&show::bonds(&live)).trim_end_matches('\n'));
            for problem in ready::bonds(&live) {
                say(&format!("note: {problem}"));
            }
        }
        Err(error) => return fail(Applet::Show.name(), &ChangeError::Kernel(error), false),
    }
    ExitCode::SUCCESS
}

fn object(live: &Live) -> Value {
    // Files that cannot be read describe nothing.
    let managed = parse(&Places::of_environment().store().ours().unwrap_or_default()).network;
    let interfaces: Vec<Value> = live
        .links()
        .values()
        .map(|link| {
            json!({
                "index": link.index,
                "name": link.name,
                "kind": link.device.as_ref().map_or(link.kind.as_deref().unwrap_or("other"), |device| device.word()),
                "mac": link.mac,
                "permanent_mac": link.permanent,
                "driver": hardware(&link.name, "device/driver"),
                "speed_mbit": speed(&link.name),
                "mtu": link.mtu,
                "up": link.is_up(),
                "carrier": link.has_carrier(),
                "master": link.master.and_then(|index| live.name(index)),
                "addresses": live.addresses_of(link.index).map(|a| a.address.to_string()).collect::<Vec<_>>(),
                "managed": managed.links.contains_key(&link.name),
                "management": managed.management.as_deref() == Some(&link.name),
            })
        })
        .collect();
    json!({ "interfaces": interfaces, "bonds": show::bonds(live), "problems": ready::bonds(live), "management": managed.management })
}

/// Name of the driver; a link without hardware has none.
fn hardware(name: &str, what: &str) -> Option<String> {
    let driver = std::fs::read_link(format!("/sys/class/net/{name}/{what}")).ok()?;
    Some(driver.file_name()?.to_string_lossy().into_owned())
}

/// Megabits per second; a link without cable or hardware has none.
fn speed(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/sys/class/net/{name}/speed")).ok()?.trim().parse().ok()
}
