//! Root's password and keys.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    time::{SystemTime, UNIX_EPOCH},
};

use rand::Rng as _;
use sha_crypt::{Sha512Params, sha512_crypt_b64};
use zeroize::Zeroizing;

use super::Installation;
use crate::tool::{Error, Result, read};

/// Letters that a salt may have.
const SALT: &[u8] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Rounds of the hash. The default of crypt(5), which keeps them out of the text.
const ROUNDS: usize = 5000;

impl Installation {
    pub(super) fn login(&self) -> Result<()> {
        let hash = match (&self.secrets.password_hash, &self.secrets.password) {
            (Some(hash), _) => Some(hash.clone()),
            (None, Some(password)) => Some(hashed(password)?),
            (None, None) => None,
        };
        let today = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() / 86_400);
        let shadow = Zeroizing::new(read(&self.at("/etc/shadow"))?);
        // `*` fits no password: root has keys then.
        let text = Zeroizing::new(with_password(&shadow, hash.as_ref().map_or("*", |hash| hash.as_str()), today)?);
        self.put("/etc/shadow", &text, 0o640)?;
        let owner = nix::unistd::chown(&self.at("/etc/shadow"), None, shadow_group(&self.group()?));
        owner.map_err(|cause| Error::Wrong(format!("/etc/shadow: {cause}")))?;
        self.remove("/root/.ssh/authorized_keys")?;
        let keys = &self.plan.login.ssh_keys;
        if !keys.is_empty() {
            let text: String = keys.iter().map(|key| format!("{key}\n")).collect();
            self.put("/root/.ssh/authorized_keys", &text, 0o600)?;
            let folder = self.at("/root/.ssh");
            std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).map_err(Error::file(&folder))?;
        }
        Ok(())
    }

    fn group(&self) -> Result<String> {
        read(&self.at("/etc/group"))
    }
}

/// Number of the group `shadow` of the new system.
fn shadow_group(groups: &str) -> Option<nix::unistd::Gid> {
    let line = groups.lines().find_map(|line| line.strip_prefix("shadow:"))?;
    Some(nix::unistd::Gid::from_raw(line.split(':').nth(1)?.parse().ok()?))
}

/// The hash of a password that crypt(5) calls `sha512crypt`.
fn hashed(password: &str) -> Result<Zeroizing<String>> {
    let failed = |cause: &dyn std::fmt::Debug| Error::Wrong(format!("the password cannot be hashed: {cause:?}"));
    let mut random = rand::rng();
    let salt: String = (0..16).map(|_| char::from(SALT[random.random_range(0..SALT.len())])).collect();
    let params = Sha512Params::new(ROUNDS).map_err(|cause| failed(&cause))?;
    let hash = sha512_crypt_b64(password.as_bytes(), salt.as_bytes(), &params).map_err(|cause| failed(&cause))?;
    Ok(Zeroizing::new(format!("$6${salt}${hash}")))
}

/// The lines of `/etc/shadow` with another hash for root.
fn with_password(shadow: &str, hash: &str, today: u64) -> Result<String> {
    let mut found = false;
    let lines: Vec<String> = shadow
        .lines()
        .map(|line| {
            let mut fields: Vec<&str> = line.split(':').collect();
            if fields[0] != "root" || fields.len() < 3 {
                return line.to_owned();
            }
            found = true;
            let today = today.to_string();
            fields[1] = hash;
            fields[2] = &today;
            fields.join(":")
        })
        .collect();
    if !found {
        return Err(Error::Wrong(
            "/etc/shadow of the new system has no root; the medium's layers are incomplete".into(),
        ));
    }
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_gets_the_hash_and_everybody_else_keeps_theirs() {
        let old = "root:*:1:0:99999:7:::\ndaemon:*:2:0:99999:7:::\n";
        let new = with_password(old, "$6$a$b", 20_000).unwrap();
        assert_eq!(new, "root:$6$a$b:20000:0:99999:7:::\ndaemon:*:2:0:99999:7:::\n");
        assert!(with_password("daemon:*:2::::::\n", "x", 1).is_err());
    }

    #[test]
    fn a_hash_is_what_the_system_s_own_tool_makes() {
        // openssl passwd -6 -salt zstack.e2e first-password
        let params = Sha512Params::new(ROUNDS).unwrap();
        let hash = sha512_crypt_b64(b"first-password", b"zstack.e2e", &params).unwrap();
        assert_eq!(hash, "RiGpTXkoXCOw7RQV1ERujxcM0DW7C.ukPpljC.lg3fQTH4ZRaN6LwXoVDP5xRU40uAyavEql0hrneA4dtX8oB1");
        let (one, two) = (hashed("secret").unwrap(), hashed("secret").unwrap());
        assert!(one.starts_with("$6$") && one.len() == 3 + 16 + 1 + 86, "{}", one.len());
        assert_ne!(one, two, "two salts");
    }

    #[test]
    fn the_group_of_the_new_system_counts() {
        assert_eq!(shadow_group("root:x:0:\nshadow:x:42:\n").map(|gid| gid.as_raw()), Some(42));
        assert_eq!(shadow_group("root:x:0:\n"), None);
    }
}
