//! Everything `cargo xtask run` sets up on this machine, held together so that it can be taken down from any point.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    api::Client,
    cloud::{Cloud, Plan, Vm},
    guest::{self, Proof},
    hypervisor::{self, Started},
    packages::{self, Feature},
    program::Program,
    progress::Progress,
    services::Service,
    state::{Folder, State, free_port},
    systemd::Systemd,
    ui,
    uplink::{self, Uplink},
};

/// Everything runs on this machine and is reachable from it alone.
const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// How long a service may take to answer after its start.
const START: Duration = Duration::from_secs(60);
/// How long a guest may take from its start to its line.
const BOOT: Duration = Duration::from_secs(120);

/// A cloud on this machine, as far as it has come.
#[derive(Debug)]
pub(crate) struct World {
    folder: Folder,
    state: State,
    uplink: Uplink,
    /// Agent and management service, in the order they are ended.
    services: Vec<Service>,
    api: Option<Client>,
    plan: Option<Plan>,
}

/// What a cloud is made of on this machine.
#[derive(Debug)]
pub(crate) struct Built {
    /// Folder of the programs.
    binaries: PathBuf,
    /// Disk of the test guest.
    guest: PathBuf,
    /// Folder of the web UI, or why there is none. The cloud works without it.
    ui: Result<PathBuf, String>,
}

/// A VM that runs and has said so.
#[derive(Debug)]
pub(crate) struct Alive {
    /// The VM.
    pub(crate) vm: Vm,
    /// What it wrote.
    pub(crate) proof: Proof,
    /// From built binaries to here.
    pub(crate) ready: Duration,
    /// Address of the API.
    pub(crate) api: String,
    /// Address of the web UI, or why there is none.
    pub(crate) web: Result<String, String>,
}

