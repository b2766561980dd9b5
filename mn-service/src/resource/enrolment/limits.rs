//! Who guesses waits: after every failure of an address, or at a code, the next attempt is heard later.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// First and longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A failure is forgotten so long after its pause.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Most failures that are remembered.
const MOST: usize = 20_000;

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Subject {
    /// An address, or for IPv6 the network of one customer.
    Address(IpAddr),
    /// A code.
    Code(String),
}

/// Pauses after failures. Derived state: a restart forgets it, and codes still burn, which the database counts.
#[derive(Debug, Default)]
pub struct Limits {
    failed: Mutex<HashMap<Subject, (u32, Instant)>>,
}

fn subjects(address: IpAddr, code: &str) -> [Subject; 2] {
    let address = match address.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    };
    [Subject::Address(address), Subject::Code(code.chars().take(64).collect())]
}

fn pause(failures: u32) -> Duration {
    PAUSES.0.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSES.1)
}

impl Limits {
    /// How long this address has to wait before it is heard about this code.
    pub(super) fn wait(&self, address: IpAddr, code: &str, now: Instant) -> Option<Duration> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let until = subjects(address, code).iter().filter_map(|subject| Some(failed.get(subject)?.1)).max()?;
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Notes a failure.
    pub(super) fn failed(&self, address: IpAddr, code: &str, now: Instant) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= MOST {
            failed.retain(|_, (_, until)| *until > now);
        }
        if failed.len() >= MOST {
            tracing::warn!("too many failed enrolments to remember; the pauses begin anew");
            failed.clear();
        }
        for subject in subjects(address, code) {
            let (count, until) = failed.entry(subject).or_insert((0, now));
            let forgotten = now.saturating_duration_since(*until) > FORGOTTEN;
            *count = if forgotten { 1 } else { count.saturating_add(1) };
            *until = now + pause(*count);
        }
    }

    /// Forgets all failures.
    pub fn clear(&self) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_for_the_address_and_the_code() {
        let limits = Limits::default();
        let [one, two]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        let now = Instant::now();
        assert_eq!(limits.wait(one, "ABCD", now), None);
        let mut at = now;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            limits.failed(one, "ABCD", at);
            assert_eq!(limits.wait(one, "ABCD", at), Some(Duration::from_secs(seconds)));
            assert_eq!(limits.wait(one, "OTHR", at), Some(Duration::from_secs(seconds)), "another code");
            assert_eq!(limits.wait(two, "ABCD", at), Some(Duration::from_secs(seconds)), "from elsewhere");
            at += Duration::from_secs(seconds);
            assert_eq!(limits.wait(one, "ABCD", at), None);
        }
        assert_eq!(limits.wait(two, "OTHR", now), None, "others are not in this");
        limits.failed(one, "ABCD", at + FORGOTTEN + Duration::from_secs(61));
        let later = at + FORGOTTEN + Duration::from_secs(61);
        assert_eq!(limits.wait(one, "ABCD", later), Some(Duration::from_secs(1)), "what is long ago is forgotten");
    }

    #[test]
    fn one_customers_network_is_one() {
        let limits = Limits::default();
        let now = Instant::now();
        limits.failed("2001:db8::1".parse().unwrap(), "ABCD", now);
        assert!(limits.wait("2001:db8::2".parse().unwrap(), "OTHR", now).is_some());
        assert!(limits.wait("2001:db8:0:1::2".parse().unwrap(), "OTHR", now).is_none());
        limits.failed("192.0.2.1".parse().unwrap(), "WXYZ", now);
        assert!(limits.wait("::ffff:192.0.2.1".parse().unwrap(), "OTHR", now).is_some());
    }
}
