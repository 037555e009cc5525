//! What the demo shows, as plain text: services on the left, edges on the right.

use std::fmt::Write;
use std::time::Duration;

use super::script::{Scene, into_loop};

/// Everything as of one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub services: Vec<ServiceRow>,
    pub edges: Vec<EdgeRow>,
    pub n_series: u64,
    pub series_limit: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ServiceRow {
    pub name: String,
    pub figures: Figures,
    /// Seconds of p50, p95 and p99.
    pub quantiles: [Option<f64>; 3],
}

#[derive(Debug, Clone, PartialEq)]
pub struct EdgeRow {
    pub client: String,
    pub server: String,
    pub figures: Figures,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Requests a second.
    pub rate: f64,
    /// Share of them.
    pub errors: f64,
}

const SERVICE_HEAD: &str = "service            req/s  errors      p50      p95      p99";
const EDGE_HEAD: &str = "client -> server                  req/s  errors";
const BETWEEN: &str = "    ";

impl Table {
    /// Below a first line, such as where the service listens.
    pub fn render(&self, first: &str, scene: &Scene, at: Duration) -> String {
        let played = into_loop(at).as_secs();
        let (minutes, seconds) = (played / 60, played % 60);
        let mut text = format!(
            "{first}\nscript {minutes}:{seconds:02}  now: {}\n             look: {}\n",
            scene.now, scene.look
        );
        let (n, limit) = (self.n_series, self.series_limit);
        let (services, edges) = (self.services.len(), self.edges.len());
        push(
            &mut text,
            format_args!("series {n} of {limit}, services {services}, edges {edges}\n\n"),
        );
        let left = std::iter::once(SERVICE_HEAD.to_owned())
            .chain(self.services.iter().map(service_line))
            .chain(std::iter::repeat(String::new()));
        let right = std::iter::once(EDGE_HEAD.to_owned()).chain(self.edges.iter().map(edge_line));
        let right = right.chain(std::iter::repeat(String::new()));
        let n_lines = 1 + services.max(edges);
        let width = SERVICE_HEAD.len();
        for (left, right) in left.zip(right).take(n_lines) {
            let line = format!("{left:<width$}{BETWEEN}{right}");
            push(&mut text, format_args!("{}\n", line.trim_end()));
        }
        text
    }
}

fn service_line(row: &ServiceRow) -> String {
    let Figures { rate, errors } = row.figures;
    let [p50, p95, p99] = row.quantiles.map(milliseconds);
    let errors = percent(errors);
    format!("{:<16}  {rate:>6.1}  {errors:>6}  {p50:>7}  {p95:>7}  {p99:>7}", row.name)
}

fn edge_line(row: &EdgeRow) -> String {
    let Figures { rate, errors } = row.figures;
    let errors = percent(errors);
    let edge = format!("{} -> {}", row.client, row.server);
    format!("{edge:<31}  {rate:>6.1}  {errors:>6}")
}

/// Below one in a thousand there is a trace of it.
fn percent(share: f64) -> String {
    if share == 0.0 { "-".to_owned() } else { format!("{:.1} %", (share * 100.0).max(0.1)) }
}

fn milliseconds(seconds: Option<f64>) -> String {
    match seconds.map(|seconds| seconds * 1000.0) {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::script::SCENES;
    use super::*;

    #[test]
    fn services_stand_beside_edges_below_the_scene() {
        let service = |name: &str, rate, errors, quantiles| ServiceRow {
            name: name.to_owned(),
            figures: Figures { rate, errors },
            quantiles,
        };
        let edge = |client: &str, server: &str, rate, errors| EdgeRow {
            client: client.to_owned(),
            server: server.to_owned(),
            figures: Figures { rate, errors },
        };
        let table = Table {
            services: vec![
                service("cart", 4.26, 0.0, [0.0021, 0.0456, 1.2].map(Some)),
                service("recommendation", 1234.5, 0.25, [None; 3]),
            ],
            edges: vec![
                edge("user", "cart", 4.26, 0.0),
                edge("cart", "valkey", 12.0, 0.0002),
                edge("recommendation", "catalog", 0.04, 1.0),
            ],
            n_series: 1234,
            series_limit: 20_000,
        };
        expect![[r#"
            spanmill demo
            script 2:03  now: a quarter of the payments fails
                         look: errors of payment and checkout; edge checkout -> payment
            series 1234 of 20000, services 2, edges 3

            service            req/s  errors      p50      p95      p99    client -> server                  req/s  errors
            cart                 4.3       -   2.1 ms    46 ms  1200 ms    user -> cart                        4.3       -
            recommendation    1234.5  25.0 %        -        -        -    cart -> valkey                     12.0   0.1 %
                                                                           recommendation -> catalog           0.0  100.0 %
        "#]]
        .assert_eq(&table.render("spanmill demo", &SCENES[2], Duration::from_secs(360 + 123)));
    }
}
