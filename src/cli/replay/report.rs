//! What a person is told while files are read, on stderr: trouble, progress, and a last line.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use super::reading::{Bad, Place};
use super::tell;
use crate::clock::Clock;

const BETWEEN_LINES: Duration = Duration::from_millis(200);
/// Messages about requests that were taken; each request of a large file may have one.
const MESSAGES_MAX: u64 = 20;
/// To the start of the line, and delete it.
const FRESH_LINE: &str = "\r\x1b[K";

pub(super) struct Report {
    clock: Clock,
    on_terminal: bool,
    told_at: Duration,
    finished: bool,
    n_requests: u64,
    n_spans: u64,
    n_undecodable: u64,
    n_refused: u64,
    n_unreadable: u64,
    n_unanswered: u64,
    n_rejected_spans: u64,
    n_messages: u64,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::default(),
            on_terminal: stderr().is_terminal(),
            told_at: Duration::ZERO,
            finished: false,
            n_requests: 0,
            n_spans: 0,
            n_undecodable: 0,
            n_refused: 0,
            n_unreadable: 0,
            n_unanswered: 0,
            n_rejected_spans: 0,
            n_messages: 0,
        }
    }

    pub(super) fn now_unix_nano(&self) -> u64 {
        self.clock.now_unix_nano()
    }

    pub(super) fn taken(&mut self, n_spans: u64) {
        self.n_requests += 1;
        self.n_spans += n_spans;
        if self.on_terminal && self.clock.now() >= self.told_at + BETWEEN_LINES {
            self.told_at = self.clock.now();
            let (n_requests, n_spans) = (self.n_requests, self.n_spans);
            let line = format!("{FRESH_LINE}replay: {n_requests} requests, {n_spans} spans");
            // nothing is left to do where even stderr is closed
            stderr().lock().write_all(line.as_bytes()).ok();
        }
    }

    pub(super) fn bad(&mut self, place: &Place, bad: &Bad) {
        match bad {
            Bad::Unreadable(_) => self.n_unreadable += 1,
            Bad::Undecodable(_) => self.n_undecodable += 1,
            Bad::Refused(_) => self.n_refused += 1,
            Bad::Unanswered(_) => self.n_unanswered += 1,
        }
        self.tell(&format!("{place}: {bad}"));
    }

    /// What a service says of a request that it took.
    pub(super) fn message(&mut self, place: &Place, message: &str, n_rejected_spans: u64) {
        self.n_rejected_spans += n_rejected_spans;
        self.n_messages += 1;
        if self.n_messages <= MESSAGES_MAX {
            self.tell(&format!("{place}: {message}"));
        }
    }

    /// A service said something of a request that it took.
    pub(super) fn has_messages(&self) -> bool {
        self.n_messages > 0
    }

    pub(super) fn tell(&self, line: &str) {
        let fresh_line = if self.on_terminal { FRESH_LINE } else { "" };
        tell(format_args!("{fresh_line}{line}"));
    }

    /// The last line, once.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if self.n_messages > MESSAGES_MAX {
            let more = self.n_messages - MESSAGES_MAX;
            self.tell(&format!("replay: {more} more messages like these"));
        }
        let mut line = format!(
            "replay: {} requests, {} spans, {} undecodable, {} refused",
            self.n_requests, self.n_spans, self.n_undecodable, self.n_refused
        );
        for (n, what) in [
            (self.n_unanswered, "unanswered"),
            (self.n_unreadable, "unreadable"),
            (self.n_rejected_spans, "spans rejected"),
        ] {
            if n > 0 {
                line.push_str(&format!(", {n} {what}"));
            }
        }
        self.tell(&line);
    }

    /// Everything that was there has been taken.
    pub(super) fn is_clean(&self) -> bool {
        let trouble = self.n_undecodable + self.n_refused + self.n_unanswered + self.n_unreadable;
        trouble + self.n_rejected_spans == 0
    }

    /// Something has been taken, or told.
    pub(super) fn has_begun(&self) -> bool {
        self.n_requests > 0 || !self.is_clean()
    }
}
