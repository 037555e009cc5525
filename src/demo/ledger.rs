//! The ledger: what the shop did, booked call by call, and compared with what somebody counted.
//!
//! It books calls. It has never seen a span.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::calls::{Call, Outcome, Trace};
use super::topology::{Node, Operation, Service, USER, Way, calling_name};

/// How often it was, by service, span name, kind and status; and by client, server and connection
/// type how many requests there were, and how many of them failed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Books {
    pub spans: BTreeMap<[String; 4], f64>,
    pub edges: BTreeMap<[String; 3], [f64; 2]>,
}

/// What the books of the shop and those of the service say of each other.
#[derive(Debug)]
pub struct Verdict {
    pub n_sent: u64,
    pub n_counted: u64,
    /// Found as they were made, of so many.
    pub n_edges: [usize; 2],
    /// A line for each figure.
    pub differences: Vec<String>,
}

const PLAIN: &str = "";
const DATABASE: &str = "database";
const MESSAGING: &str = "messaging_system";
const VIRTUAL: &str = "virtual_node";

impl Books {
    /// One of the alike traces that a trace stands for.
    pub fn book(&mut self, trace: &Trace) {
        trace.calls.iter().for_each(|call| self.book_call(call));
    }

    fn book_call(&mut self, call: &Call) {
        let Call { operation, caller, callee, .. } = call;
        let (caller, callee) = (caller.map(|c| c.service), callee.map(|c| c.service));
        if let Some(caller) = caller {
            let kind = if operation.way == Way::Send { "PRODUCER" } else { "CLIENT" };
            let failed = call.outcome != Outcome::Fine;
            self.span(caller, calling_name(caller, operation), kind, failed);
        }
        let failed = call.outcome == Outcome::Failed;
        if let Some(callee) = callee {
            let kind = match operation.way {
                Way::Receive => "CONSUMER",
                Way::Schedule => "INTERNAL",
                _ => "SERVER",
            };
            self.span(callee, served_name(operation, call.subject_in_name), kind, failed);
        }
        let failed = failed || (caller.is_some() && call.outcome == Outcome::Refused);
        match (caller.map(|caller| caller.about().name), operation.node) {
            _ if operation.way == Way::Schedule => {}
            (_, Node::Topic(_)) => {}
            (None, Node::Service(reader)) if operation.way == Way::Receive => {
                for message in &call.messages {
                    let from = message.from.about().name;
                    self.edge(from, reader.about().name, MESSAGING, failed);
                }
            }
            (None, Node::Service(server)) => self.edge(USER, server.about().name, VIRTUAL, failed),
            (Some(client), Node::Service(server)) => {
                self.edge(client, server.about().name, PLAIN, failed);
            }
            (Some(client), Node::Database { name, .. }) => {
                self.edge(client, name, DATABASE, failed);
            }
            (Some(client), Node::Peer(name)) => self.edge(client, name, VIRTUAL, failed),
            (None, Node::Database { .. } | Node::Peer(_)) => {}
        }
    }

    fn span(&mut self, service: Service, name: String, kind: &str, failed: bool) {
        let status = if failed { "STATUS_CODE_ERROR" } else { "STATUS_CODE_UNSET" };
        let kind = format!("SPAN_KIND_{kind}");
        let key = [service.about().name.to_owned(), name, kind, status.to_owned()];
        *self.spans.entry(key).or_default() += 1.0;
    }

    fn edge(&mut self, client: &str, server: &str, connection: &str, failed: bool) {
        let [requests, failures] =
            self.edges.entry([client, server, connection].map(str::to_owned)).or_default();
        *requests += 1.0;
        *failures += if failed { 1.0 } else { 0.0 };
    }
}

/// As the span's name is kept: ids have become a mark.
fn served_name(operation: &Operation, subject_in_name: bool) -> String {
    match operation.name.split_once("{id}") {
        Some((before, after)) if subject_in_name => format!("{before}<_>{after}"),
        _ => operation.name.to_owned(),
    }
}

