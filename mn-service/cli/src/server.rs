//! Which server: from options, environment and defaults to a base URL.

use reqwest::Url;

/// Address of a management node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    origin: String,
}

/// Where all APIs live.
const CONTEXT: &str = "/zstack/v1";

impl Server {
    /// From `--url`: scheme, host and port count; a path is allowed if it is that of the API.
    pub fn from_url(text: &str) -> Result<Self, String> {
        let wrong = |why: String| format!("--url {text}: {why}; write for example http://10.0.0.10:8080");
        let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(format!("{} is not http or https", url.scheme())));
        }
        if !matches!(url.path().trim_end_matches('/'), "" | "/zstack" | CONTEXT) || url.query().is_some() {
            return Err(wrong("the path must be empty or /zstack/v1".to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it must not carry a user or password; log in with LogInByAccount".to_owned()));
        }
        Ok(Self { origin: url.origin().ascii_serialization() })
    }

    /// From a host name or address and a port.
    pub fn from_host(host: &str, port: u16) -> Result<Self, String> {
        let bracketed =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        match Url::parse(&format!("http://{bracketed}:{port}")) {
            Ok(url) if url.path() == "/" && url.username().is_empty() => {
                Ok(Self { origin: format!("http://{}:{port}", url.host_str().unwrap_or_default()) })
            }
            _ => Err(format!("{host:?} is no host name or address; for a whole URL use --url")),
        }
    }

    /// What identifies it in messages and in the kept logins.
    pub fn name(&self) -> &str {
        &self.origin
    }

    /// Answers over TLS.
    pub fn is_https(&self) -> bool {
        self.origin.starts_with("https:")
    }

    /// URL of a path below `/zstack/v1`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{CONTEXT}{path}", self.origin)
    }

    /// Path of a job below `/zstack/v1`. Host and port of the location are those by which the server knows itself,
    /// which need not be those by which we reach it (PROTOCOL.md section 6.2).
    pub fn job_path(location: &str) -> Option<String> {
        let at = location.find("/zstack/v1/api-jobs/")?;
        Some(location[at + CONTEXT.len()..].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_hosts_become_origins() {
        assert_eq!(Server::from_url("http://a:80/zstack/v1/").unwrap().name(), "http://a");
        assert_eq!(Server::from_url("https://a:8443").unwrap().url("/zones"), "https://a:8443/zstack/v1/zones");
        assert_eq!(Server::from_host("::1", 8080).unwrap().name(), "http://[::1]:8080");
        assert_eq!(Server::from_host("mn", 80).unwrap().name(), "http://mn:80");
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for bad in ["mn:8080", "ftp://a", "http://a/x", "http://u:p@a", ""] {
            assert!(Server::from_url(bad).unwrap_err().contains("for example"), "{bad}");
        }
        for bad in ["http://a", "a/b", "u@a", ""] {
            assert!(Server::from_host(bad, 1).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_location_is_cut_at_the_api_path() {
        let location = "http://10.0.0.10:8080/zstack/v1/api-jobs/1f3b";
        assert_eq!(Server::job_path(location).unwrap(), "/api-jobs/1f3b");
        assert_eq!(Server::job_path("http://10.0.0.10:8080/elsewhere/1f3b"), None);
    }
}
