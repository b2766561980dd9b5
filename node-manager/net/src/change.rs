//! A change of the node's network that nobody can lock himself out with.
//!
//! Before the first step the way back is written down ([`journal`]), and a keeper is started that goes it when the
//! changing process dies or nobody confirms in time ([`keeper`]). What happens at a power cut follows from the files:
//! as long as the journal exists the old files are put back at boot, before anybody reads them ([`recover`]).
//!
//! ```text
//! journal: changing ──steps──files──> waiting ──confirm──> (gone: new)
//!              │                         │
//!              └──── process dies,  90 s pass, revert ───> reverting ──> (gone: old)
//! ```

use std::{io, net::IpAddr, path::Path, time::Duration};

use nix::fcntl::{Flock, FlockArg};

use crate::{
    apply::{self, Watch},
    files::{Files, Note, Parsed, parse, render, rivals, store},
    kernel::Kernel,
    live::{Live, Sight, View},
    model::Network,
    plan::{Plan, plan},
    state::State,
    step::Step,
    validate::{Problem, validate},
};

mod error;
mod guard;
pub mod journal;
pub mod keeper;
pub mod lease;
pub mod networkd;
pub mod places;
mod prepare;

pub use error::ChangeError;
pub(crate) use error::file_error;
use journal::{Journal, Phase};
use places::Places;
use prepare::Elsewhere;
pub use prepare::Prepared;

/// What changes do.
pub type Result<T> = std::result::Result<T, ChangeError>;

/// The node as a command finds it, whole or as far as the command is about it.
pub struct Node {
    /// Where its files are.
    pub places: Places,
    /// Its kernel.
    pub kernel: Kernel,
    /// What the kernel has.
    pub live: Live,
    /// What our files say, and links that a command has taken in as they are.
    pub old: Network,
    ours: Files,
    /// What our files say.
    managed: Network,
    /// This node's address in the remote login of whoever changes it.
    login: Option<IpAddr>,
    /// What our files say beyond what the commands know: somebody has edited them.
    edited: Vec<Note>,
    /// What files of ours that are not among these say and may clash with a change.
    elsewhere: Elsewhere,
    /// What is looked at again.
    sight: Sight,
    _lock: Flock<std::fs::File>,
}

/// A change that can be shown or carried out.
pub struct Change {
    /// What was typed, for messages.
    pub command: String,
    /// The wanted network.
    pub new: Network,
    /// Way there.
    pub plan: Plan,
    before: State,
    files: Vec<store::Change>,
    /// It touches what the management network needs.
    pub touches_management: bool,
    /// What somebody has written into files of ours by hand, and goes when they are written anew.
    pub lost: Vec<Note>,
    /// What files of others say about links that are managed from now on, and goes because ours come before them.
    pub superseded: Vec<String>,
}

impl Change {
    /// Names of the files that it writes or removes.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(store::Change::file)
    }
}

/// How a change is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Conduct {
    /// Keep it as soon as it is verified, whatever it touches.
    pub confirmed: bool,
    /// How long to wait for a confirmation otherwise.
    pub seconds: u64,
    /// Keep it also when no server answers to a link that asks for its address.
    pub without_lease: bool,
    /// Stop this process after so many durable actions; 0: after each.
    pub halt_after: Option<usize>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The node was like that already.
    Unchanged,
    /// It is kept.
    Kept,
    /// It is in force and goes when nobody confirms.
    Waiting {
        /// For so long.
        seconds: u64,
    },
}

