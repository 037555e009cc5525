//! One layer against the schema: unknown keys, keys of a later version, values of a wrong kind.
//!
//! Every problem is reported and what is wrong is taken out, so that all that is read later is well
//! formed, and entries of lists have their defaults.

use super::node::{Body, Map, Node};
use super::problem::{Place, Problems};
use super::schema::{self, Key, Kind, RESERVED_HEADERS};
use super::{schema_processors, values};

pub(crate) fn check(root: Node, problems: &mut Problems) -> Map {
    match root.body {
        Body::Map(map) => Checker { problems }.map(schema::ROOT, map, ""),
        Body::Nothing => Map::new(),
        _ => {
            let message = format!("found {}, expected a mapping of keys", described(&root));
            problems.add(root.place, "", message);
            Map::new()
        }
    }
}

/// Keys of a section that stands in a file of its own, at `path`.
pub(super) fn check_keys(
    keys: &'static [Key],
    map: Map,
    path: &str,
    problems: &mut Problems,
) -> Map {
    Checker { problems }.map(keys, map, path)
}

/// Entries for a list of the schema, checked and with their defaults.
pub(crate) fn check_list(key: &Key, list: Node, problems: &mut Problems) -> Vec<Node> {
    match (Checker { problems }).value(key, list.place, list, key.name) {
        Some(Node { body: Body::List(entries), .. }) => entries,
        _ => Vec::new(),
    }
}

/// A value that the program works out.
const AUTO: &str = "auto";

struct Checker<'a> {
    problems: &'a mut Problems,
}

