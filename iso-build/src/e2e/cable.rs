//! Network cables between machines: pairs of datagram sockets in files, so nothing that they carry can leave this
//! machine or meet another network.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Result, bail};

use super::machine::Machine;

/// What a network card is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Socket {
    /// Nothing; the card has a link all the same.
    Empty,
    /// One end of a cable.
    Cable {
        /// Where frames arrive.
        own: PathBuf,
        /// Where frames are sent.
        other: PathBuf,
    },
}

/// A cable with two ends.
#[derive(Debug)]
pub(crate) struct Cable {
    ends: [PathBuf; 2],
    plugged: Mutex<usize>,
    cards: Mutex<Vec<(Arc<Machine>, usize)>>,
}

impl Cable {
    /// A cable with its sockets in a folder.
    pub(super) fn new(folder: &Path, number: usize) -> Self {
        let end = |name: &str| folder.join(format!("cable{number}{name}"));
        Self { ends: [end("a"), end("b")], plugged: Mutex::default(), cards: Mutex::default() }
    }

    /// Takes the next free end.
    pub(super) fn plug(&self) -> Result<Socket> {
        let mut plugged = self.plugged.lock().unwrap_or_else(PoisonError::into_inner);
        let [a, b] = self.ends.clone();
        *plugged += 1;
        match *plugged {
            1 => Ok(Socket::Cable { own: a, other: b }),
            2 => Ok(Socket::Cable { own: b, other: a }),
            _ => bail!("a cable has two ends, and both are plugged in"),
        }
    }

    /// Remembers which card of which machine an end is plugged into.
    pub(super) fn belongs(&self, machine: Arc<Machine>, nic: usize) {
        self.cards.lock().unwrap_or_else(PoisonError::into_inner).push((machine, nic));
    }

    /// Pulls the cable: both cards lose their link.
    pub(crate) async fn pull(&self) -> Result<()> {
        self.switch(false).await
    }

    /// Plugs it in again.
    pub(crate) async fn plug_in(&self) -> Result<()> {
        self.switch(true).await
    }

    async fn switch(&self, up: bool) -> Result<()> {
        let cards = self.cards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (machine, nic) in cards {
            machine.set_link(nic, up).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_sends_to_the_other() {
        let cable = Cable::new(Path::new("/r"), 3);
        let (a, b) = (PathBuf::from("/r/cable3a"), PathBuf::from("/r/cable3b"));
        assert_eq!(cable.plug().unwrap(), Socket::Cable { own: a.clone(), other: b.clone() });
        assert_eq!(cable.plug().unwrap(), Socket::Cable { own: b, other: a });
        assert!(cable.plug().unwrap_err().to_string().contains("two ends"));
    }
}