/// How long a command waits for another one: a keeper needs a moment to put things back.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the file of a lock. Whoever can open it can hold the lock and so keep changes, and ways back, from happening:
/// it is root's alone, also where it was made with other rights.
pub(crate) fn lock_file(path: &Path) -> io::Result<std::fs::File> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Takes the lock that every change holds.
pub(crate) async fn lock(places: &Places, patience: Duration) -> Result<Flock<std::fs::File>> {
    let path = places.lock();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(file_error(format!("cannot make {}", folder.display())))?;
    }
    let mut file =
        lock_file(&path).map_err(file_error(format!("cannot open {}; network commands need root", path.display())))?;
    let until = tokio::time::Instant::now() + patience;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((same, _)) if tokio::time::Instant::now() < until => file = same,
            Err(_) => return Err(ChangeError::Busy),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Node {
    /// Looks at the node, and keeps others from changing it. An earlier change that died is taken back first.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn open(places: Places) -> Result<Self> {
        Self::begin(places, true).await
    }

    async fn begin(places: Places, look: bool) -> Result<Self> {
        let lock = lock(&places, PATIENCE).await?;
        if let Some(journal) = Journal::read(&places)? {
            if let Some(seconds) = journal.seconds_left()
                && keeper::is_alive(&places)
            {
                return Err(ChangeError::Waiting { command: journal.command, seconds });
            }
            revert(&places, journal.clone()).await?;
            return Err(ChangeError::TakenBack { command: journal.command });
        }
        let mut node = Self {
            kernel: Kernel::open()?,
            live: Live::nothing(View::Near),
            old: Network::default(),
            ours: Files::new(),
            managed: Network::default(),
            login: guard::login(),
            edited: Vec::new(),
            elsewhere: Elsewhere::default(),
            sight: Sight::Whole,
            places,
            _lock: lock,
        };
        if look {
            node.look().await?;
        }
        Ok(node)
    }

    /// Looks at everything.
    async fn look(&mut self) -> Result<()> {
        self.live = Live::read(&self.kernel).await?;
        self.live.rivals = rivals(self.places.root(), networkd::runs(&self.places), self.live.links().values());
        let store = self.places.store();
        self.ours = store.ours().map_err(file_error(format!("cannot read {}", store.folder().display())))?;
        let Parsed { network, notes } = parse(&self.ours);
        (self.old, self.managed, self.edited) = (network.clone(), network, notes);
        (self.elsewhere, self.sight) = (Elsewhere::default(), Sight::Whole);
        Ok(())
    }

    /// The change was decided with everything in view, and not with a part of the node.
    pub fn looked_at_everything(&self) -> bool {
        matches!(self.sight, Sight::Whole)
    }

    /// What the kernel has now, of what the node was looked at for.
    ///
    /// # Errors
    /// The kernel's.
    pub async fn live_now(&self) -> Result<Live> {
        Ok(self.sight.look(&self.kernel).await?)
    }

    /// What files of others say that would win over ours.
    fn rivals(&self, new: &Network) -> Result<Vec<Problem>> {
        let store = self.places.store();
        let earlier = store.earlier().map_err(file_error(format!("cannot read {}", store.folder().display())))?;
        let mut problems = Vec::new();
        for (name, text) in earlier {
            let theirs = parse(&[(name.clone(), text)].into()).network;
            for link in theirs.links.keys().filter(|link| new.links.contains_key(*link)) {
                problems.push(Problem {
                    subject: format!("links.{link}"),
                    rule: format!(
                        "{} describes it, too, and comes before our files",
                        store.folder().join(&name).display()
                    )
                    .into(),
                    way_out: "remove that file".into(),
                });
            }
        }
        Ok(problems)
    }

    /// Checks a wanted network against itself and the node, and plans it.
    ///
    /// # Errors
    /// [`ChangeError::Problems`], all of them.
    pub fn plan(&self, command: String, new: Network) -> Result<Change> {
        let mut problems = validate(&new);
        if problems.is_empty() {
            problems = self.live.obstacles(&self.old, &new);
            problems.extend(self.rivals(&new)?);
        }
        let before = self.live.state(&self.old, &new);
        let plan = plan(&before, &State::from(&new));
        if problems.is_empty() {
            problems = self.live.bystanders(&self.old, &new, &plan);
        }
        for step in &plan.steps {
            if let Step::Dhcp { link, dhcp } = step
                && !dhcp.is_off()
                && !networkd::runs(&self.places)
            {
                problems.push(Problem {
                    subject: format!("links.{link}.ip.dhcp"),
                    rule: "addresses are got by systemd-networkd, which does not run here".into(),
                    way_out: "start it (systemctl enable --now systemd-networkd), or give a fixed address".into(),
                });
            }
        }
        if !problems.is_empty() {
            return Err(ChangeError::Problems(problems));
        }
        let files = self.rewritten(&new);
        let touches_management =
            guard::touches(&self.live, &self.managed, [&self.old, &new], &plan, &files, self.login);
        let superseded = self.superseded(&new);
        let goes = |note: &&Note| files.iter().any(|change| change.file() == note.file);
        let lost = self.edited.iter().filter(goes).cloned().collect();
        Ok(Change { command, new, plan, before, files, touches_management, lost, superseded })
    }

    /// Files that must be written anew. What somebody edited stays as it is while it means the same.
    fn rewritten(&self, new: &Network) -> Vec<store::Change> {
        let (meant, wanted) = (render(&self.managed), render(new));
        let edited = |file: &str| self.edited.iter().any(|note| note.file == file);
        let stays = |file: &str| edited(file) && meant.contains_key(file) && meant.get(file) == wanted.get(file);
        let mut changes = store::changes(&self.ours, &wanted);
        changes.retain(|change| !stays(change.file()));
        changes
    }

    /// What files of others say about links that get their first file of ours.
    fn superseded(&self, new: &Network) -> Vec<String> {
        let fresh = new.links.keys().filter(|name| !self.managed.links.contains_key(*name));
        let rivals = fresh.filter_map(|name| Some((name, self.live.rivals.get(name)?)));
        rivals.flat_map(|(name, rival)| rival.goes(name, self.live.is_announced(name), new)).collect()
    }

    /// Carries a change out.
    ///
    /// # Errors
    /// [`ChangeError::Failed`] when it was taken back, [`ChangeError::Stuck`] when that failed.
    pub async fn carry_out(&self, change: &Change, conduct: Conduct, watch: &mut dyn Watch) -> Result<Outcome> {
        if change.plan.is_empty() && change.files.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        let mut journal = Journal {
            id: journal::fresh_id(),
            boot: places::boot_id(),
            command: change.command.clone(),
            phase: Phase::Changing,
            old: self.old.clone(),
            new: change.new.clone(),
            before: change.before.clone(),
            files: self.ours.clone(),
            near: match &self.sight {
                Sight::Whole => None,
                Sight::Near(links) => Some(links.clone()),
            },
        };
        let mut actions = Actions { done: 0, halt_after: conduct.halt_after };
        let keeper = keeper::start(&journal.id).map_err(ChangeError::Keeper)?;
        journal.write(&self.places)?;
        actions.done();
        let mut done = self.steps_and_files(change, &mut actions, watch).await;
        if done.is_ok() && !conduct.without_lease {
            done = self.leases(&change.plan).await;
        }
        if let Err(cause) = done {
            return Err(match revert(&self.places, journal).await {
                Ok(()) => ChangeError::Failed(Box::new(cause)),
                Err(undo) => {
                    // The keeper notices that this process ends and goes on.
                    drop(keeper);
                    ChangeError::Stuck { cause: Box::new(cause), undo: Box::new(undo) }
                }
            });
        }
        if conduct.confirmed || !change.touches_management {
            Journal::remove(&self.places)?;
            keeper.dismiss();
            return Ok(Outcome::Kept);
        }
        journal.phase = Phase::Waiting { until_ms: places::uptime_ms() + conduct.seconds * 1000 };
        journal.write(&self.places)?;
        actions.done();
        keeper.dismiss();
        if !keeper::is_alive(&self.places) {
            let cause = ChangeError::Keeper(io::Error::other("it ended"));
            revert(&self.places, journal).await?;
            return Err(ChangeError::Failed(Box::new(cause)));
        }
        Ok(Outcome::Waiting { seconds: conduct.seconds })
    }

    async fn steps_and_files(&self, change: &Change, actions: &mut Actions, watch: &mut dyn Watch) -> Result<()> {
        let (kernel, sight) = (&self.kernel, &self.sight);
        apply::apply(kernel, sight, &self.old, &change.new, &mut Counted { actions, watch }).await?;
        let store = self.places.store();
        for file in &change.files {
            let path = store.folder().join(file.file());
            store.change(file).map_err(file_error(format!("cannot write {}", path.display())))?;
            actions.done();
        }
        let again = async || apply::apply(kernel, sight, &self.old, &change.new, &mut Silent).await;
        Ok(networkd::follow(&self.places, again).await?)
    }
}

