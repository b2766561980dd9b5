//! The loop: what happens goes into the state, the state onto the terminal, and what is to be done is done.

use std::{path::Path, sync::Arc, time::Duration};

use crossterm::event::{Event as Input, EventStream, KeyEventKind};
use futures::StreamExt as _;
use installer_plan::{
    answers::{Answers, End},
    facts::Facts,
    plan,
};
use node_manager_net::{files, model::Network};
use tokio::{
    sync::{
        Mutex,
        mpsc::{self, UnboundedSender},
    },
    time::{MissedTickBehavior, interval},
};
use zstack_tui::terminal::Screen;

use super::{
    app::App,
    draw::draw,
    update::{Effect, Event, update},
    words::REHEARSAL,
};
use crate::{
    events,
    execute::{Installation, LOG, Secrets, Stop, note},
    medium::Medium,
    probe::{nics, probe},
    remote::link::Told,
    tool::{Error, Result, run as tool, write},
};

/// How often the cards are looked at while somebody watches.
const LOOK: Duration = Duration::from_secs(3);
/// Files of systemd-networkd that last until the next boot.
const TRIAL: &str = "/run/systemd/network";

/// An installation that was begun, and the step at which it is to go on.
type Begun = Arc<Mutex<Option<(Arc<Installation>, usize)>>>;

/// What is not as usual.
pub struct Setting {
    /// Answers, or why there are none: nobody is asked.
    pub unattended: Option<std::result::Result<Answers, String>>,
    /// Another machine: the screens are shown for it, and nothing is installed.
    pub rehearse: Option<Facts>,
    /// Who shows this terminal to people elsewhere.
    pub told: Told,
}

impl Default for Setting {
    fn default() -> Self {
        Self { unattended: None, rehearse: None, told: Told::nothing() }
    }
}

/// Shows the screens until the installation is over. Returns what to do then.
///
/// # Errors
/// The machine or the medium cannot be read, or the terminal is gone.
pub async fn run(medium: &Path, setting: Setting) -> Result<End> {
    let Setting { unattended, rehearse, mut told } = setting;
    let medium = Medium::open(medium)?;
    let rehearsal = rehearse.is_some();
    let facts = match rehearse {
        Some(facts) => facts,
        None => probe().await?,
    };
    let failed = |cause: std::io::Error| Error::Wrong(format!("the terminal cannot be used: {cause}"));
    let mut screen = Screen::open().map_err(failed)?;
    let mut app = App::new(facts, medium.manifest().clone(), screen.look);
    let (events, mut happened) = mpsc::unbounded_channel();
    let begun = Begun::default();
    if let Some(answers) = unattended {
        match &answers {
            Ok(answers) => perform(Effect::Install(Box::new(answers.clone())), &medium, &events, &begun),
            Err(cause) => note(cause),
        }
        app = app.unattended(answers);
    }
    let mut input = EventStream::new();
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if std::mem::take(&mut app.redraw) {
            screen.clear().map_err(failed)?;
        }
        screen.terminal.draw(|frame| draw(frame, &app)).map_err(failed)?;
        let event = tokio::select! {
            read = input.next() => match read {
                Some(Ok(Input::Key(key))) if key.kind != KeyEventKind::Release => Event::Key(key),
                Some(Ok(Input::Paste(text))) => Event::Paste(text),
                Some(Ok(_)) => continue,
                Some(Err(cause)) => return Err(failed(cause)),
                None => return Err(Error::Wrong("the terminal is gone".to_owned())),
            },
            Some(event) = happened.recv() => event,
            all = told.glyphs() => Event::Glyphs(all),
            _ = ticks.tick() => Event::Tick,
        };
        let mut effects = update(&mut app, event);
        // What has come meanwhile is seen in one drawing.
        while let Ok(event) = happened.try_recv() {
            effects.extend(update(&mut app, event));
        }
        for effect in effects {
            match effect {
                Effect::End(end) => return Ok(end),
                Effect::Shell => {
                    // The shell has the terminal alone; the screen comes back with everything that happened meanwhile.
                    drop(input);
                    drop(screen);
                    shell().await;
                    screen = Screen::open().map_err(failed)?;
                    input = EventStream::new();
                    app.redraw = true;
                }
                Effect::Install(_) | Effect::Retry if rehearsal => {
                    fail(&events, &Error::Wrong(app.say(REHEARSAL).to_owned()));
                }
                Effect::LookAtNics | Effect::TryNetwork(_) if rehearsal => {}
                effect => perform(effect, &medium, &events, &begun),
            }
        }
    }
}

