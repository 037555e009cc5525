//! Templates of span names: ids inside of a name become `<_>`, by the user's patterns and by rules.
//!
//! A template depends on the name and the settings alone, so that every replica has the same, before
//! and after a restart, and a series never changes its name while it lives.

use std::ops::Range;

use regex::Regex;

use super::name_rules::{self, MARK, Template};
use super::plan::max_bytes;
use super::settings::{Sanitization, SettingsError, SpanNames};

/// Of one pattern in one name; what follows is one id. Each match may cost a look over the whole rest.
const MATCHES_MAX: usize = 64;
/// A name that is not settled by then has only itself to blame: it is one id.
const PASSES_MAX: usize = 8;

/// The settings, compiled.
#[derive(Debug)]
pub(super) struct NameTemplates {
    mode: Sanitization,
    patterns: Vec<Regex>,
    /// Bytes.
    max: usize,
}

impl NameTemplates {
    /// `max_label_value_length` bounds names and templates.
    pub(super) fn new(
        settings: &SpanNames,
        max_label_value_length: usize,
    ) -> Result<Self, Vec<SettingsError>> {
        let mut patterns = Vec::new();
        let mut errors = Vec::new();
        for (i, pattern) in settings.patterns.iter().enumerate() {
            match Regex::new(pattern) {
                Ok(pattern) => patterns.push(pattern),
                Err(e) => errors.push(SettingsError {
                    key: format!("registry.span_name_patterns[{i}]"),
                    message: e.to_string(),
                }),
            }
        }
        let (mode, max) = (settings.sanitization, max_bytes(max_label_value_length));
        if errors.is_empty() { Ok(Self { mode, patterns, max }) } else { Err(errors) }
    }

    pub(super) fn mode(&self) -> Sanitization {
        self.mode
    }

    /// The template of a label's value, which is valid and cut; `None` where it is the value itself.
    ///
    /// The template of a template is itself: what the rules make is looked at until it stays.
    pub(super) fn template(&self, value: &str) -> Option<String> {
        if self.mode == Sanitization::Off || self.max < MARK.len() {
            return None;
        }
        let mut template = self.pass(value)?;
        for _ in 0..PASSES_MAX {
            match self.pass(&template) {
                None => return Some(template),
                Some(next) => template = next,
            }
        }
        Some(MARK.to_owned())
    }

    /// `None` where nothing changes.
    fn pass(&self, value: &str) -> Option<String> {
        let mut found: Option<String> = None;
        for pattern in &self.patterns {
            let value = found.as_deref().unwrap_or(value);
            if let Some(marked) = matched(pattern, value) {
                found = Some(marked);
            }
        }
        let name = found.as_deref().unwrap_or(value);
        if name_rules::may_have_ids(name) {
            let mut template = Template::default();
            name_rules::apply(name, &mut template);
            found = Some(template.text);
        }
        let mut template = found.filter(|template| template != value)?;
        template.truncate(cut(&template, self.max));
        (template != value).then_some(template)
    }
}

/// Where to cut: on a character boundary, and not within a mark.
fn cut(template: &str, max: usize) -> usize {
    let end = template.floor_char_boundary(max);
    let in_mark = |start: &usize| template[*start..].starts_with(MARK);
    let starts = (end.saturating_sub(MARK.len() - 1)..end)
        .filter(|&start| end < template.len() && template.is_char_boundary(start));
    starts.into_iter().find(in_mark).unwrap_or(end)
}

/// The text with what the pattern matches marked; `None` where it matches nothing.
fn matched(pattern: &Regex, text: &str) -> Option<String> {
    let mut ids = ids(pattern, text);
    let marks: Vec<usize> = text.match_indices(MARK).map(|(at, _)| at).collect();
    ids.iter_mut().for_each(|id| spare_marks(id, &marks));
    ids.retain(|id| !id.is_empty());
    if ids.is_empty() {
        return None;
    }
    // groups may stand within each other
    ids.sort_by_key(|id| (id.start, id.end));
    let mut template = Template::default();
    let mut at = 0;
    for id in ids {
        if id.start >= at {
            template.keep(&text[at..id.start]);
            template.mark();
        }
        at = at.max(id.end);
    }
    template.keep(&text[at..]);
    Some(template.text)
}

/// The groups of each match, or without any the match.
fn ids(pattern: &Regex, text: &str) -> Vec<Range<usize>> {
    let mut ids = Vec::new();
    let mut groups = pattern.capture_locations();
    let mut at = 0;
    for n in 0.. {
        let Some(found) = pattern.captures_read_at(&mut groups, text, at) else { break };
        if n == MATCHES_MAX {
            ids.push(found.start()..text.len());
            break;
        }
        let own = if groups.len() > 1 { 1 } else { 0 };
        let places = (own..groups.len()).filter_map(|i| groups.get(i));
        ids.extend(places.map(|(start, end)| start..end));
        // a pattern matches something, the configuration saw to that
        at = found.end().max(text.ceil_char_boundary(at + 1));
        if at > text.len() {
            break;
        }
    }
    ids
}

/// A mark is no text: what begins or ends within one begins behind it or ends before it.
fn spare_marks(id: &mut Range<usize>, marks: &[usize]) {
    let holds = |at: usize| {
        let mark = marks[..marks.partition_point(|&mark| mark < at)].last().copied();
        mark.filter(|mark| at < mark + MARK.len())
    };
    if let Some(mark) = holds(id.start) {
        id.start = mark + MARK.len();
    }
    if let Some(mark) = holds(id.end) {
        id.end = mark;
    }
}

#[cfg(test)]
#[path = "span_names_tests.rs"]
mod tests;