impl Checker<'_> {
    fn map(&mut self, keys: &'static [Key], map: Map, path: &str) -> Map {
        let mut checked = Map::new();
        for (name, (place, node)) in map {
            let path = join(path, &name);
            let Some(key) = keys.iter().find(|key| key.name == name) else {
                self.problems.add(place, &path, unknown(keys, &name, &path));
                continue;
            };
            if let Some(node) = self.value(key, place, node, &path) {
                checked.insert(name, (place, node));
            }
        }
        checked
    }

    fn value(&mut self, key: &Key, place: Place, node: Node, path: &str) -> Option<Node> {
        if node.is_nothing() {
            return None;
        }
        match (key.kind, node.body) {
            (Kind::Later, body) => {
                let node = Node { place: node.place, body };
                self.later(&node, key.default.map(|_| key.default_node()).as_ref(), place, path);
                None
            }
            (Kind::Section(keys), Body::Map(map)) => {
                Some(Node::new(node.place, Body::Map(self.map(keys, map, path))))
            }
            (Kind::Block(keys), Body::Map(map)) => {
                Some(Node::new(node.place, self.filled(keys, map, path)))
            }
            (Kind::List(keys), Body::List(list)) => {
                let entries = list.into_iter().enumerate();
                let entries = entries
                    .filter_map(|(idx, node)| self.entry(keys, node, &format!("{path}[{idx}]")));
                Some(Node::new(node.place, Body::List(entries.collect())))
            }
            (kind, body) => {
                let node = Node { place: node.place, body };
                // no rule between keys applies to a choice that is none: it stays as it is
                let is_kept = self.leaf(kind, &node, path) || matches!(kind, Kind::Choice(_));
                is_kept.then(|| if matches!(kind, Kind::Slack) { both_sides(node) } else { node })
            }
        }
    }

    fn entry(&mut self, keys: &'static [Key], node: Node, path: &str) -> Option<Node> {
        let Body::Map(map) = node.body else {
            let message = format!("found {}, expected a mapping of keys", described(&node));
            self.problems.add(node.place, path, message);
            return None;
        };
        let is_required =
            |key: &&Key| key.default.is_none() && !matches!(key.kind, Kind::Later | Kind::Block(_));
        for key in keys.iter().filter(is_required) {
            if map.get(key.name).is_none_or(|(_, node)| node.is_nothing()) {
                let message = format!("found nothing, expected {}", expected(key.kind));
                self.problems.add(node.place, &join(path, key.name), message);
            }
        }
        Some(Node::new(node.place, self.filled(keys, map, path)))
    }

    /// The keys as written over their defaults.
    fn filled(&mut self, keys: &'static [Key], map: Map, path: &str) -> Body {
        let mut body = schema::defaults(keys).body;
        overlay(&mut body, Body::Map(self.map(keys, map, path)));
        body
    }

    /// Only what says the same as the default is taken.
    fn later(&mut self, node: &Node, default: Option<&Node>, place: Place, path: &str) {
        match (&node.body, default.map(|node| &node.body)) {
            (Body::Nothing, _) => {}
            (Body::Map(map), Some(Body::Map(defaults))) => {
                for (name, (place, node)) in map {
                    let default = defaults.get(name).map(|(_, node)| node);
                    self.later(node, default, *place, &join(path, name));
                }
            }
            (body, Some(default)) if same(body, default) => {}
            (Body::Text { text, .. }, Some(Body::Text { text: default, .. })) => {
                let found = values::shown(text);
                let message =
                    format!("not in this version: found {found}, expected {default:?} or nothing");
                self.problems.add(place, path, message);
            }
            _ => self.problems.add(place, path, "not in this version"),
        }
    }

    /// Whether the value is of its kind; if not, that is reported.
    fn leaf(&mut self, kind: Kind, node: &Node, path: &str) -> bool {
        let n_before = self.problems.len();
        match (kind, &node.body) {
            (Kind::Names { least }, Body::List(list)) if list.len() >= least => {
                self.elements(Kind::Name, list, path);
            }
            (Kind::LabelNames | Kind::Patterns | Kind::Processors, Body::List(list)) => {
                self.elements(kind, list, path);
            }
            (Kind::Choices(_), Body::List(list)) => {
                self.elements(kind, list, path);
                self.each_once(list, path);
            }
            (Kind::Buckets, Body::List(list)) if !list.is_empty() => self.buckets(list, path),
            (Kind::LabelMap, Body::Map(map)) => self.labels(map, path),
            (Kind::Headers, Body::Map(map)) => self.headers(map, path),
            (Kind::Slack, Body::Map(map)) => self.slack(map, path),
            (kind, Body::Text { text, .. }) => {
                if let Some(message) = fault(kind, text) {
                    self.problems.add(node.place, path, message);
                }
            }
            _ => {
                let found = described(node);
                let message = format!("found {found}, expected {}", expected(kind));
                self.problems.add(node.place, path, message);
            }
        }
        self.problems.len() == n_before
    }

    fn elements(&mut self, kind: Kind, list: &[Node], path: &str) {
        for (idx, node) in list.iter().enumerate() {
            let message = match &node.body {
                Body::Text { text, .. } => element_fault(kind, text),
                _ => Some(format!("found {}, expected text", described(node))),
            };
            if let Some(message) = message {
                self.problems.add(node.place, &format!("{path}[{idx}]"), message);
            }
        }
    }

    fn each_once(&mut self, list: &[Node], path: &str) {
        for (idx, node) in list.iter().enumerate() {
            let text = node.as_text();
            let is_twin = |other: &Node| other.as_text().eq_ignore_ascii_case(text);
            if !text.is_empty() && list.iter().take(idx).any(is_twin) {
                let message = format!("found {} a second time, expected it once", described(node));
                self.problems.add(node.place, &format!("{path}[{idx}]"), message);
            }
        }
    }

    fn buckets(&mut self, list: &[Node], path: &str) {
        let mut last = None;
        for (idx, node) in list.iter().enumerate() {
            let found = described(node);
            let message = match (values::finite(node.as_text()), last) {
                (None, _) => format!("found {found}, expected a number"),
                (Some(bound), _) if bound < 0.0 => {
                    format!("found {found}, expected no bound below 0: no latency is")
                }
                (Some(bound), Some(last)) if bound <= last => {
                    format!("found {found} after {last}, expected rising bounds")
                }
                (bound, _) => {
                    last = bound;
                    continue;
                }
            };
            self.problems.add(node.place, &format!("{path}[{idx}]"), message);
        }
    }

    fn labels(&mut self, map: &Map, path: &str) {
        for (name, (place, node)) in map {
            let path = join(path, name);
            if let Some(message) = fault(Kind::Label, name).filter(|_| !name.is_empty()) {
                self.problems.add(*place, &path, message);
            } else if name.is_empty() {
                self.problems.add(*place, &path, "found \"\", expected a label's name");
            }
            if !matches!(node.body, Body::Text { .. } | Body::Nothing) {
                let message = format!("found {}, expected text", described(node));
                self.problems.add(node.place, &path, message);
            }
        }
    }

    fn headers(&mut self, map: &Map, path: &str) {
        for (name, (place, node)) in map {
            let path = join(path, name);
            let lower = name.to_ascii_lowercase();
            let is_twin = |other: &&String| *other != name && other.eq_ignore_ascii_case(name);
            if lower == "authorization" {
                let message = "reserved, expected the key basic_auth or authorization instead";
                self.problems.add(*place, &path, message);
            } else if RESERVED_HEADERS.contains(&lower.as_str()) {
                self.problems.add(
                    *place,
                    &path,
                    "reserved for the protocol, expected another name",
                );
            } else if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                let found = values::shown(name);
                let message = format!("found {found}, expected a header's name");
                self.problems.add(*place, &path, message);
            } else if map.keys().find(is_twin).is_some_and(|twin| twin < name) {
                self.problems.add(*place, &path, "found the header twice, in another case");
            }
            let is_fine = matches!(&node.body, Body::Text { text, .. }
                if http::HeaderValue::from_str(text).is_ok());
            if !is_fine {
                let message = "found another value, expected text that a header can hold";
                self.problems.add(node.place, &path, message);
            }
        }
    }

    fn slack(&mut self, map: &Map, path: &str) {
        for (name, (place, node)) in map {
            let path = join(path, name);
            if !matches!(name.as_str(), "past" | "future") {
                self.problems.add(*place, &path, "unknown key, expected past or future");
            } else if !node.is_nothing() {
                self.leaf(Kind::Duration { least: std::time::Duration::ZERO }, node, &path);
            }
        }
    }
}