impl Verdict {
    /// `made` by the shop, which sent so many spans of it, and `counted` by the service, so many spans.
    pub fn new((made, n_sent): (&Books, u64), (counted, n_counted): (&Books, u64)) -> Self {
        let mut differences = Vec::new();
        if n_sent != n_counted {
            differences.push(format!("spans: sent {n_sent}, counted {n_counted}"));
        }
        each_key(&made.spans, &counted.spans, |key, made, counted| {
            differences.extend(difference(&key.join(" "), made, counted));
        });
        let mut n_edges = 0;
        each_key(&made.edges, &counted.edges, |key, made, counted| {
            let [client, server, _] = key;
            let edge = format!("{client} -> {server}");
            let found = [0, 1].map(|i| {
                let what = ["requests", "failed"][i];
                let of = |figures: Option<&[f64; 2]>| figures.map(|figures| figures[i]);
                difference(&format!("{edge} {what}"), of(made).as_ref(), of(counted).as_ref())
            });
            n_edges += usize::from(found.iter().all(Option::is_none));
            differences.extend(found.into_iter().flatten());
        });
        Self { n_sent, n_counted, n_edges: [n_edges, made.edges.len()], differences }
    }
}

fn each_key<K: Ord, V>(
    made: &BTreeMap<K, V>,
    counted: &BTreeMap<K, V>,
    mut each: impl FnMut(&K, Option<&V>, Option<&V>),
) {
    let keys: BTreeSet<&K> = made.keys().chain(counted.keys()).collect();
    keys.into_iter().for_each(|key| each(key, made.get(key), counted.get(key)));
}

fn difference(what: &str, made: Option<&f64>, counted: Option<&f64>) -> Option<String> {
    let [made, counted] = [made, counted].map(|n| n.copied().unwrap_or_default());
    (made != counted).then(|| format!("{what}: made {made}, counted {counted}"))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_sent, n_counted, n_edges: [found, made], differences } = self;
        let n = differences.len();
        write!(
            f,
            "ledger: sent {n_sent} spans, counted {n_counted}, edges {found} of {made}, differences {n}"
        )
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn books(calls: f64, [requests, failed]: [f64; 2]) -> Books {
        let span = ["cart", "GET /", "SPAN_KIND_SERVER", "STATUS_CODE_UNSET"].map(str::to_owned);
        let edge = ["web", "cart", ""].map(str::to_owned);
        Books {
            spans: BTreeMap::from([(span, calls)]),
            edges: BTreeMap::from([(edge, [requests, failed])]),
        }
    }

    #[test]
    fn books_that_agree_have_no_differences() {
        let books = books(7.0, [7.0, 2.0]);
        let verdict = Verdict::new((&books, 9), (&books, 9));
        let expected = "ledger: sent 9 spans, counted 9, edges 1 of 1, differences 0";
        assert_eq!(verdict.to_string(), expected);
    }

    #[test]
    fn each_figure_that_differs_is_a_difference() {
        let (made, counted) = (books(7.0, [7.0, 2.0]), books(6.0, [6.0, 1.0]));
        let verdict = Verdict::new((&made, 9), (&counted, 8));
        expect![[r#"
            spans: sent 9, counted 8
            cart GET / SPAN_KIND_SERVER STATUS_CODE_UNSET: made 7, counted 6
            web -> cart requests: made 7, counted 6
            web -> cart failed: made 2, counted 1"#]]
        .assert_eq(&verdict.differences.join("\n"));
        assert_eq!(verdict.n_edges, [0, 1]);
    }

    #[test]
    fn what_only_one_of_them_has_is_a_difference() {
        let (some, none) = (books(1.0, [1.0, 0.0]), Books::default());
        for (made, counted, edges) in [(&some, &none, 1), (&none, &some, 0)] {
            let verdict = Verdict::new((made, 1), (counted, 1));
            assert_eq!((verdict.differences.len(), verdict.n_edges), (2, [0, edges]));
        }
    }
}
