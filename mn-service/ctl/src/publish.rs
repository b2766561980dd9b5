//! Links for downloads, which the running service makes.

use std::path::Path;

use node_control::{
    Client, ControlError,
    management::{PUBLICATIONS, Publish, Published},
};
use serde_json::{Value, json};

use crate::config::Config;

/// Adds a link to `path` to what a command prints. The command's own work is done: without a link it says why.
pub(crate) async fn add_link(config: &Config, path: &Path, seconds: u64, result: &mut Value, lines: &mut Vec<String>) {
    let asked = Publish { paths: vec![path.to_owned()], seconds: Some(seconds), ..Publish::default() };
    let answer: Result<Published, _> = Client::new(config.control_socket()).post(PUBLICATIONS, &asked).await;
    match answer {
        Ok(made) => {
            lines.push(format!("Download it within {seconds} s from {}", made.url));
            result["publication"] = json!(made);
        }
        Err(error) => {
            let hint = match error {
                ControlError::NotRunning { .. } => "; a link needs the running service: zstack-ctl start",
                _ => "",
            };
            let text = format!("there is no link: {error}{hint}");
            result["publication_error"] = json!(text);
            lines.push(text);
        }
    }
}