/// One duration is meant for both directions.
fn both_sides(node: Node) -> Node {
    if matches!(node.body, Body::Map(_)) {
        return node;
    }
    let place = node.place;
    let sides = ["past", "future"].map(|side| (side.to_owned(), (place, node.clone())));
    Node::new(place, Body::Map(Map::from(sides)))
}

/// What is wrong with a scalar of this kind.
fn fault(kind: Kind, text: &str) -> Option<String> {
    let is_fine = match kind {
        Kind::Text | Kind::Scalar | Kind::Secret => true,
        Kind::Name => !text.is_empty(),
        Kind::Bool => values::boolean(text).is_some(),
        Kind::Count { least } => values::count(text).is_some_and(|count| count >= least),
        Kind::Size { least } => values::size(text).is_some_and(|bytes| bytes >= least),
        Kind::Memory => text == AUTO || values::size(text).is_some_and(|bytes| bytes > 0),
        Kind::CountOrAuto => text == AUTO || values::count(text).is_some(),
        Kind::Duration { least } => values::duration(text).is_some_and(|time| time >= least),
        Kind::Slack => values::duration(text).is_some(),
        Kind::Endpoint => text.is_empty() || values::endpoint(text).is_some(),
        Kind::Label => {
            text.is_empty() || values::is_label_name(text) && !matches!(text, "__name__" | "le")
        }
        Kind::MetricName => values::is_metric_name(text),
        Kind::Choice(choices) => choices.iter().any(|choice| choice.eq_ignore_ascii_case(text)),
        Kind::Url => {
            if values::url(text).is_none() {
                let found = values::shown(&values::masked_url(text));
                return Some(format!("found {found}, expected {}", expected(kind)));
            }
            true
        }
        Kind::Regex => {
            let error = values::relabel_regex(text).err()?;
            return Some(format!("found {}, expected a regex: {error}", values::shown(text)));
        }
        Kind::PolicyKey => {
            let attribute = text.strip_prefix("resource.").or_else(|| text.strip_prefix("span."));
            attribute.is_some_and(|name| !name.is_empty())
                || matches!(text, "kind" | "name" | "status")
        }
        _ => false,
    };
    (!is_fine).then(|| format!("found {}, expected {}", values::shown(text), expected(kind)))
}

fn element_fault(kind: Kind, text: &str) -> Option<String> {
    let found = values::shown(text);
    match kind {
        Kind::Patterns => values::pattern(text).err().map(|error| {
            format!("found {found}, expected a regex that matches some text: {error}")
        }),
        Kind::LabelNames => (!values::is_label_name(text))
            .then(|| format!("found {found}, expected a label's name")),
        Kind::Processors => {
            let names = &schema_processors::NAMES;
            let is_unknown = !names.contains(&text);
            is_unknown.then(|| match nearest(names, text) {
                Some(name) => format!("found {found}, did you mean {name}"),
                None => format!("found {found}, expected one of {}", names.join(", ")),
            })
        }
        Kind::Choices(choices) => fault(Kind::Choice(choices), text),
        kind => fault(kind, text),
    }
}

