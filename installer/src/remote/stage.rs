//! What the doors, the console and the terminal have in common: who is here, and what is on the screen.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use installer_plan::answers::End;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use super::{
    frame::Frame,
    guard::{Guard, Refusal},
    keys::Key,
};

/// What was typed, by whomever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// A key.
    Key(Key),
    /// Characters, as an input method makes them.
    Text(String),
    /// What came from a clipboard.
    Paste(String),
}

/// Something for the terminal to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Take this as if it came from a keyboard.
    Type(Typed),
    /// Have so many columns and lines.
    Resize(u16, u16),
}

/// Where the screen is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// With the people who come over the network.
    Remote,
    /// With who stands at the machine.
    Local,
    /// Nowhere: it is over.
    Ended(End),
}

/// Ways in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// With a browser.
    Browser,
    /// With a VNC viewer.
    Vnc,
}

/// Somebody who looks at the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// How he came.
    pub door: Door,
    /// Where he is.
    pub from: IpAddr,
}

/// Why nobody is let in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Closed {
    /// A password was wrong.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// The screen is not with the network.
    #[error("somebody at the machine has taken over; F10 there gives the screen back to the network")]
    Elsewhere,
}

/// The screen, and who is before it.
pub struct Stage {
    frames: watch::Receiver<Arc<Frame>>,
    orders: mpsc::UnboundedSender<Order>,
    mode: watch::Sender<Mode>,
    /// There are glyphs for Chinese wherever the screen is seen.
    glyphs: watch::Sender<bool>,
    /// VNC viewers see Chinese.
    vnc_chinese: bool,
    guard: Mutex<Guard>,
    people: Mutex<(u64, BTreeMap<u64, Person>)>,
    /// Counts everything that the console tells.
    news: watch::Sender<u64>,
}

impl Stage {
    /// A screen that is with the network; nobody is here yet.
    pub fn new(
        frames: watch::Receiver<Arc<Frame>>,
        orders: mpsc::UnboundedSender<Order>,
        glyphs: watch::Sender<bool>,
        vnc_chinese: bool,
    ) -> Self {
        let (mode, news) = (watch::Sender::new(Mode::Remote), watch::Sender::new(0));
        let (guard, people) = Default::default();
        Self { frames, orders, mode, glyphs, vnc_chinese, guard, people, news }
    }

    /// What is on the screen, now and later.
    pub fn frames(&self) -> watch::Receiver<Arc<Frame>> {
        self.frames.clone()
    }

    /// Where the screen is, now and later.
    pub fn mode(&self) -> watch::Receiver<Mode> {
        self.mode.subscribe()
    }

    /// Becomes another number when the console has something else to tell.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Types.
    pub fn type_in(&self, typed: Typed) {
        // Nobody takes it when it is over.
        let _ = self.orders.send(Order::Type(typed));
    }

    /// Reads or changes who may come in, and tells the console.
    pub fn guard<T>(&self, change: impl FnOnce(&mut Guard) -> T) -> T {
        let done = change(&mut self.guard.lock().unwrap_or_else(PoisonError::into_inner));
        self.tell();
        done
    }

    /// The password, whole and as VNC wants it, and how often it was replaced.
    pub fn password(&self) -> (Zeroizing<String>, Zeroizing<String>, u32) {
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        (guard.shown(), guard.shown_for_vnc(), guard.replaced())
    }

