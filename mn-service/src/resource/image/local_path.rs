//! Which files of an image server `file://` may read: a tenant must not make an image of `/etc/shadow`.

use std::path::Path;

use mn_service_db::entity::{backup_storage, primary_storage};
use mn_service_types::{ApiError, ErrorCode, error::ApiResult};
use sea_orm::{EntityTrait, QuerySelect};

use crate::{
    app::{App, OrInternal},
    settings::Settings,
};

/// Folders of which no setting makes an image.
const SYSTEM: &[&str] = &["/dev", "/etc", "/proc", "/run", "/sys", "/var/run"];
/// A folder of the administrator's.
const HOME: &str = "/root";

/// Why a path is refused, if it is: by what no setting allows, or by the filter in force. The image server's agent
/// judges once more where symbolic links lead.
pub(super) async fn problem(app: &App, path: &str, admin: bool) -> ApiResult<Option<String>> {
    if let Err(error) = check(&app.settings, path) {
        return Ok(Some(error.details));
    }
    let refused = |folder: &str, why: &str| {
        Ok(Some(format!(
            "url file://{path} is not allowed: {folder} {why}; copy the image to a folder of its own, for example /srv/images"
        )))
    };
    if let Some(folder) = SYSTEM.iter().find(|folder| below(path, folder)) {
        return refused(folder, "belongs to the system");
    }
    if !admin && below(path, HOME) {
        return refused(HOME, "is open to the admin account only");
    }
    let data = std::fs::canonicalize(&app.config.data_dir).unwrap_or_else(|_| app.config.data_dir.clone());
    for folder in [&data, &app.config.data_dir] {
        if Path::new(path).starts_with(folder) {
            return refused(&folder.display().to_string(), "belongs to the management service");
        }
    }
    let conn = app.db.read();
    let primary = primary_storage::Entity::find().select_only().column(primary_storage::Column::Url);
    let mut storages: Vec<String> = primary.into_tuple().all(conn).await.or_internal()?;
    let backup = backup_storage::Entity::find().select_only().column(backup_storage::Column::Url);
    storages.extend(backup.into_tuple::<String>().all(conn).await.or_internal()?);
    match storages.iter().find(|folder| folder.starts_with('/') && below(path, folder)) {
        Some(folder) => refused(folder, "belongs to a storage of the cloud"),
        None => Ok(None),
    }
}

fn below(path: &str, folder: &str) -> bool {
    Path::new(path).starts_with(folder)
}

/// Refuses a path that the filter in force (`image/download.localPath.*`) does not allow.
fn check(settings: &Settings, path: &str) -> ApiResult<()> {
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
    fn folders_end_where_their_names_end() {
        assert!(below("/run/a", "/run") && below("//run//a", "/run/") && below("/zstack_ps", "/zstack_ps/"));
        assert!(!below("/running/a", "/run") && !below("/srv/run/a", "/run"));
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