fn expected(kind: Kind) -> String {
    let text = match kind {
        Kind::Section(_) | Kind::Block(_) => "a mapping of keys",
        Kind::List(_) => "a list of mappings",
        Kind::Bool => "true or false",
        Kind::Count { least } => return format!("a whole number, at least {least}"),
        Kind::Size { least: 0 } => "a size such as 16MiB, or 0",
        Kind::Size { least } => return format!("a size such as 16MiB, at least {least}"),
        Kind::Memory => "a size such as 512MiB, or auto",
        Kind::CountOrAuto => "a whole number, or auto",
        Kind::Duration { least } if !least.is_zero() => {
            return format!("a duration such as 15s or 1m30s, at least {least:?}");
        }
        Kind::Duration { .. } => "a duration such as 15s or 1m30s",
        Kind::Slack => "a duration such as 30s, or { past: 1h, future: 10m }",
        Kind::Endpoint => "host:port, or \"\" for off",
        Kind::Label => "a label's name other than __name__ and le",
        Kind::MetricName => "a metric's name",
        Kind::Choice(choices) => {
            let choices: Vec<&str> = choices.iter().copied().filter(|c| !c.is_empty()).collect();
            return format!("one of {}", choices.join(", "));
        }
        Kind::Url => "http:// or https:// and a host",
        Kind::Regex => "a regex",
        Kind::PolicyKey => "resource.KEY, span.KEY, kind, name or status",
        Kind::Names { least: 0 } | Kind::LabelNames | Kind::Patterns => "a list such as [a, b]",
        Kind::Names { .. } => "a list such as [a, b], not empty",
        Kind::Buckets => "a list of rising numbers, not empty",
        Kind::Processors => "a list such as [span-metrics]",
        Kind::Choices(choices) => return format!("a list such as [{}]", choices.join(", ")),
        Kind::LabelMap => "a mapping of label names to values",
        Kind::Headers => "a mapping of header names to values",
        Kind::Name => "text that is not empty",
        Kind::Text | Kind::Secret | Kind::Scalar | Kind::Later => "text",
    };
    text.to_owned()
}

pub(super) fn described(node: &Node) -> String {
    match &node.body {
        Body::Nothing => "nothing".to_owned(),
        Body::Text { text, .. } => values::shown(text),
        Body::List(list) if list.is_empty() => "an empty list".to_owned(),
        Body::List(_) => "a list".to_owned(),
        Body::Map(_) => "a mapping".to_owned(),
    }
}

/// What to say about a key that is not known: a key of the same block first, then one elsewhere.
fn unknown(keys: &'static [Key], name: &str, path: &str) -> String {
    let parent = path.strip_suffix(name).unwrap_or_default();
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    if let Some(near) = nearest(&names, name) {
        return format!("unknown key, did you mean {parent}{near}");
    }
    let mut paths = Vec::new();
    all_paths(schema::ROOT, "", &mut paths);
    let leaf = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let leaves: Vec<String> = paths.iter().map(|path| leaf(path)).collect();
    let leaves: Vec<&str> = leaves.iter().map(String::as_str).collect();
    let near = nearest(&leaves, name).and_then(|near| leaves.iter().position(|leaf| *leaf == near));
    match near.and_then(|idx| paths.get(idx)) {
        Some(near) => format!("unknown key, did you mean {near}"),
        None => format!("unknown key, expected one of {}", names.join(", ")),
    }
}

fn all_paths(keys: &'static [Key], parent: &str, paths: &mut Vec<String>) {
    for key in keys {
        let path = join(parent, key.name);
        let below =
            if matches!(key.kind, Kind::List(_)) { format!("{path}[]") } else { path.clone() };
        paths.push(path);
        all_paths(key.kind.keys(), &below, paths);
    }
}

/// The name that needs the fewest changes, if these are few: a third of its letters.
pub(super) fn nearest<'a>(names: &[&'a str], name: &str) -> Option<&'a str> {
    let folded = name.to_lowercase().replace('-', "_");
    let distance = |other: &str| strsim::osa_distance(&other.replace('-', "_"), &folded);
    let near = names.iter().map(|other| (distance(other), *other)).min_by_key(|(n, _)| *n)?;
    (near.0 <= name.chars().count().max(3) / 3).then_some(near.1)
}

/// Lays values over others, key by key; a list replaces a list.
pub(super) fn overlay(base: &mut Body, top: Body) {
    match (base, top) {
        (Body::Map(base), Body::Map(top)) => {
            for (key, (place, node)) in top {
                let (base_place, base) = base.entry(key).or_default();
                *base_place = place;
                base.place = node.place;
                overlay(&mut base.body, node.body);
            }
        }
        (base, top) => *base = top,
    }
}

/// Whether two values say the same: `0s` and `0`, `1.0` and `1`.
fn same(left: &Body, right: &Body) -> bool {
    match (left, right) {
        (Body::Text { text: left, .. }, Body::Text { text: right, .. }) => {
            let times = || values::duration(left).zip(values::duration(right));
            let numbers = || values::finite(left).zip(values::finite(right));
            left == right
                || times().is_some_and(|(left, right)| left == right)
                || numbers().is_some_and(|(left, right)| left.total_cmp(&right).is_eq())
        }
        (Body::List(left), Body::List(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(&left.body, &right.body))
        }
        (left, right) => left == right,
    }
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
