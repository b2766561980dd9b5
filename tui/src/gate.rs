//! The system password before anything privileged (OS-TUI-030 to 032), and the pause after wrong ones.

/// How many wrong passwords cost nothing: fingers slip.
const FREE: u32 = 2;
/// Longest pause, in milliseconds.
const LONGEST_MS: u64 = 5 * 60 * 1000;

/// Wrong passwords since the last right one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attempts {
    wrong: u32,
    /// When the next one may be tried, on the clock of the console.
    next_ms: u64,
}

impl Attempts {
    /// A wrong password at that time. The pause after it doubles: 4 s, 8 s, 16 s ... 5 min.
    pub fn wrong(&mut self, now_ms: u64) {
        self.wrong = self.wrong.saturating_add(1);
        if self.wrong > FREE {
            let doubled = self.wrong - FREE;
            let pause = 1000_u64.checked_shl(doubled.saturating_add(1)).unwrap_or(LONGEST_MS).min(LONGEST_MS);
            self.next_ms = now_ms + pause;
        }
    }

    /// The right password.
    pub fn right(&mut self) {
        *self = Self::default();
    }

    /// Seconds until the next one may be tried.
    pub fn wait(&self, now_ms: u64) -> Option<u64> {
        let left = self.next_ms.checked_sub(now_ms)?;
        (left > 0).then(|| left.div_ceil(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_passwords_lock_for_a_growing_time_and_a_right_one_forgives() {
        let mut attempts = Attempts::default();
        let mut pauses = Vec::new();
        let mut now = 10_000;
        for _ in 0..12 {
            attempts.wrong(now);
            let pause = attempts.wait(now).unwrap_or(0);
            pauses.push(pause);
            now += pause * 1000;
            assert_eq!(attempts.wait(now), None);
        }
        assert_eq!(pauses, [0, 0, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        for _ in 0..200 {
            attempts.wrong(now);
        }
        assert_eq!(attempts.wait(now), Some(300));
        attempts.right();
        assert_eq!(attempts.wait(now), None);
    }
}
