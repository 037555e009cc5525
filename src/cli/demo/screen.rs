//! The table on the terminal: redrawn in place, or block by block where there is no terminal.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use super::counted::{Counted, Sums};
use super::work::Progress;
use crate::app::Reading;
use crate::clock::Clock;
use crate::demo::{EdgeRow, Figures, ServiceRow, Table, scene};
use crate::series::histogram_quantile;

/// Rates are those of so many seconds.
const WINDOW: Duration = Duration::from_secs(10);
/// The cursor to the upper left, and nothing below it.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) struct Screen {
    first: String,
    /// Ticks, the newest last; before all of them the time when nothing had come.
    ticks: VecDeque<Counted>,
    is_terminal: bool,
    has_begun: bool,
}

impl Screen {
    pub(super) fn new(reading: &Reading) -> Self {
        let shown = |at: Option<SocketAddr>| at.map_or_else(String::new, |at| at.to_string());
        let [grpc, http, admin] = [reading.grpc, reading.http, reading.admin].map(shown);
        let first = format!("spanmill demo: grpc {grpc}, http {http}, admin {admin}");
        let start = Counted { at: Clock::default().now(), ..Counted::default() };
        let is_terminal = stdout().is_terminal();
        Self { first, ticks: VecDeque::from([start]), is_terminal, has_begun: false }
    }

    /// The newest tick, once, and where the script is; before there is one that nothing is there yet.
    pub(super) fn show(
        &mut self,
        newest: Option<Counted>,
        progress: &Progress,
    ) -> std::io::Result<()> {
        let shown = self.ticks.back().map(|last| last.at);
        match newest {
            Some(newest) if shown < Some(newest.at) => self.ticks.push_back(newest),
            None if !self.has_begun => {}
            _ => return Ok(()),
        }
        self.has_begun = true;
        let end = self.ticks.back().map_or(Duration::ZERO, |last| last.at);
        while self.ticks.get(1).is_some_and(|second| second.at + WINDOW <= end) {
            self.ticks.pop_front();
        }
        let table = match (self.ticks.front(), self.ticks.back()) {
            (Some(first), Some(last)) => table(first, last),
            _ => Table::default(),
        };
        let at = progress.script_time();
        let text = table.render(&self.first, scene(at), at);
        if self.is_terminal {
            let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_row > 1);
            let (rows, columns) = size.map_or((usize::MAX, usize::MAX), |size| {
                (usize::from(size.ws_row) - 1, size.ws_col.into())
            });
            let cut = |line: &str| line.chars().take(columns).collect::<String>();
            let lines: Vec<String> = text.lines().take(rows).map(cut).collect();
            print_line(&format!("{CLEAR}{}", lines.join("\n")))
        } else {
            print_line(&text)
        }
    }
}

/// Fails where nobody reads any more.
pub(super) fn print_line(line: &str) -> std::io::Result<()> {
    writeln!(stdout().lock(), "{line}")
}

/// What came between two ticks.
fn table(first: &Counted, last: &Counted) -> Table {
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    let services = last.services.iter().map(|(name, sums)| {
        let before = first.services.get(name).cloned().unwrap_or_default();
        let at = |i: usize| before.buckets.get(i).copied().unwrap_or_default();
        let buckets: Vec<f64> = sums.buckets.iter().enumerate().map(|(i, n)| n - at(i)).collect();
        let Sums { calls, errors, .. } = *sums;
        ServiceRow {
            name: name.clone(),
            figures: figures(calls - before.calls, errors - before.errors, seconds),
            quantiles: [0.5, 0.95, 0.99].map(|q| histogram_quantile(q, &last.bounds, &buckets)),
        }
    });
    let edges = last.books.edges.iter().map(|(key, [requests, failed])| {
        let [client, server, _] = key;
        let before = first.books.edges.get(key).copied().unwrap_or_default();
        EdgeRow {
            client: client.clone(),
            server: server.clone(),
            figures: figures(requests - before[0], failed - before[1], seconds),
        }
    });
    Table {
        services: services.collect(),
        edges: edges.collect(),
        n_series: last.n_series,
        series_limit: last.series_limit,
    }
}

fn figures(calls: f64, errors: f64, seconds: f64) -> Figures {
    let share = |n: f64, of: f64| if of > 0.0 { n / of } else { 0.0 };
    Figures { rate: share(calls, seconds), errors: share(errors, calls) }
}
