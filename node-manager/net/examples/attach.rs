//! Attaches a network of the cloud to this host as the agent does, or removes it: for tests and for a look by hand.
//!
//! ```text
//! attach ensure MARK BRIDGE INTERFACE
//! attach remove MARK BRIDGE
//! ```

use node_manager_net::{
    attach::{self, AttachError, Attachment, Uplink},
    kernel::Kernel,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done: Result<(), AttachError> = async {
        let kernel = Kernel::open()?;
        match words.as_slice() {
            ["ensure", mark, bridge, interface] => {
                let uplink = Uplink::Interface((*interface).to_owned());
                let (mark, bridge) = ((*mark).to_owned(), (*bridge).to_owned());
                Attachment { short: mark.clone(), mark, bridge, uplink }.ensure(&kernel).await
            }
            ["remove", mark, bridge] => attach::remove(&kernel, mark, bridge).await,
            _ => {
                Err(AttachError::Invalid("attach ensure MARK BRIDGE INTERFACE | attach remove MARK BRIDGE".to_owned()))
            }
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