impl Node {
    /// Waits until every link that began to ask for an address has one (OS-NET-002).
    async fn leases(&self, plan: &Plan) -> Result<()> {
        let begin = tokio::time::Instant::now();
        for (link, dhcp) in lease::asked(plan) {
            loop {
                let given = lease::given(&self.live_now().await?, link, dhcp);
                match lease::judged(&given, dhcp, begin.elapsed()) {
                    lease::Judged::Enough => break,
                    lease::Judged::Wait => tokio::time::sleep(lease::PACE).await,
                    lease::Judged::Nothing => {
                        let seconds = lease::PATIENCE.as_secs();
                        return Err(ChangeError::NoLease { link: link.to_owned(), seconds });
                    }
                }
            }
        }
        Ok(())
    }
}

/// Counts what would survive a power cut.
struct Actions {
    done: usize,
    halt_after: Option<usize>,
}

impl Actions {
    fn done(&mut self) {
        self.done += 1;
        if self.halt_after.is_some_and(|point| point == 0 || point == self.done) {
            // Only fails for signals that do not exist.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        }
    }
}

struct Counted<'a> {
    actions: &'a mut Actions,
    watch: &'a mut dyn Watch,
}

impl Watch for Counted<'_> {
    fn before(&mut self, step: &Step, done: usize, all: usize) -> bool {
        // The step before this one is in force.
        if done > 1 {
            self.actions.done();
        }
        self.watch.before(step, done, all)
    }
}

