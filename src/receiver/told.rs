//! Refused input in the log: a line for each reason, at most one a minute.

use std::fmt::Display;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::telemetry::Refused;

const PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Vec<Line>>);

#[derive(Debug)]
struct Line {
    reason: Refused,
    at: Instant,
    untold: u64,
}

impl Told {
    pub(super) fn tell(&self, reason: Refused, text: &dyn Display) {
        if let Some(untold) = self.is_due(reason, Instant::now()) {
            let since = (untold > 0).then_some(untold);
            tracing::warn!(reason = reason.name(), untold = since, "refused a request: {text}");
        }
    }

    /// How many were not told since the last one that was; `None` if this is not told either.
    fn is_due(&self, reason: Refused, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().expect("nothing panics under this lock");
        let Some(line) = lines.iter_mut().find(|line| line.reason == reason) else {
            lines.push(Line { reason, at: now, untold: 0 });
            return Some(0);
        };
        if now < line.at + PAUSE {
            line.untold += 1;
            return None;
        }
        line.at = now;
        Some(std::mem::take(&mut line.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_a_minute_with_the_number_of_those_between() {
        let told = Told::default();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(told.is_due(Refused::TooLarge, at(0)), Some(0));
        assert_eq!(told.is_due(Refused::Overload, at(1)), Some(0), "another reason");
        assert_eq!(told.is_due(Refused::TooLarge, at(1)), None);
        assert_eq!(told.is_due(Refused::TooLarge, at(59)), None);
        assert_eq!(told.is_due(Refused::TooLarge, at(60)), Some(2));
        assert_eq!(told.is_due(Refused::TooLarge, at(61)), None);
    }
}
