//! YAML text -> [`Node`]: every value with its line and column, scalars as written.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, StrInput};

use super::node::{Body, Map, Node};
use super::problem::{Place, Problems};

/// Values that one text may make, aliases multiplied out: a bound against alias bombs.
const MAX_NODES: usize = 100_000;
const MAX_DEPTH: usize = 32;

/// The one document in `text`. Duplicate keys are reported and the first one holds; after an error
/// of syntax there is no node.
pub(crate) fn parse(text: &str, origin: usize, problems: &mut Problems) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The parser takes it for the end, as a file that was torn would have it.
    if let Some(at) = text.find('\0') {
        let (before, _) = text.split_at(at);
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let line = number(before.split('\n').count());
        let place = Place { origin, line, column: number(column) };
        problems.add(place, "", "found a byte 0, expected text: the file may be torn");
        return None;
    }
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        n_nodes: 0,
        origin,
        problems,
    };
    match reader.document() {
        Ok(node) => Some(node),
        Err(Stop { place, message }) => {
            problems.add(place, "", message);
            None
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    n_nodes: usize,
    origin: usize,
    problems: &'a mut Problems,
}

/// An error after which the text can't be read on.
struct Stop {
    place: Place,
    message: String,
}

impl<'a> Reader<'a> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, place) => {
                    return Ok(root.unwrap_or_else(|| Node::new(place, Body::Nothing)));
                }
                (Event::DocumentStart(_), place) if root.is_some() => {
                    return Err(stop(place, "found a second document, expected one"));
                }
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
                (event, place) => root = Some(self.node(event, place, 0)?),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Place), Stop> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.place(&span.start))),
            Some(Err(error)) => {
                Err(stop(self.place(error.marker()), format!("not YAML: {}", error.info())))
            }
            None => Err(stop(Place { origin: self.origin, line: 1, column: 1 }, "not YAML")),
        }
    }

    fn place(&self, marker: &Marker) -> Place {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        // the parser's columns start at 0
        Place {
            origin: self.origin,
            line: number(marker.line()).max(1),
            column: number(marker.col().saturating_add(1)),
        }
    }

    fn node(&mut self, event: Event<'a>, place: Place, depth: usize) -> Result<Node, Stop> {
        if depth > MAX_DEPTH {
            return Err(stop(place, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.charge(1, place)?;
        let (anchor, body) = match event {
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(stop(place, "found an alias inside its own anchor"));
                };
                self.charge(node.len(), place)?;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let nothing = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let body = if nothing {
                    Body::Nothing
                } else {
                    Body::Text { text: text.into_owned(), plain }
                };
                (anchor, body)
            }
            Event::SequenceStart(anchor, _) => (anchor, Body::List(self.list(depth)?)),
            Event::MappingStart(anchor, _) => (anchor, Body::Map(self.map(depth)?)),
            _ => return Err(stop(place, "not YAML: expected a value")),
        };
        let node = Node { place, body };
        if anchor > 0 {
            self.charge(node.len(), place)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Stop> {
        let mut list = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(list),
                (event, place) => list.push(self.node(event, place, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Map, Stop> {
        let mut map = Map::new();
        loop {
            let key_place = match self.next()? {
                (Event::MappingEnd, _) => return Ok(map),
                (event, place) => (self.node(event, place, depth + 1)?, place),
            };
            let (key, place) = key_place;
            let Body::Text { text: key, .. } = key.body else {
                return Err(stop(place, "found a key that is not text"));
            };
            let (event, value_place) = self.next()?;
            let node = self.node(event, value_place, depth + 1)?;
            match map.get(&key) {
                Some((first, _)) => {
                    let Place { line, column, .. } = first;
                    let message = format!("found the key twice, first at {line}:{column}");
                    self.problems.add(place, &key, message);
                }
                None => {
                    map.insert(key, (place, node));
                }
            }
        }
    }

    fn charge(&mut self, n_nodes: usize, place: Place) -> Result<(), Stop> {
        self.n_nodes = self.n_nodes.saturating_add(n_nodes);
        if self.n_nodes > MAX_NODES {
            return Err(stop(place, format!("more than {MAX_NODES} values, aliases included")));
        }
        Ok(())
    }
}

fn stop(place: Place, message: impl Into<String>) -> Stop {
    Stop { place, message: message.into() }
}
