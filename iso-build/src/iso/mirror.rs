//! Debian's packages for the medium: resolved and downloaded by apt, with package lists of its own that know nothing of
//! the machine it runs on.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{program::Program, progress::Progress};

/// The release the medium is made of.
pub(super) const CODENAME: &str = "trixie";
/// Firmware of network cards and microcode are not in `main`.
const COMPONENTS: &str = "main non-free-firmware";
/// Keys of Debian's archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Longest download of everything.
const DOWNLOAD: Duration = Duration::from_secs(3600);

/// Where the archive is: base address of the releases, and that of the security updates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mirror {
    debian: String,
    security: String,
}

impl Mirror {
    /// The one that was asked for, else the one that this machine uses.
    pub(super) async fn find(asked: Option<&str>) -> Result<Self> {
        if let Some(asked) = asked {
            let asked = asked.trim_end_matches('/');
            return Ok(Self { debian: asked.to_owned(), security: format!("{asked}-security") });
        }
        let format = ["indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(REPO_URI)", "Created-By: Packages"];
        let targets = Program::new("apt-get").args(format).stdout().await?;
        Self::of(&targets).context(
            "the package sources of this machine (/etc/apt) name no mirror of Debian and its security updates, or were \
             never fetched: run apt-get update, or name a mirror with --mirror",
        )
    }

    fn of(targets: &str) -> Option<Self> {
        let base = |label: &str| {
            let wanted = format!("Debian|{label}|");
            let found = targets.lines().find_map(|line| line.strip_prefix(&wanted))?;
            Some(found.trim_end_matches('/').to_owned())
        };
        Some(Self { debian: base("Debian")?, security: base("Debian-Security")? })
    }

    fn sources(&self) -> String {
        let part = |uri: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: {COMPONENTS}\nArchitectures: amd64\n\
                 Signed-By: {KEYRING}\n"
            )
        };
        let releases = part(&self.debian, &format!("{CODENAME} {CODENAME}-updates"));
        format!("{releases}\n{}", part(&self.security, &format!("{CODENAME}-security")))
    }
}

/// apt with a root of its own.
#[derive(Debug)]
pub(super) struct Archive {
    root: PathBuf,
}

/// What was downloaded.
#[derive(Debug)]
pub(super) struct Downloaded {
    /// The packages, by file name.
    pub(super) files: Vec<PathBuf>,
    /// Point release, such as `13.7`.
    pub(super) release: String,
}

impl Archive {
    /// Prepares the root and fetches the package lists.
    pub(super) async fn open(root: &Path, mirror: &Mirror) -> Result<Self> {
        ensure!(Path::new(KEYRING).is_file(), "{KEYRING} is missing: apt-get install debian-archive-keyring");
        let state = ["etc/preferences.d", "etc/apt.conf.d", "lists/partial", "archives/partial", "log"];
        for folder in state {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("{} cannot be created", folder.display()))?;
        }
        let at = |name: &str| root.join(name).display().to_string();
        // An empty status: everything is missing, also what this machine has.
        fs::write(root.join("status"), "")?;
        fs::write(root.join("debian.sources"), mirror.sources())?;
        let configuration = format!(
            "Dir::State \"{root}\";\nDir::State::status \"{status}\";\nDir::State::lists \"{lists}\";\n\
             Dir::Cache \"{root}\";\nDir::Cache::archives \"{archives}\";\nDir::Log \"{log}\";\n\
             Dir::Etc \"{etc}\";\nDir::Etc::SourceList \"{sources}\";\nDir::Etc::SourceParts \"{none}\";\n\
             APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAPT::Install-Recommends \"false\";\n\
             APT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n",
            root = root.display(),
            status = at("status"),
            lists = at("lists"),
            archives = at("archives"),
            log = at("log"),
            etc = at("etc"),
            sources = at("debian.sources"),
            none = at("none"),
        );
        fs::write(root.join("apt.conf"), configuration)?;
        let archive = Self { root: root.to_owned() };
        let update = archive.apt("apt-get").args(["update", "-q", "-o", "APT::Update::Error-Mode=any"]);
        update.deadline(DOWNLOAD).stdout().await.context("Debian's package lists cannot be fetched")?;
        Ok(archive)
    }

    fn apt(&self, program: &str) -> Program {
        Program::new(program).env("APT_CONFIG", self.root.join("apt.conf"))
    }

    /// Downloads packages with everything they need, and what every system needs.
    pub(super) async fn download(&self, names: &BTreeSet<String>, progress: &Progress) -> Result<Downloaded> {
        let all = self.apt("apt-cache").arg("dumpavail").stdout().await?;
        let wanted: BTreeSet<&str> = names.iter().map(String::as_str).chain(essential(&all)).chain(["apt"]).collect();
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        let plan = self.apt("apt-get").args(install).arg("--simulate").args(&wanted).deadline(DOWNLOAD).stdout().await;
        let plan = plan.context("the packages of the medium do not fit together")?;
        let names: BTreeSet<String> = plan.lines().filter_map(file_name).collect();
        ensure!(!names.is_empty(), "apt would install nothing");
        progress.note(format!("{} packages of Debian", names.len()));
        let download = self.apt("apt-get").args(install).arg("--download-only").args(&wanted);
        download.deadline(DOWNLOAD).stdout().await.context("packages cannot be downloaded")?;
        // What the archive does not offer any more would stay for ever.
        self.apt("apt-get").args(["autoclean", "-qq"]).stdout().await?;
        let files: Vec<PathBuf> = names.iter().map(|name| self.root.join("archives").join(name)).collect();
        for file in &files {
            ensure!(file.is_file(), "apt did not download {}", file.display());
        }
        Ok(Downloaded { files, release: self.release().await? })
    }

    /// The point release of the lists.
    async fn release(&self) -> Result<String> {
        let format = ["indextargets", "--format", "$(LABEL)|$(VERSION)|$(SUITE)", "Created-By: Packages"];
        let targets = self.apt("apt-get").args(format).stdout().await?;
        match targets.lines().find_map(|line| line.strip_prefix("Debian|")?.split('|').next()) {
            Some(version) if !version.is_empty() => Ok(version.to_owned()),
            _ => bail!("the package lists name no version of Debian"),
        }
    }
}