/// Watches nothing.
pub struct Silent;

impl Watch for Silent {
    fn before(&mut self, _: &Step, _: usize, _: usize) -> bool {
        true
    }
}

/// Brings back what was before a change: its files, then what the kernel has.
async fn revert(places: &Places, mut journal: Journal) -> Result<()> {
    journal.phase = Phase::Reverting;
    journal.write(places)?;
    restore_files(places, &journal)?;
    if journal.boot == places::boot_id() {
        let kernel = Kernel::open()?;
        let (sight, Journal { old, new, before, .. }) = (journal.sight(), &journal);
        apply::restore(&kernel, &sight, old, new, before, &mut Silent).await?;
        let again = async || apply::restore(&kernel, &sight, old, new, before, &mut Silent).await;
        networkd::follow(places, again).await?;
    }
    Journal::remove(places)
}

fn restore_files(places: &Places, journal: &Journal) -> Result<()> {
    let store = places.store();
    let folder = store.folder().display().to_string();
    let ours = match &journal.near {
        None => store.ours(),
        Some(links) => store.ours_of(links),
    };
    let ours = ours.map_err(file_error(format!("cannot read {folder}")))?;
    for change in store::changes(&ours, &journal.files) {
        store.change(&change).map_err(file_error(format!("cannot restore {folder}/{}", change.file())))?;
    }
    Ok(())
}

/// Keeps the change that waits.
///
/// # Errors
/// [`ChangeError::Nothing`] when there is none, [`ChangeError::TakenBack`] when it came too late.
pub async fn confirm(places: &Places) -> Result<String> {
    let _lock = lock(places, PATIENCE).await?;
    let journal = Journal::read(places)?.ok_or(ChangeError::Nothing)?;
    if journal.seconds_left().is_none() {
        revert(places, journal.clone()).await?;
        return Err(ChangeError::TakenBack { command: journal.command });
    }
    Journal::remove(places)?;
    Ok(journal.command)
}

/// Takes the change back that waits, or that died.
///
/// # Errors
/// [`ChangeError::Nothing`] when there is none.
pub async fn take_back(places: &Places) -> Result<String> {
    let _lock = lock(places, PATIENCE).await?;
    let journal = Journal::read(places)?.ok_or(ChangeError::Nothing)?;
    let command = journal.command.clone();
    revert(places, journal).await?;
    Ok(command)
}

/// What to do at boot, before anybody reads the files: a change that was not confirmed is taken back. Returns its command.
///
/// # Errors
/// Those of the file system.
pub async fn recover(places: &Places) -> Result<Option<String>> {
    match take_back(places).await {
        Ok(command) => Ok(Some(command)),
        Err(ChangeError::Nothing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Path of a file for messages.
pub(crate) fn shown(path: &Path) -> String {
    path.display().to_string()
}
