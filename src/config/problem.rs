//! What is wrong with a configuration, and where: one plain line a problem.

use std::fmt;
use std::path::PathBuf;

/// A position in one of the layers; orders by layer, then line and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    /// The number that [`Problems::origin`] gave; 0 = the defaults.
    pub origin: usize,
    pub line: u32,
    pub column: u32,
}

/// Where a layer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    File(PathBuf),
    /// `environment SPANMILL__A__B`, `--set a.b`: one value, so that line and column say nothing.
    Named(String),
}

/// One problem as it is shown: `FILE:LINE:COLUMN: KEY: what was found, what was expected`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {message}")]
pub struct Problem {
    /// `FILE:LINE:COLUMN`, `environment NAME` or `--set KEY`.
    pub origin: String,
    /// Key and what is wrong with it.
    pub message: String,
}

/// All problems of all layers, in the order of the text.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    origins: Vec<Origin>,
    /// In front of each key, e.g. `tenants.NAME.`.
    prefix: String,
    found: Vec<(Place, String)>,
}

impl Problems {
    /// The origin's number, for places.
    pub(crate) fn origin(&mut self, origin: Origin) -> usize {
        self.origins.push(origin);
        self.origins.len()
    }

    pub(crate) fn add(&mut self, place: Place, key: &str, message: impl fmt::Display) {
        let Self { prefix, .. } = self;
        let line =
            if key.is_empty() { message.to_string() } else { format!("{prefix}{key}: {message}") };
        self.found.push((place, line));
    }

    /// Runs checks whose keys stand below `prefix`.
    pub(crate) fn below<T>(&mut self, prefix: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.prefix, prefix.to_owned());
        let checked = check(self);
        self.prefix = before;
        checked
    }

    pub(crate) fn origin_of(&self, place: Place) -> Option<&Origin> {
        self.origins.get(place.origin.checked_sub(1)?)
    }

    pub(crate) fn len(&self) -> usize {
        self.found.len()
    }

    pub(crate) fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.found.is_empty() {
            return Ok(value);
        }
        self.found.sort();
        self.found.dedup();
        Err(self)
    }

    pub fn iter(&self) -> impl Iterator<Item = Problem> + '_ {
        self.found.iter().map(|(place, message)| Problem {
            origin: match self.origin_of(*place) {
                Some(Origin::File(path)) if place.line == 0 => path.display().to_string(),
                Some(Origin::File(path)) => {
                    format!("{}:{}:{}", path.display(), place.line, place.column)
                }
                Some(Origin::Named(name)) => name.clone(),
                None => "defaults".to_owned(),
            },
            message: message.clone(),
        })
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (idx, problem) in self.iter().enumerate() {
            if idx > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