fn perform(effect: Effect, medium: &Medium, events: &UnboundedSender<Event>, begun: &Begun) {
    let (medium, events, begun) = (medium.clone(), events.clone(), begun.clone());
    match effect {
        Effect::Install(answers) => {
            tokio::spawn(async move {
                match prepare(&answers, medium, &events).await {
                    Ok(installation) => go_on(Arc::new(installation), 0, begun).await,
                    Err(cause) => {
                        note(&cause.to_string());
                        fail(&events, &cause);
                    }
                }
            });
        }
        Effect::Retry => {
            tokio::spawn(async move {
                let last = begun.lock().await.take();
                match last {
                    Some((installation, at)) => go_on(installation, at, begun).await,
                    None => fail(&events, &Error::Wrong("nothing was begun; begin on the main screen".to_owned())),
                }
            });
        }
        Effect::LookAtNics => {
            tokio::spawn(async move {
                // The next look may succeed; until then what was seen last stays.
                if let Ok(nics) = nics().await {
                    let _ = events.send(Event::Nics(nics));
                }
            });
        }
        Effect::TryNetwork(network) => {
            tokio::spawn(async move {
                // Whether it works is seen by the addresses that come.
                let _ = try_network(&network).await;
            });
        }
        Effect::Shell | Effect::End(_) => {}
    }
}

async fn go_on(installation: Arc<Installation>, from: usize, begun: Begun) {
    let ended = installation.run(from).await;
    *begun.lock().await = ended.err().map(|failure| (installation, failure.at));
}

/// The machine is looked at again: a disk may have been pulled since.
async fn prepare(answers: &Answers, medium: Medium, events: &UnboundedSender<Event>) -> Result<Installation> {
    let facts = probe().await?;
    let plan = plan(answers, &facts, medium.manifest()).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::Wrong(format!("the answers do not fit this machine:\n{}", lines.join("\n")))
    })?;
    let (said, mut heard) = mpsc::unbounded_channel();
    let events = events.clone();
    tokio::spawn(async move {
        while let Some(event) = heard.recv().await {
            if events.send(Event::Install(event)).is_err() {
                return;
            }
        }
    });
    Installation::new(plan, medium, Secrets::of(answers), Stop::default(), said)
}

fn fail(events: &UnboundedSender<Event>, cause: &Error) {
    let failed = events::Event::Failed {
        step: "prepare".to_owned(),
        cause: cause.to_string(),
        log: LOG.to_owned(),
        changed: false,
    };
    // Nobody looks any more.
    let _ = events.send(Event::Install(failed));
}

async fn try_network(network: &Network) -> Result<()> {
    let folder = Path::new(TRIAL);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(files::OURS) {
            std::fs::remove_file(entry.path()).map_err(Error::file(&entry.path()))?;
        }
    }
    for (name, text) in files::render(network) {
        write(&folder.join(name), &text, 0o644)?;
    }
    tool("networkctl", &["reload"]).await?;
    for name in network.links.keys() {
        tool("networkctl", &["reconfigure", name]).await?;
    }
    Ok(())
}

pub(crate) async fn shell() {
    println!("Type exit to come back.");
    let shell = tokio::process::Command::new("/bin/bash").status().await;
    if let Err(cause) = shell {
        eprintln!("/bin/bash: {cause}");
    }
}
