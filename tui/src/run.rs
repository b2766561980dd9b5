//! The loop: what happens goes into the state, the state onto the terminal, and what is to be done to those who do it.

use std::{
    io,
    time::{Duration, Instant},
};

use crossterm::event::{Event as Input, EventStream, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use futures::StreamExt as _;
use ratatui::layout::Position;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::{JoinHandle, LocalSet, spawn_local},
    time::{MissedTickBehavior, interval},
};

use crate::{
    app::App,
    config::Config,
    draw,
    perform::{Performer, node::Observer},
    terminal::Screen,
    update::{Event, Mouse, update},
};

/// Runs the console until it is told to end.
///
/// # Errors
/// When the terminal is gone.
pub async fn run(config: &Config) -> io::Result<()> {
    LocalSet::new().run_until(console(config)).await
}

async fn console(config: &Config) -> io::Result<()> {
    // Before the terminal is changed: who ends it at once gets it back as it was.
    let signals = [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    let mut screen = Screen::open()?;
    if config.mouse {
        screen.listen_to_mouse()?;
    }
    let (role, paths) = (config.role(), config.paths());
    let mut app = App::new(role, config.language, screen.look);
    app.confirm_seconds = paths.confirm_seconds;
    screen.terminal.draw(|frame| draw::draw(frame, &app))?;
    let (events, mut happened) = mpsc::unbounded_channel();
    let observer = Observer::new(role, &paths);
    let observing = spawn_local(observe(observer, screen.pace, events.clone()));
    let mut performer = Performer::new(paths, events);
    let repaint = (screen.fast && config.repaint_seconds > 0).then(|| Duration::from_secs(config.repaint_seconds));
    let ended = pump(&mut app, &mut screen, repaint, &mut performer, &mut happened, signals).await;
    observing.abort();
    ended
}

async fn observe(mut observer: Observer, pace: Duration, events: UnboundedSender<Event>) {
    let mut times = interval(pace);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        if events.send(Event::Facts(Box::new(observer.look().await))).is_err() {
            return;
        }
    }
}

async fn pump(
    app: &mut App,
    screen: &mut Screen,
    repaint: Option<Duration>,
    performer: &mut Performer,
    happened: &mut UnboundedReceiver<Event>,
    [mut terminate, mut hang_up]: [Signal; 2],
) -> io::Result<()> {
    let begin = Instant::now();
    let now = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut input = EventStream::new();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining: Option<JoinHandle<()>> = None;
    let mut dirty = true;
    let mut painted = Instant::now();
    loop {
        if dirty && draining.is_none() {
            if std::mem::take(&mut app.redraw) {
                screen.clear()?;
            } else if repaint.is_some_and(|pause| painted.elapsed() >= pause) {
                screen.forget();
                painted = Instant::now();
            }
            screen.terminal.draw(|frame| draw::draw(frame, app))?;
            dirty = false;
            draining = screen.drained().map(tokio::task::spawn_blocking);
        }
        let event = tokio::select! {
            read = input.next() => match read {
                Some(Ok(Input::Key(key))) if key.kind != KeyEventKind::Release => Some(Event::Key(key)),
                Some(Ok(Input::Paste(text))) => Some(Event::Paste(text)),
                Some(Ok(Input::Mouse(event))) => match meant(event) {
                    Some(mouse) => Some(Event::Mouse(mouse, screen.terminal.size()?)),
                    // A hand that moves it draws nothing.
                    None => continue,
                },
                Some(Ok(_)) => None,
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            Some(event) = happened.recv() => Some(event),
            _ = ticks.tick() => None,
            () = drained(&mut draining) => { draining = None; continue }
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        };
        let mut events = vec![Event::Tick(now())];
        events.extend(event);
        // What has come meanwhile is seen in one drawing.
        while let Ok(event) = happened.try_recv() {
            events.push(event);
        }
        for event in events {
            for effect in update(app, event) {
                performer.begin(app.latest, effect);
            }
        }
        dirty = true;
    }
}

/// What the mouse means.
fn meant(event: MouseEvent) -> Option<Mouse> {
    match event.kind {
        MouseEventKind::Down(MouseButton::Left) => Some(Mouse::Click(Position::new(event.column, event.row))),
        MouseEventKind::ScrollUp => Some(Mouse::Up),
        MouseEventKind::ScrollDown => Some(Mouse::Down),
        _ => None,
    }
}

async fn drained(draining: &mut Option<JoinHandle<()>>) {
    match draining {
        Some(task) => {
            // It cannot fail but by a panic, after which nothing is drained either.
            let _ = task.await;
        }
        None => std::future::pending().await,
    }
}
