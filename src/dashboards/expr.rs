//! PromQL from parts, with `@KEY` for names: sums, shares and quantiles over a window.

/// Span metrics of what the dashboard's variables choose.
pub(super) const CHOSEN: &str =
    r#"@namespace=~"$namespace",@service=~"$service",@kind=~"$span_kind""#;

/// How counters are looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    call: &'static str,
    range: &'static str,
    offset: &'static str,
}

/// Per second, at each step of a graph.
pub(super) const NOW: Window = Window { call: "rate", range: "$__rate_interval", offset: "" };

/// How many in the whole time range.
pub(super) const RANGE: Window = Window { call: "increase", range: "$__range", offset: "" };

impl Window {
    /// The same window, so long ago.
    pub(super) fn baseline(self) -> Self {
        Self { offset: " offset $baseline", ..self }
    }

    pub(super) fn of(self, metric: &str, filter: &str) -> String {
        let Self { call, range, offset } = self;
        format!("{call}({metric}{{{filter}}}[{range}]{offset})")
    }

    pub(super) fn sum(self, by: &str, metric: &str, filter: &str) -> String {
        sum(by, &self.of(metric, filter))
    }

    /// Of a counter, per second whatever the window.
    pub(super) fn per_second(self, by: &str, metric: &str, filter: &str) -> String {
        let sum = self.sum(by, metric, filter);
        if self.call == "rate" { sum } else { format!("{sum} / $__range_s") }
    }

    /// Spans with an error, of all.
    pub(super) fn errors(self, by: &str, filter: &str) -> String {
        let bad = self.sum(by, "@calls", &format!("{filter},@status=\"@ERROR\""));
        share(&bad, &self.sum(by, "@calls", filter))
    }

    /// Seconds that spans took; of a classic histogram, else of a native one.
    pub(super) fn seconds(self, by: &str, histogram: &str, filter: &str) -> String {
        let classic = self.sum(by, &format!("{histogram}_sum"), filter);
        let native = sum(by, &format!("histogram_sum({})", self.of(histogram, filter)));
        format!("({classic} or {native})")
    }

    pub(super) fn quantile(self, q: &str, by: &str, histogram: &str, filter: &str) -> String {
        quantile(q, by, |series| self.of(&format!("{histogram}{series}"), filter))
    }
}

/// The quantile of a native histogram, else of a classic one, which `rate` gives by its suffix.
pub(super) fn quantile(q: &str, by: &str, rate: impl Fn(&str) -> String) -> String {
    let le = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    let (native, classic) = (sum(by, &rate("")), sum(&le, &rate("_bucket")));
    format!("(histogram_quantile({q}, {native}) or histogram_quantile({q}, {classic}))")
}

pub(super) fn sum(by: &str, what: &str) -> String {
    if by.is_empty() { format!("sum({what})") } else { format!("sum by ({by}) ({what})") }
}

/// Zero where there was something and nothing of it bad, a gap where there was nothing.
pub(super) fn share(bad: &str, all: &str) -> String {
    format!("({bad} / ({all} > 0) or 0 * ({all} > 0))")
}

/// Satisfied requests and half of the tolerated ones: `$apdex_t` matches the buckets T and 4 T.
pub(super) fn apdex(window: Window, by: &str, filter: &str) -> String {
    let good = window.sum(by, "@latency_bucket", &format!("{filter},le=~\"$apdex_t\""));
    let all = window.sum(by, "@latency_count", filter);
    format!("{good} / 2 / ({all} > 0)")
}

/// Of the label sets with the most spans in the time range: the same rows in each column.
pub(super) fn busiest(by: &str, filter: &str, of: &str) -> String {
    format!("({of}) and on ({by}) topk($top, {})", RANGE.sum(by, "@calls", filter))
}

/// What is there in one window and not in the same one so long ago.
pub(super) fn appeared(by: &str, metric: &str, filter: &str) -> String {
    only(RANGE, RANGE.baseline(), by, metric, filter)
}

pub(super) fn vanished(by: &str, metric: &str, filter: &str) -> String {
    only(RANGE.baseline(), RANGE, by, metric, filter)
}

fn only(there: Window, not_there: Window, by: &str, metric: &str, filter: &str) -> String {
    let sum = |window: Window| window.sum(by, metric, filter);
    format!("{} > 0 unless {} > 0", sum(there), sum(not_there))
}
