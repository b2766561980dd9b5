//! Who may come in: passwords that are good for one login, sessions of browsers, and what wrong passwords cost.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use rand::{Rng as _, rngs::ThreadRng};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// What a password is made of: no two of these look alike on any screen, and all lie on every keyboard.
const ALPHABET: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// Characters of a password: 59 bits, and 39 in the first [`VNC`] of them.
const LENGTH: usize = 12;
/// Characters between two dashes where a password is shown.
const GROUP: usize = 4;
/// Characters that VNC authentication knows of a password (RFC 6143, 7.2.2).
pub const VNC: usize = 8;
/// Wrong passwords, from wherever, after which there is another one.
const WRONG: u32 = 10;
/// Longest wait after a wrong password.
const LONGEST: Duration = Duration::from_secs(60);
/// Addresses whose wrong passwords are remembered at once.
const ADDRESSES: usize = 1024;
/// Bytes of a session's token.
const TOKEN: usize = 32;

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The password is not that on the console.
    #[error("that is not the password on the machine's console; try again in {} s", .wait.as_secs())]
    Wrong {
        /// How long nothing from there is looked at.
        wait: Duration,
    },
    /// Something wrong came from there a moment ago. This password was not looked at.
    #[error("a wrong password came from this address; try again in {} s", .wait.as_secs().max(1))]
    Later {
        /// How long nothing from there is looked at.
        wait: Duration,
    },
}

/// Wrong passwords from one address.
#[derive(Debug)]
struct Wrong {
    times: u32,
    until: Instant,
}

/// The password that is good now, the sessions, and who was wrong.
#[derive(Debug)]
pub struct Guard {
    password: Zeroizing<String>,
    /// Digests of the tokens.
    sessions: Vec<[u8; 32]>,
    wrong: HashMap<IpAddr, Wrong>,
    /// Wrong passwords since this one was made.
    tries: u32,
    /// Passwords that were replaced because too many were wrong.
    replaced: u32,
}

impl Default for Guard {
    fn default() -> Self {
        Self { password: password(), sessions: Vec::new(), wrong: HashMap::new(), tries: 0, replaced: 0 }
    }
}

impl Guard {
    /// The password as people read it: in groups.
    pub fn shown(&self) -> Zeroizing<String> {
        let groups: Vec<&str> = (0..LENGTH).step_by(GROUP).filter_map(|at| self.password.get(at..at + GROUP)).collect();
        Zeroizing::new(groups.join("-"))
    }

    /// What VNC authentication asks for.
    pub fn shown_for_vnc(&self) -> Zeroizing<String> {
        Zeroizing::new(self.password.chars().take(VNC).collect())
    }

    /// How often a password was replaced because too many were wrong.
    pub fn replaced(&self) -> u32 {
        self.replaced
    }

    /// Whether anything from there is looked at now.
    ///
    /// # Errors
    /// [`Refusal::Later`].
    pub fn admits(&self, from: IpAddr) -> Result<(), Refusal> {
        let now = Instant::now();
        match self.wrong.get(&place(from)) {
            Some(wrong) if wrong.until > now => Err(Refusal::Later { wait: wrong.until - now }),
            _ => Ok(()),
        }
    }

    /// Takes the password, as it was typed: dashes, blanks and the size of letters do not matter. It is used up then.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn log_in(&mut self, from: IpAddr, typed: &str) -> Result<(), Refusal> {
        let typed: String = typed.chars().filter(|c| *c != '-' && !c.is_whitespace()).collect();
        let typed = Zeroizing::new(typed.to_ascii_lowercase());
        self.judge(from, |password| password.as_bytes().ct_eq(typed.as_bytes()).into())
    }

    /// As [`Guard::log_in`] for somebody who proves to know the password in another way.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn judge(&mut self, from: IpAddr, knows: impl FnOnce(&str) -> bool) -> Result<(), Refusal> {
        self.admits(from)?;
        if knows(&self.password) {
            self.wrong.remove(&place(from));
            self.renew();
            return Ok(());
        }
        self.tries += 1;
        if self.tries >= WRONG {
            self.renew();
            self.replaced += 1;
        }
        let now = Instant::now();
        if self.wrong.len() >= ADDRESSES {
            self.wrong.retain(|_, wrong| wrong.until > now);
        }
        if self.wrong.len() >= ADDRESSES {
            // Somebody has very many addresses; what slows him down is that the password changes.
            self.wrong.clear();
        }
        let wrong = self.wrong.entry(place(from)).or_insert(Wrong { times: 0, until: now });
        wrong.times = wrong.times.saturating_add(1);
        let wait = Duration::from_secs(1 << wrong.times.min(6)).min(LONGEST);
        wrong.until = now + wait;
        Err(Refusal::Wrong { wait })
    }

    /// A session for somebody who is logged in: what its holder shows when he comes again.
    pub fn open_session(&mut self) -> Zeroizing<String> {
        let mut token = Zeroizing::new([0_u8; TOKEN]);
        rand::rng().fill(&mut token[..]);
        let token = Zeroizing::new(hex::encode(&token[..]));
        self.sessions.push(digest(&token));
        token
    }

    /// Whether somebody holds this session.
    pub fn knows_session(&self, token: &str) -> bool {
        self.sessions.contains(&digest(token))
    }

    /// Ends all sessions; whoever comes needs the password that is shown now.
    pub fn end_sessions(&mut self) {
        self.sessions.clear();
        self.renew();
    }

    fn renew(&mut self) {
        self.password = password();
        self.tries = 0;
    }
}