/// Names of the packages without which no system is one.
fn essential(all: &str) -> impl Iterator<Item = &str> {
    all.split("\n\n").filter(|stanza| stanza.lines().any(|line| line == "Essential: yes")).filter_map(name_of)
}

fn name_of(stanza: &str) -> Option<&str> {
    stanza.lines().find_map(|line| line.strip_prefix("Package: "))
}

/// The file in apt's cache of a package that it would install: `Inst name (version origin [architecture])`.
fn file_name(line: &str) -> Option<String> {
    let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
    // Behind the parenthesis are the packages that this one leaves broken for the moment.
    let candidate = rest.split(')').next()?;
    let version = candidate.split(' ').next()?;
    let architecture = candidate.rsplit_once('[')?.1.trim_end_matches(']');
    // The cache knows no colons in names.
    Some(format!("{}_{}_{architecture}.deb", name.split(':').next()?, version.replace(':', "%3a")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_of_the_machine_is_taken_for_releases_and_for_security_updates() {
        let targets = "nodesource|nodesource|https://example.org/node/\n\
                       Debian|Debian|http://mirror.example.org/debian/\n\
                       Debian|Debian-Security|http://mirror.example.org/debian-security/\n";
        let mirror = Mirror::of(targets).unwrap();
        let sources = mirror.sources();
        assert!(
            sources.contains("URIs: http://mirror.example.org/debian\nSuites: trixie trixie-updates\n"),
            "{sources}"
        );
        assert!(sources.contains("URIs: http://mirror.example.org/debian-security\nSuites: trixie-security\n"));
        assert_eq!(Mirror::of("Debian|Debian|http://mirror.example.org/debian/\n"), None);
    }

    #[test]
    fn files_of_apts_cache_are_named_from_its_plan() {
        let line = "Inst qemu-utils (1:10.0.13+ds-0+deb13u1 Debian:13.7/stable, Debian-Security:13/stable [amd64])";
        assert_eq!(file_name(line).unwrap(), "qemu-utils_1%3a10.0.13+ds-0+deb13u1_amd64.deb");
        assert_eq!(
            file_name("Inst tzdata (2026a-0 Debian:13.7/stable [all]) [apt:amd64 ]").unwrap(),
            "tzdata_2026a-0_all.deb"
        );
        assert_eq!(file_name("Conf tzdata (2026a-0 Debian:13.7/stable [all])"), None);
    }

    #[test]
    fn what_is_essential_says_so_in_a_line_of_its_own() {
        let all = "Package: bash\nEssential: yes\nVersion: 5\n\nPackage: nano\nDescription: not\n Essential: yes\n\n";
        assert_eq!(essential(all).collect::<Vec<_>>(), ["bash"]);
    }
}
