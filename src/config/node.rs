//! A configuration value that knows its place and keeps its text as written.
//!
//! Between the layers a node travels as a `config::Value`, whose `origin` carries the place. Tables
//! lose theirs when `config` merges them, and it reads top-level keys as path expressions (`a[9]`
//! makes a list): therefore keys are checked in each layer, before it merges them.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

use super::problem::Place;

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Node {
    pub place: Place,
    pub body: Body,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Body {
    /// A key without a value: as if it were not written.
    #[default]
    Nothing,
    /// A scalar as written; `plain` unless it was quoted.
    Text {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Map),
}

/// Sorted by key; the place is the key's.
pub(crate) type Map = BTreeMap<String, (Place, Node)>;

impl Node {
    pub(crate) fn new(place: Place, body: Body) -> Self {
        Self { place, body }
    }

    pub(crate) fn text(place: Place, text: &str) -> Self {
        Self::new(place, Body::Text { text: text.to_owned(), plain: false })
    }

    /// The node at a path of keys, e.g. `registry.instance`; nothing where there is none.
    pub(crate) fn at(&self, path: &str) -> &Self {
        const NOWHERE: &Node =
            &Node { place: Place { origin: 0, line: 0, column: 0 }, body: Body::Nothing };
        path.split('.').fold(self, |node, key| match &node.body {
            Body::Map(map) => map.get(key).map_or(NOWHERE, |(_, node)| node),
            _ => NOWHERE,
        })
    }

    pub(crate) fn as_text(&self) -> &str {
        match &self.body {
            Body::Text { text, .. } => text,
            _ => "",
        }
    }

    pub(crate) fn list(&self) -> &[Self] {
        match &self.body {
            Body::List(list) => list,
            _ => &[],
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &Self)> {
        let map = match &self.body {
            Body::Map(map) => Some(map),
            _ => None,
        };
        map.into_iter().flatten().map(|(key, (_, node))| (key, node))
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.body == Body::Nothing
    }

    /// Nodes in it, itself included.
    pub(crate) fn len(&self) -> usize {
        1 + match &self.body {
            Body::Nothing | Body::Text { .. } => 0,
            Body::List(list) => list.iter().map(Self::len).sum(),
            Body::Map(map) => map.values().map(|(_, node)| node.len()).sum(),
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let Place { origin, line, column } = self.place;
        let plain = matches!(self.body, Body::Text { plain: true, .. });
        let kind = match &self.body {
            Body::Nothing => ValueKind::Nil,
            Body::Text { text, .. } => ValueKind::String(text.clone()),
            Body::List(list) => ValueKind::Array(list.iter().map(Self::to_value).collect()),
            Body::Map(map) => ValueKind::Table(
                map.iter()
                    .filter(|(_, (_, node))| !node.is_nothing())
                    .map(|(key, (_, node))| (key.clone(), node.to_value()))
                    .collect(),
            ),
        };
        Value::new(Some(&format!("{origin}:{line}:{column}:{plain}")), kind)
    }

    pub(crate) fn from_value(value: Value) -> Self {
        let mut origin = value.origin().unwrap_or_default().split(':');
        let mut number = || origin.next().and_then(|text| text.parse().ok()).unwrap_or_default();
        let place = Place { origin: number() as usize, line: number(), column: number() };
        let plain = origin.next() == Some("true");
        let body = match value.kind {
            ValueKind::Nil => Body::Nothing,
            ValueKind::Array(list) => Body::List(list.into_iter().map(Self::from_value).collect()),
            ValueKind::Table(map) => Body::Map(
                map.into_iter()
                    .map(|(key, value)| (key, (Place::default(), Self::from_value(value))))
                    .collect(),
            ),
            scalar => Body::Text { text: scalar.to_string(), plain },
        };
        Self { place, body }
    }
}