fn password() -> Zeroizing<String> {
    let mut random: ThreadRng = rand::rng();
    Zeroizing::new((0..LENGTH).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect())
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// What counts as one address: a network of 64 bits is one customer's, who can use every address in it.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_password_is_readable_and_no_two_are_alike() {
        let (one, other) = (Guard::default(), Guard::default());
        assert_ne!(*one.shown(), *other.shown());
        let shown = one.shown();
        assert_eq!(shown.split('-').map(str::len).collect::<Vec<_>>(), [4, 4, 4]);
        assert!(shown.chars().all(|c| c == '-' || ALPHABET.contains(&(c as u8))), "{}", *shown);
        assert!(!ALPHABET.iter().any(|c| b"il1o0".contains(c)));
        assert_eq!(*one.shown_for_vnc(), shown.replace('-', "")[..8]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_is_good_for_one_login() {
        let mut guard = Guard::default();
        let password = guard.shown();
        assert_eq!(guard.log_in(HERE, &password.to_uppercase().replace('-', " ")), Ok(()));
        assert_ne!(*guard.shown(), *password);
        assert!(matches!(guard.log_in(THERE, &password), Err(Refusal::Wrong { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn each_wrong_password_from_an_address_costs_it_more_time_and_others_none() {
        let mut guard = Guard::default();
        for seconds in [2, 4, 8, 16] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(guard.log_in(HERE, "wrong"), Err(Refusal::Wrong { wait }));
            // Not looked at, right or wrong, and not counted.
            let right = guard.shown();
            assert_eq!(guard.log_in(HERE, &right), Err(Refusal::Later { wait }));
            assert_eq!(guard.admits(THERE), Ok(()));
            tokio::time::advance(wait).await;
        }
        let right = guard.shown();
        assert_eq!(guard.log_in(HERE, &right), Ok(()));
        assert_eq!(guard.log_in(HERE, "wrong"), Err(Refusal::Wrong { wait: Duration::from_secs(2) }));
    }

    #[tokio::test(start_paused = true)]
    async fn ten_wrong_passwords_in_all_replace_it() {
        let mut guard = Guard::default();
        let password = guard.shown();
        for number in 0..9_u8 {
            assert!(guard.log_in([192, 0, 2, number].into(), "wrong").is_err());
        }
        assert_eq!((guard.shown(), guard.replaced()), (password.clone(), 0));
        assert!(guard.log_in([192, 0, 2, 9].into(), "wrong").is_err());
        assert_eq!(guard.replaced(), 1);
        assert!(guard.log_in([192, 0, 2, 10].into(), &password).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_of_one_network_of_ipv6_count_as_one() {
        let mut guard = Guard::default();
        assert!(guard.log_in("2001:db8::1".parse().unwrap(), "wrong").is_err());
        assert!(matches!(guard.admits("2001:db8::2".parse().unwrap()), Err(Refusal::Later { .. })));
        assert_eq!(guard.admits("2001:db8:0:1::2".parse().unwrap()), Ok(()));
        assert!(guard.log_in("::ffff:192.0.2.1".parse().unwrap(), "wrong").is_err());
        assert!(guard.admits(HERE).is_err());
    }

    #[test]
    fn sessions_last_until_all_are_ended() {
        let mut guard = Guard::default();
        let (one, other) = (guard.open_session(), guard.open_session());
        assert!(guard.knows_session(&one) && guard.knows_session(&other) && !guard.knows_session("x"));
        let password = guard.shown();
        guard.end_sessions();
        assert!(!guard.knows_session(&one) && *guard.shown() != *password);
    }
}