    /// Whether anybody is let in from there now.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn admits(&self, from: IpAddr) -> Result<(), Closed> {
        if *self.mode.borrow() != Mode::Remote {
            return Err(Closed::Elsewhere);
        }
        Ok(self.guard.lock().unwrap_or_else(PoisonError::into_inner).admits(from)?)
    }

    /// Takes a password; whoever knows it gets a session.
    ///
    /// # Errors
    /// [`Closed`].
    pub fn log_in(&self, from: IpAddr, typed: &str) -> Result<Zeroizing<String>, Closed> {
        if *self.mode.borrow() != Mode::Remote {
            return Err(Closed::Elsewhere);
        }
        Ok(self.guard(|guard| guard.log_in(from, typed).map(|()| guard.open_session()))?)
    }

    /// Whether somebody holds this session.
    pub fn knows_session(&self, token: &str) -> bool {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner).knows_session(token)
    }

    /// Somebody who has shown that he may is before the screen, until what is returned is dropped. Nothing, where the
    /// screen is elsewhere.
    pub fn enter(self: &Arc<Self>, person: Person) -> Option<Visit> {
        let mut people = self.people();
        if *self.mode.borrow() != Mode::Remote {
            return None;
        }
        people.0 += 1;
        let number = people.0;
        people.1.insert(number, person);
        self.agree(&people.1);
        drop(people);
        self.tell();
        Some(Visit { stage: self.clone(), number })
    }

    /// Who is here.
    pub fn present(&self) -> Vec<Person> {
        self.people().1.values().copied().collect()
    }

    /// Takes the screen to who stands at the machine: those who came over the network have to leave, and need the
    /// password that is shown when it is given back.
    pub fn take_over(&self, columns: u16, rows: u16, chinese: bool) {
        {
            // Whoever enters at this moment sees either this or the people that are sent away.
            let _people = self.people();
            self.mode.send_replace(Mode::Local);
        }
        self.guard(Guard::end_sessions);
        self.glyphs.send_replace(chinese);
        let _ = self.orders.send(Order::Resize(columns, rows));
    }

    /// The terminal at the machine has another size now.
    pub fn resize(&self, columns: u16, rows: u16) {
        let _ = self.orders.send(Order::Resize(columns, rows));
    }

    /// Gives the screen back to the network.
    pub fn give_back(&self, (columns, rows): (u16, u16)) {
        let _ = self.orders.send(Order::Resize(columns, rows));
        let people = self.people();
        self.mode.send_replace(Mode::Remote);
        self.agree(&people.1);
        drop(people);
        self.tell();
    }

    /// It is over.
    pub fn end(&self, end: End) {
        self.mode.send_replace(Mode::Ended(end));
        self.tell();
    }

    /// Chinese is for those who all see it.
    fn agree(&self, people: &BTreeMap<u64, Person>) {
        let all = self.vnc_chinese || !people.values().any(|person| person.door == Door::Vnc);
        self.glyphs.send_if_modified(|before| std::mem::replace(before, all) != all);
    }

    fn tell(&self) {
        self.news.send_modify(|number| *number = number.wrapping_add(1));
    }

    fn people(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Person>)> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until the screen is with the network no more; where it is then, unless nobody knows.
pub async fn left(mode: &mut watch::Receiver<Mode>) -> Option<Mode> {
    mode.wait_for(|mode| *mode != Mode::Remote).await.ok().map(|mode| *mode)
}

/// Somebody is before the screen.
pub struct Visit {
    stage: Arc<Stage>,
    number: u64,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut people = self.stage.people();
        people.1.remove(&self.number);
        if *self.stage.mode.borrow() == Mode::Remote {
            self.stage.agree(&people.1);
        }
        drop(people);
        self.stage.tell();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// A stage with a picture of its own, and what it orders.
    pub(in crate::remote) fn stage(
        frame: Frame,
    ) -> (Arc<Stage>, watch::Sender<Arc<Frame>>, mpsc::UnboundedReceiver<Order>) {
        let (shown, frames) = watch::channel(Arc::new(frame));
        let (orders, ordered) = mpsc::unbounded_channel();
        (Arc::new(Stage::new(frames, orders, watch::Sender::new(true), false)), shown, ordered)
    }

    fn person(door: Door) -> Person {
        Person { door, from: Ipv4Addr::LOCALHOST.into() }
    }

    #[test]
    fn chinese_is_for_those_who_all_see_it() {
        let (stage, _shown, _ordered) = stage(Frame::empty(10, 2));
        let glyphs = stage.glyphs.subscribe();
        let _browser = stage.enter(person(Door::Browser)).unwrap();
        assert!(*glyphs.borrow());
        let viewer = stage.enter(person(Door::Vnc)).unwrap();
        assert!(!*glyphs.borrow());
        drop(viewer);
        assert!(*glyphs.borrow());
        assert_eq!(stage.present(), [person(Door::Browser)]);
    }

    #[test]
    fn whoever_stands_at_the_machine_has_the_screen_alone() {
        let (stage, _shown, mut ordered) = stage(Frame::empty(10, 2));
        let token = stage.guard(Guard::open_session);
        let password = stage.password().0;
        stage.take_over(80, 24, false);
        assert_eq!(ordered.try_recv().unwrap(), Order::Resize(80, 24));
        assert!(stage.enter(person(Door::Browser)).is_none());
        assert_eq!(stage.admits(Ipv4Addr::LOCALHOST.into()), Err(Closed::Elsewhere));
        assert!(!stage.guard(|guard| guard.knows_session(&token)), "nobody comes back without being asked");
        assert_ne!(*stage.password().0, *password);
        stage.give_back((100, 32));
        assert_eq!(ordered.try_recv().unwrap(), Order::Resize(100, 32));
        assert!(stage.enter(person(Door::Browser)).is_some());
    }
}