impl World {
    /// Takes hold of a state folder and ends what an earlier run that crashed has left running.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let folder = Folder::open(path)?;
        let uplink = Uplink::of(&folder.path);
        let mut state = match folder.load()? {
            Some(state) => state,
            None => State {
                host: uuid::Uuid::new_v4().simple().to_string(),
                vm: uuid::Uuid::new_v4().simple().to_string(),
                api_port: 8080,
                console_port: 4900,
                ui_port: State::ui_port(),
                agent_port: node_manager_types::AGENT_PORT,
                // Chosen when the network is made, once the packages for looking are there.
                subnet: ipnet::Ipv4Net::default(),
                processes: Vec::new(),
                units: Vec::new(),
            },
        };
        for process in state.processes.iter().filter(|process| !is_libvirt(&process.name)) {
            process.end().await?;
        }
        state.processes.retain(|process| is_libvirt(&process.name) && process.is_alive());
        Ok(Self { folder, state, uplink, services: Vec::new(), api: None, plan: None })
    }

    /// Packages, programs, web UI and the guest's disk: what a first run fetches and builds.
    pub(crate) async fn prepare(progress: &Progress) -> Result<Built> {
        let features = [Feature::Build, Feature::Guest, Feature::Hypervisor, Feature::Network];
        progress.phase("packages", "system packages", packages::ensure(&features, progress)).await?;
        progress.hide();
        let binaries = progress.phase("build", "mn-service and node-manager", build(progress)).await?;
        let ui = progress.phase("ui", "web UI", ui::build(progress)).await.map_err(|error| format!("{error:#}"));
        let guest = progress.phase("guest", "test guest", guest::image(progress)).await?;
        Ok(Built { binaries, guest, ui })
    }

    /// Brings everything up to a VM that has reported.
    pub(crate) async fn bring_up(&mut self, built: &Built, password: &str, progress: &Progress) -> Result<Alive> {
        let started = Instant::now();
        let binaries = &built.binaries;
        let logs = self.folder.sub("log")?;
        progress.phase("libvirt", "libvirt", self.libvirt(&logs, progress)).await?;
        progress.phase("network", format!("uplink {}", self.uplink.name.clone()), self.network()).await?;
        progress.phase("management", "mn-service", self.management(built, &logs, password)).await?;
        progress.phase("agent", "node-manager", self.agent(binaries, &logs)).await?;

        let plan = self.make_plan(&built.guest)?;
        self.plan = Some(plan.clone());
        let api = self.api.clone().context("mn-service has no session")?;
        let cloud = Cloud { api: &api, plan: &plan };
        let (zone, cluster) = progress.phase("host", "zone, cluster, host", cloud.hosts()).await?;
        let ground =
            progress.phase("resources", "storage, image, network, offering", cloud.ground(&zone, &cluster)).await?;
        let mut before = String::new();
        let (vm, fresh) = {
            let look = async |uuid: &str| before = self.console_log(uuid).unwrap_or_default();
            progress.phase("vm", "virtual machine", cloud.vm(&ground, look)).await?
        };
        if !fresh {
            before.clear();
        }
        let proof = progress.phase("proof", "guest's report", self.proof(&vm, &before)).await?;
        let vm = cloud.look(&vm.uuid).await?;
        if vm.state != "Running" {
            bail!("{} reported and is {} now", vm.name, vm.state);
        }
        let ready = started.elapsed();
        let web = match &built.ui {
            Ok(_) => Ok(self.web().await?),
            Err(why) => Err(why.clone()),
        };
        Ok(Alive { vm, proof, ready, api: self.api_url(), web })
    }

    /// Address of the web UI, once it has answered with its page.
    async fn web(&self) -> Result<String> {
        let url = format!("http://{HERE}:{}", self.state.ui_port);
        let answer = reqwest::get(&url).await.and_then(reqwest::Response::error_for_status);
        let page = answer.context("the web UI does not answer")?.text().await.context("the web UI broke off")?;
        if !page.contains("<div id=\"root\">") {
            bail!("{url} answers with something else than the web UI");
        }
        Ok(url)
    }

    /// Base URL of the API.
    pub(crate) fn api_url(&self) -> String {
        format!("http://{HERE}:{}", self.state.api_port)
    }

    /// Where logs and data are.
    pub(crate) fn path(&self) -> &Path {
        &self.folder.path
    }

    /// An error when a service has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.services.iter_mut().try_for_each(Service::check)
    }

    async fn libvirt(&mut self, logs: &Path, progress: &Progress) -> Result<()> {
        let Self { folder, state, .. } = self;
        hypervisor::ensure(logs, progress, |started| {
            match started {
                Started::Process(process) => state.processes.push(process),
                Started::Units(units) => {
                    let told = |name: &str| units.iter().any(|unit| unit.name == name);
                    state.units.retain(|unit| unit.invocation.is_some() && !told(&unit.name));
                    state.units.extend(units);
                }
            }
            folder.save(state)
        })
        .await
    }

    async fn network(&mut self) -> Result<()> {
        if self.state.subnet.prefix_len() == 0 {
            self.state.subnet = uplink::free_subnet().await?;
        }
        self.folder.save(&self.state)?;
        self.uplink.ensure(self.state.subnet).await
    }

    async fn management(&mut self, built: &Built, logs: &Path, password: &str) -> Result<()> {
        self.state.api_port = free_port(self.state.api_port)?;
        self.state.console_port = free_port(self.state.console_port)?;
        self.state.agent_port = free_port(self.state.agent_port)?;
        self.state.ui_port = free_port(self.state.ui_port)?;
        let config = self.write_config(
            "mn-service.toml",
            &json!({
                "listen": SocketAddr::from((HERE, self.state.api_port)),
                "public_url": self.api_url(),
                "ui_listen": SocketAddr::from((HERE, self.state.ui_port)),
                "ui_dir": built.ui.as_deref().unwrap_or(Path::new("/usr/share/zstack/ui")),
                "console_listen": SocketAddr::from((HERE, self.state.console_port)),
                "data_dir": private(self.folder.sub("mn")?)?,
                "agent_port": self.state.agent_port,
            }),
        )?;
        let program = built.binaries.join("mn-service");
        self.start("mn-service", &program, &config, logs)?;
        let (url, deadline) = (self.api_url(), Instant::now() + START);
        self.api = Some(loop {
            match Client::log_in(&url, "admin", password).await {
                Ok(client) => break client,
                Err(error) if error.downcast_ref::<crate::api::ApiError>().is_some() => {
                    return Err(
                        error.context("admin cannot log in; if the password was changed, give it in ZSTACK_PASSWORD")
                    );
                }
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("mn-service does not answer at {url}")));
                }
                Err(_) => self.check()?,
            }
            sleep(Duration::from_millis(50)).await;
        });
        let tls = private(self.folder.sub("tls")?)?;
        Program::new(&program)
            .arg("--config")
            .arg(&config)
            .args(["issue-host-certificate", "--host-uuid", &self.state.host, "--address", &HERE.to_string(), "--out"])
            .arg(&tls)
            .stdout()
            .await
            .context("no certificate for the host")?;
        Ok(())
    }

    async fn agent(&mut self, binaries: &Path, logs: &Path) -> Result<()> {
        let tls = self.folder.sub("tls")?;
        let run = self.run_folder();
        std::fs::create_dir_all(&run).with_context(|| format!("{} cannot be created", run.display()))?;
        let config = self.write_config(
            "node-manager.toml",
            &json!({
                "listen": SocketAddr::from((HERE, self.state.agent_port)),
                "ca": tls.join("ca.pem"),
                "certificate": tls.join("cert.pem"),
                "key": tls.join("key.pem"),
                "data_dir": self.folder.sub("node")?,
                "run_dir": run,
                "libvirt_uri": hypervisor::URI,
            }),
        )?;
        self.start("node-manager", &binaries.join("node-manager"), &config, logs)?;
        // Only management may speak to it, so an open port is all we can see; the API tells later whether they get on.
        let (address, deadline) = (SocketAddr::from((HERE, self.state.agent_port)), Instant::now() + START);
        while let Err(error) = tokio::net::TcpStream::connect(address).await {
            self.check()?;
            if Instant::now() > deadline {
                return Err(anyhow::Error::new(error).context(format!("node-manager does not listen on {address}")));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn start(&mut self, name: &str, program: &Path, config: &Path, logs: &Path) -> Result<()> {
        let config = config.to_str().context("the state folder's name is not UTF-8")?;
        let log = logs.join(format!("{name}.log"));
        let service = Service::start(name, program, &["--config", config], &log)?;
        self.state.processes.push(service.process.clone());
        // The agent is ended before the service that would miss it.
        self.services.insert(0, service);
        self.folder.save(&self.state)
    }

    /// Both programs take one TOML file.
    fn write_config(&self, name: &str, values: &serde_json::Value) -> Result<PathBuf> {
        let path = self.folder.path.join(name);
        std::fs::write(&path, toml::to_string(values)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }

    /// Process ids must not survive a boot of the machine, so they do not live in the state folder.
    fn run_folder(&self) -> PathBuf {
        Path::new("/run/zstack-dev").join(&self.uplink.name)
    }

    fn make_plan(&self, guest: &Path) -> Result<Plan> {
        let resolv_conf = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        // The cache is a hidden folder, and the service adds no images from hidden places
        // (`image/download.localPath.blacklist`).
        let offered = self.folder.sub("offer")?.join("guest.qcow2");
        std::fs::copy(guest, &offered)
            .with_context(|| format!("{} cannot be copied to {}", guest.display(), offered.display()))?;
        Ok(Plan {
            host: self.state.host.clone(),
            password: uuid::Uuid::new_v4().simple().to_string(),
            vm: self.state.vm.clone(),
            host_address: HERE.to_string(),
            volumes: self.folder.sub("volumes")?,
            images: self.folder.sub("images")?,
            guest: offered,
            uplink: self.uplink.name.clone(),
            range: uplink::range(self.state.subnet)?,
            dns: uplink::resolver(&resolv_conf),
        })
    }

    /// The VM's serial console: the agent's own file, since its API is for management alone.
    fn console_log(&self, vm: &str) -> Result<String> {
        let path = self.folder.path.join("node/serial").join(format!("{vm}.log"));
        match std::fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(error) => Err(error).with_context(|| format!("the serial console {} cannot be read", path.display())),
        }
    }

    /// Waits for the guest's line after `before`, with the address that the API promised.
    async fn proof(&self, vm: &Vm, before: &str) -> Result<Proof> {
        let deadline = Instant::now() + BOOT;
        loop {
            let log = self.console_log(&vm.uuid)?;
            // A log that does not go on where it stood was begun anew with the VM.
            let proof = Proof::find(log.strip_prefix(before).unwrap_or(&log));
            if let Some(proof) = proof {
                if !proof.addresses().contains(&vm.ip.as_str()) {
                    bail!("the guest runs without the address {} that the API promised: {}", vm.ip, proof.line);
                }
                if proof.get("metadata") != Some("yes") {
                    bail!("the guest did not reach the metadata service of its network: {}", proof.line);
                }
                return Ok(proof);
            }
            if Instant::now() > deadline {
                let (seconds, end) = (BOOT.as_secs(), crate::program::last_lines(&log, 20));
                bail!("the guest has not reported within {seconds} s; its console: {end}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// VMs that run or may run, by name. Empty when the service cannot be asked.
    pub(crate) async fn active_vms(&self) -> Result<Vec<(String, String)>> {
        let (Some(api), Some(plan)) = (&self.api, &self.plan) else { return Ok(Vec::new()) };
        Cloud { api, plan }.active_vms().await
    }

    /// Stops the VM through the API.
    pub(crate) async fn stop_vm(&self, uuid: &str) -> Result<()> {
        let (Some(api), Some(plan)) = (&self.api, &self.plan) else { bail!("mn-service has no session") };
        Cloud { api, plan }.stop(uuid).await
    }

    /// Ends the services; VMs, their networks and libvirt stay.
    pub(crate) async fn end_services(&mut self) -> Result<()> {
        let mut failure = None;
        for service in &mut self.services {
            if let Err(error) = service.end().await {
                failure = Some(error);
            }
        }
        self.services.clear();
        self.api = None;
        self.state.processes.retain(|process| is_libvirt(&process.name));
        self.folder.save(&self.state)?;
        failure.map_or(Ok(()), Err)
    }

    /// After a failure: ends the services, and the ground too when nothing runs on it. A VM of an earlier run may be
    /// there although the service that would name it is not.
    pub(crate) async fn give_up(&mut self) -> Result<()> {
        self.end_services().await?;
        if hypervisor::domains().await.is_ok_and(|domains| domains.is_empty()) {
            self.end_ground().await?;
        }
        Ok(())
    }

    /// Takes down what VMs would need: the network, and libvirt if it was started here and serves nobody else.
    pub(crate) async fn end_ground(&mut self) -> Result<()> {
        self.uplink.remove().await?;
        if !self.state.processes.is_empty() || !self.state.units.is_empty() {
            // One that was started here and does not answer serves nobody.
            let domains = hypervisor::domains().await.unwrap_or_default();
            if !domains.is_empty() {
                eprintln!("libvirtd goes on: {} VMs of others run on it", domains.len());
                return Ok(());
            }
            // libvirtd first: it holds files open in virtlogd.
            for process in self.state.processes.iter().rev() {
                process.end_detached().await?;
            }
            if let Some(systemd) = Systemd::here() {
                systemd.stop(&self.state.units).await?;
            }
            self.state.units.clear();
            self.state.processes.clear();
            self.folder.save(&self.state)?;
        }
        let run = self.run_folder();
        match std::fs::remove_dir_all(&run) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} cannot be removed", run.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes the cloud and every trace of it. Goes on after a failure and reports all of them.
    pub(crate) async fn erase(mut self) -> Result<()> {
        let mut failures = Vec::new();
        let mut note = |result: Result<()>| failures.extend(result.err().map(|error| format!("{error:#}")));
        if let (Some(api), Some(plan)) = (&self.api, &self.plan) {
            note(dismantle(&Cloud { api, plan }).await);
        }
        note(self.end_services().await);
        // Without a plan no VM was ever asked for, and libvirt may not even be up.
        if self.plan.is_some() {
            note(hypervisor::destroy(&self.state.vm).await);
        }
        note(self.end_ground().await);
        note(std::fs::remove_dir_all(&self.folder.path).context("the state folder cannot be removed"));
        if !failures.is_empty() {
            bail!("cleaning up was not complete: {}", failures.join("; "));
        }
        Ok(())
    }
}

/// Takes the cloud apart through the API. A job that was under way when we were stopped may forbid it for a while.
async fn dismantle(cloud: &Cloud<'_>) -> Result<()> {
    let deadline = Instant::now() + START;
    loop {
        match cloud.dismantle().await {
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => sleep(Duration::from_secs(1)).await,
            Ok(()) => return Ok(()),
        }
    }
}

pub(crate) fn is_libvirt(name: &str) -> bool {
    ["virtlogd", "libvirtd"].contains(&name)
}

/// Keys live in here.
fn private(path: PathBuf) -> Result<PathBuf> {
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    Ok(path)
}

/// Builds both programs with the profile this one was built with. Returns the folder they are in.
async fn build(progress: &Progress) -> Result<PathBuf> {
    let me = std::env::current_exe().context("this program does not know where it is")?;
    let folder = me.parent().context("this program lies in no folder")?;
    let profile = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Cargo's folder for the profile `dev` is the one profile folder with another name.
    let profile = if profile == "debug" { "dev" } else { profile };
    progress.hide();
    Program::cargo()
        .args(["build", "--profile", profile, "--package", "mn-service", "--package", "node-manager", "--bins"])
        .directory(&crate::repository())
        .deadline(Duration::from_secs(3600))
        .watched()
        .await?;
    for name in ["mn-service", "node-manager"] {
        let path = folder.join(name);
        if !path.is_file() {
            bail!("cargo built no {}; run this through `cargo xtask` in the repository", path.display());
        }
    }
    Ok(folder.to_owned())
}
