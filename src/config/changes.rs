//! What differs between two configurations, and what of it has to wait for the next start.

use std::fmt;

use super::node::{Body, Node};
use super::overrides::SHARED;
use super::schema::{self, Key, Kind};

/// What a reload has done, by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// In force now.
    pub applied: Vec<String>,
    /// Left as it was.
    pub at_next_start: Vec<String>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.applied.is_empty() {
            true => f.write_str("reloaded: nothing has changed")?,
            false => write!(f, "reloaded: {}", self.applied.join(", "))?,
        }
        if !self.at_next_start.is_empty() {
            write!(f, "\ntakes effect at the next start: {}", self.at_next_start.join(", "))?;
        }
        Ok(())
    }
}

/// Built once, before the first socket is bound.
const FIXED: [&str; 5] = ["receivers", "remote_write", "storage", "admin", "multitenancy"];

/// Compares two trees key by key; in the new one, what is fixed is put back as it was.
pub(super) fn pin(old: &Node, new: &mut Node, changes: &mut Changes) {
    pin_keys(schema::ROOT, old, new, "", changes);
}

fn pin_keys(keys: &[Key], old: &Node, new: &mut Node, path: &str, changes: &mut Changes) {
    let Body::Map(map) = &mut new.body else { return };
    for key in keys.iter().filter(|key| !matches!(key.kind, Kind::Later)) {
        let path = super::check::join(path, key.name);
        let Some((_, new)) = map.get_mut(key.name) else { continue };
        let old = old.at(key.name);
        if let Kind::Section(keys) = key.kind {
            pin_keys(keys, old, new, &path, changes);
        } else if !is_same(&old.body, &new.body) {
            if is_fixed(&path) {
                *new = old.clone();
                changes.at_next_start.push(path);
            } else {
                changes.applied.push(path);
            }
        }
    }
}

fn is_fixed(path: &str) -> bool {
    let section = path.split('.').next().unwrap_or_default();
    FIXED.contains(&section) || SHARED.contains(&path)
}

/// Whether two values are written alike, wherever they stand.
fn is_same(left: &Body, right: &Body) -> bool {
    match (left, right) {
        (Body::List(left), Body::List(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| is_same(&left.body, &right.body))
        }
        (Body::Map(left), Body::Map(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|((left_key, left), (right_key, right))| {
                    left_key == right_key && is_same(&left.1.body, &right.1.body)
                })
        }
        (left, right) => left == right,
    }
}
