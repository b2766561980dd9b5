//! Attaches a network of the cloud to this host as the agent does, or removes it: for tests and for a look by hand.
//!
//! ```text
//! attach ensure MARK BRIDGE INTERFACE [VLAN]
//! attach ensure-vxlan MARK BRIDGE VNI LOCAL [PEER...]
//! attach remove MARK BRIDGE
//! ```

use node_manager_net::{
    attach::{self, AttachError, Attachment, Uplink},
    kernel::Kernel,
};

const USAGE: &str = "attach ensure MARK BRIDGE INTERFACE [VLAN] | attach ensure-vxlan MARK BRIDGE VNI LOCAL [PEER...] | \
                     attach remove MARK BRIDGE";

fn wrong(word: &str) -> AttachError {
    AttachError::Invalid(format!("{word:?} is not what should stand there: {USAGE}"))
}

fn attachment(mark: &str, bridge: &str, uplink: Uplink) -> Attachment {
    let short = mark.trim_start_matches("zstack:").to_owned();
    Attachment { short, mark: mark.to_owned(), bridge: bridge.to_owned(), uplink }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done: Result<(), AttachError> = async {
        let kernel = Kernel::open()?;
        match words.as_slice() {
            ["ensure", mark, bridge, parent, tag] => {
                let id = tag.parse().map_err(|_| wrong(tag))?;
                attachment(mark, bridge, Uplink::Vlan { parent: (*parent).to_owned(), id }).ensure(&kernel).await
            }
            ["ensure", mark, bridge, interface] => {
                attachment(mark, bridge, Uplink::Interface((*interface).to_owned())).ensure(&kernel).await
            }
            ["ensure-vxlan", mark, bridge, vni, local, peers @ ..] => {
                let vni = vni.parse().map_err(|_| wrong(vni))?;
                let local = local.parse().map_err(|_| wrong(local))?;
                let peers = peers.iter().map(|peer| peer.parse().map_err(|_| wrong(peer))).collect::<Result<_, _>>()?;
                let uplink = Uplink::Vxlan { vni, local, port: 4789, peers, mtu: None };
                attachment(mark, bridge, uplink).ensure(&kernel).await
            }
            ["remove", mark, bridge] => attach::remove(&kernel, mark, bridge).await,
            _ => Err(AttachError::Invalid(USAGE.to_owned())),
        }
    }
    .await;
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attach: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
