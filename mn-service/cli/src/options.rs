//! Options of the program.

use std::path::PathBuf;

use clap::Parser;

use crate::{output::Format, server::Server};

const AFTER: &str = "\
Without a command, commands are read from the terminal, or from standard input, one a line.

Examples:
  zstack-cli LogInByAccount accountName=admin
  zstack-cli QueryVmInstance state=Running name~=test limit=3 fields=uuid
  zstack-cli CreateZone name=zone1
  zstack-cli help CreateZone
  zstack-cli LogOut

The login is kept in ~/.zstack/cli/session until LogOut or until it expires.
Exit codes: 0 done, 1 the API failed, 2 the command cannot be sent as given, 3 the server cannot be reached or
there is no valid login.";

/// Command line of the cloud: every API of the management service as a command.
#[derive(Debug, Parser)]
#[command(name = "zstack-cli", version, after_help = AFTER)]
pub struct Options {
    /// Management node, for example https://10.0.0.10:8443
    #[arg(long, conflicts_with_all = ["host", "port"])]
    pub url: Option<String>,
    /// Name or address of the management node [default: 127.0.0.1]
    #[arg(short = 'H', long)]
    pub host: Option<String>,
    /// Port of the management node [default: 8080]
    #[arg(short, long)]
    pub port: Option<u16>,
    /// PEM file with the certificates to trust for https, in place of the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Form of results
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    /// Go on with the next line of standard input after a failure
    #[arg(short, long)]
    pub keep_going: bool,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// Time limit for the server to finish each API
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
    /// Command and its key=value arguments
    #[arg(value_name = "COMMAND")]
    pub words: Vec<String>,
}

impl Options {
    /// The server by options, else by `ZS_SERVER_IP` and `ZS_SERVER_PORT` as `env` gives them, else this machine.
    pub fn server(&self, env: impl Fn(&str) -> Option<String>) -> Result<Server, String> {
        if let Some(url) = &self.url {
            return Server::from_url(url);
        }
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let host = self.host.clone().or_else(|| set("ZS_SERVER_IP")).unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = match (self.port, set("ZS_SERVER_PORT")) {
            (Some(port), _) => port,
            (None, None) => 8080,
            (None, Some(text)) => text
                .parse()
                .map_err(|_| format!("ZS_SERVER_PORT must be a port number from 1 to 65535, not {text:?}"))?,
        };
        Server::from_host(&host, port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(arguments: &[&str], env: &[(&str, &str)]) -> Result<String, String> {
        let options = Options::try_parse_from(["zstack-cli"].iter().chain(arguments)).map_err(|e| e.to_string())?;
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        options.server(env).map(|server| server.name().to_owned())
    }

    #[test]
    fn options_win_over_the_environment_and_that_over_the_default() {
        let env = [("ZS_SERVER_IP", "10.0.0.1"), ("ZS_SERVER_PORT", "81")];
        assert_eq!(server(&[], &[]).unwrap(), "http://127.0.0.1:8080");
        assert_eq!(server(&[], &env).unwrap(), "http://10.0.0.1:81");
        assert_eq!(server(&["--host", "mn", "--port=82"], &env).unwrap(), "http://mn:82");
        assert_eq!(server(&["--url=https://mn"], &env).unwrap(), "https://mn");
        assert!(server(&["--url=https://mn", "--port=1"], &[]).is_err());
        assert!(server(&[], &[("ZS_SERVER_PORT", "x")]).unwrap_err().contains("ZS_SERVER_PORT"));
    }

    #[test]
    fn options_may_stand_after_the_command_and_arguments_may_look_like_them() {
        let options = Options::try_parse_from(["x", "QueryZone", "sort=-name", "-o", "table"]).unwrap();
        assert_eq!(options.words, ["QueryZone", "sort=-name"]);
        assert_eq!(options.output, Format::Table);
    }
}
