//! Which files of an image server `file://` may read: a tenant must not make an image of `/etc/shadow`.

use mn_service_types::{ApiError, ErrorCode, error::ApiResult};

use crate::settings::Settings;

/// Refuses a path that the filter in force (`image/download.localPath.*`) does not allow.
pub(super) fn check(settings: &Settings, path: &str) -> ApiResult<()> {
    let filter = settings.text("image", "download.localPath.customFilter");
    let patterns = settings.text("image", &format!("download.localPath.{filter}"));
    let listed = patterns.split(';').map(str::trim).filter(|p| !p.is_empty()).any(|pattern| matches(pattern, path));
    let allowed = if filter == "whitelist" { listed } else { !listed };
    if allowed {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::InvalidArgument,
        format!(
            "url file://{path} is not allowed by the global setting image/download.localPath.{filter} ({patterns})"
        ),
    ))
}

/// Glob over path parts: `**` stands for any number of parts, `*` for any characters of one part.
fn matches(pattern: &str, path: &str) -> bool {
    let parts = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    match_parts(&parts(pattern), &parts(path))
}

fn match_parts(pattern: &[String], path: &[String]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((first, rest)) if first == "**" => (0..=path.len()).any(|skipped| match_parts(rest, &path[skipped..])),
        Some((first, rest)) => {
            path.split_first().is_some_and(|(part, tail)| match_part(first, part) && match_parts(rest, tail))
        }
    }
}

fn match_part(pattern: &str, part: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == part,
        Some((head, tail)) => part
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && match_part(tail, &rest[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_blacklist_keeps_secrets_and_lets_images_through() {
        let settings = Settings::default();
        for path in ["/etc/shadow", "/root/.ssh/id_rsa", "/proc/1/environ", "/home/u/~x/a", "/var/log/a/b"] {
            assert!(check(&settings, path).is_err(), "{path}");
        }
        for path in ["/root/debian.qcow2", "/mnt/images/a.iso", "/opt/a.raw"] {
            check(&settings, path).unwrap();
        }
    }

    #[test]
    fn a_whitelist_refuses_what_it_does_not_name() {
        let settings = Settings::default();
        settings.put("image", "download.localPath.customFilter", "whitelist");
        check(&settings, "/home/u/a.qcow2").unwrap();
        let error = check(&settings, "/srv/a.qcow2").unwrap_err();
        assert!(error.details.contains("whitelist"), "{error}");
    }

    #[test]
    fn stars_stay_within_a_part_and_double_stars_do_not() {
        assert!(matches("/a/*.img", "/a/b.img") && !matches("/a/*.img", "/a/b/c.img"));
        assert!(matches("/a/**", "/a/b/c") && matches("/**/.*/**", "/a/.b/c") && !matches("/a/**", "/ab/c"));
    }
}
