//! The process' clock: wall time that never goes back.
//!
//! Samples carry wall time and must rise, so a wall clock that is set back is not followed: time goes
//! on from the last reading at the pace of the monotonic clock until the wall has caught up.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Cheap to read, shared by all.
#[derive(Debug)]
pub struct Clock {
    last: Mutex<Reading>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Duration,
    mono: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { last: Mutex::new(read_system()) }
    }
}

impl Clock {
    /// What the system says, since the Unix epoch: it may go back. For comparing with the times that
    /// others read from their clocks.
    pub fn wall() -> Duration {
        read_system().wall
    }

    /// Since the Unix epoch; never goes back.
    pub fn now(&self) -> Duration {
        let mut last = self.last.lock().expect("the clock's lock is never held across a panic");
        *last = advance(*last, read_system());
        last.wall
    }

    pub fn now_unix_nano(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn now_unix_ms(&self) -> i64 {
        i64::try_from(self.now().as_millis()).unwrap_or(i64::MAX)
    }
}

fn advance(last: Reading, system: Reading) -> Reading {
    if system.wall >= last.wall {
        return system;
    }
    Reading {
        wall: last.wall + system.mono.saturating_duration_since(last.mono),
        mono: system.mono,
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clocks")]
fn read_system() -> Reading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Reading { wall, mono: Instant::now() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_set_back_is_not_followed() {
        let mono = read_system().mono;
        let at = |wall_s, mono_s| Reading {
            wall: Duration::from_secs(wall_s),
            mono: mono + Duration::from_secs(mono_s),
        };
        let forward = advance(at(1000, 0), at(1010, 10));
        assert_eq!(forward.wall, Duration::from_secs(1010));
        let set_back = advance(forward, at(500, 15));
        assert_eq!(set_back.wall, Duration::from_secs(1015));
        let caught_up = advance(set_back, at(1020, 530));
        assert_eq!(caught_up.wall, Duration::from_secs(1020));
    }
}
