//! `write_relabel_configs`: what Prometheus does to the labels of a series before it is sent.

use md5::{Digest, Md5};
use regex::{Captures, Regex};
use regex_syntax::ast;

/// One step, with Prometheus' defaults filled in.
#[derive(Debug, Clone)]
pub struct RelabelConfig {
    pub source_labels: Vec<String>,
    pub separator: String,
    /// Anchored at both ends; made by [`compile_regex`].
    pub regex: Regex,
    pub modulus: u64,
    pub target_label: String,
    pub replacement: String,
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

impl Action {
    pub const ALL: [Self; 11] = [
        Self::Replace,
        Self::Keep,
        Self::Drop,
        Self::KeepEqual,
        Self::DropEqual,
        Self::HashMod,
        Self::LabelMap,
        Self::LabelDrop,
        Self::LabelKeep,
        Self::Lowercase,
        Self::Uppercase,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Replace => "replace",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::KeepEqual => "keepequal",
            Self::DropEqual => "dropequal",
            Self::HashMod => "hashmod",
            Self::LabelMap => "labelmap",
            Self::LabelDrop => "labeldrop",
            Self::LabelKeep => "labelkeep",
            Self::Lowercase => "lowercase",
            Self::Uppercase => "uppercase",
        }
    }

    /// In upper or lower case, as in Prometheus.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name().eq_ignore_ascii_case(name))
    }

    /// Whether a step without `target_label` would say nothing.
    pub fn needs_target(self) -> bool {
        use Action::{DropEqual, HashMod, KeepEqual, Lowercase, Replace, Uppercase};
        matches!(self, Replace | HashMod | KeepEqual | DropEqual | Lowercase | Uppercase)
    }
}

const SEPARATOR: &str = ";";
const REPLACEMENT: &str = "$1";

impl RelabelConfig {
    /// Prometheus' defaults: separator `;`, regex `(.*)`, replacement `$1`.
    pub fn new(action: Action) -> Self {
        Self {
            source_labels: Vec::new(),
            separator: SEPARATOR.to_owned(),
            regex: compile_regex("(.*)").expect("the default pattern is valid"),
            modulus: 0,
            target_label: String::new(),
            replacement: REPLACEMENT.to_owned(),
            action,
        }
    }
}

/// A pattern as Prometheus reads it (Go's regexp): the whole text must match, `.` matches line ends too,
/// `\d`, `\s`, `\w` and `\b` mean ASCII where this crate's mean Unicode, and `\<` is no boundary.
/// What Go knows and this crate does not (`\Q..\E`, octal numbers) is an error.
pub fn compile_regex(pattern: &str) -> Result<Regex, regex::Error> {
    // Compiled by itself first, so that `)(` is not made whole by the group around it and so that
    // errors show what was written.
    Regex::new(pattern)?;
    Regex::new(&format!("^(?s:{})$", as_in_go(pattern)?))
}

/// Applies the steps in order; false if the series is dropped, or has no labels left.
///
/// Comes and goes with labels sorted by name, without empty values.
pub fn apply(configs: &[RelabelConfig], labels: &mut Vec<(String, String)>) -> bool {
    let mut set = LabelSet { n_untouched: labels.len(), labels };
    let kept = configs.iter().all(|config| step(config, &mut set));
    labels.sort_unstable();
    kept && !labels.is_empty()
}

fn step(config: &RelabelConfig, labels: &mut LabelSet<'_>) -> bool {
    let value = || {
        let values: Vec<&str> = config.source_labels.iter().map(|name| labels.get(name)).collect();
        values.join(&config.separator)
    };
    let target = &config.target_label;
    match config.action {
        Action::Keep => return config.regex.is_match(&value()),
        Action::Drop => return !config.regex.is_match(&value()),
        Action::KeepEqual => return labels.get(target) == value(),
        Action::DropEqual => return labels.get(target) != value(),
        Action::Replace => {
            let value = value();
            replace(config, &value, labels);
        }
        Action::HashMod => {
            let value = hash_mod(&value(), config.modulus);
            labels.set(target, value);
        }
        Action::Lowercase => {
            let value = value().chars().map(lower).collect();
            labels.set(target, value);
        }
        Action::Uppercase => {
            let value = value().chars().map(upper).collect();
            labels.set(target, value);
        }
        Action::LabelMap => label_map(config, labels),
        Action::LabelDrop => labels.retain(|name| !config.regex.is_match(name)),
        Action::LabelKeep => labels.retain(|name| config.regex.is_match(name)),
    }
    true
}

fn replace(config: &RelabelConfig, value: &str, labels: &mut LabelSet<'_>) {
    let Some(captures) = config.regex.captures(value) else { return };
    let expand = |template| fill(template, |name| group(&captures, name));
    let target = expand(&config.target_label);
    if is_label_name(&target) {
        labels.set(&target, expand(&config.replacement));
    }
}

/// Names are copied, not moved: a `labeldrop` usually follows. What a copy adds is not mapped again.
fn label_map(config: &RelabelConfig, labels: &mut LabelSet<'_>) {
    let copies: Vec<(String, String)> = labels
        .labels
        .iter()
        .filter_map(|(name, value)| {
            let captures = config.regex.captures(name)?;
            let name = fill(&config.replacement, |name| group(&captures, name));
            Some((name, value.clone()))
        })
        .collect();
    for (name, value) in copies {
        labels.set(&name, value);
    }
}

fn hash_mod(value: &str, modulus: u64) -> String {
    let hash: [u8; 16] = Md5::digest(value).into();
    let [.., a, b, c, d, e, f, g, h] = hash;
    // A modulus of 0 is refused by `check`.
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]) % modulus.max(1)).to_string()
}

/// Labels in the order in which a `labelmap` comes by them: those that no step has set, by name, then
/// the others in the order in which they were set first. It decides which of two copies to the same
/// name stays.
struct LabelSet<'a> {
    labels: &'a mut Vec<(String, String)>,
    n_untouched: usize,
}

impl LabelSet<'_> {
    fn position(&self, name: &str) -> Option<usize> {
        self.labels.iter().position(|label| label.0 == name)
    }

    /// Empty if there is none.
    fn get(&self, name: &str) -> &str {
        self.position(name).map_or("", |idx| &self.labels[idx].1)
    }

    /// An empty value removes the label.
    fn set(&mut self, name: &str, value: String) {
        match self.position(name) {
            Some(idx) if idx >= self.n_untouched && !value.is_empty() => {
                self.labels[idx].1 = value;
                return;
            }
            Some(idx) => self.remove(idx),
            None => {}
        }
        if !value.is_empty() && !name.is_empty() {
            self.labels.push((name.to_owned(), value));
        }
    }

    fn remove(&mut self, idx: usize) {
        self.labels.remove(idx);
        if idx < self.n_untouched {
            self.n_untouched -= 1;
        }
    }

    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        for idx in (0..self.labels.len()).rev() {
            if !keep(&self.labels[idx].0) {
                self.remove(idx);
            }
        }
    }
}

/// Fills in a template as Go's `Regexp.Expand` does: `$1`, `${1}`, `$name`, `${name}`, `$$`. A `$` that
/// starts none of these stays.
fn fill<'a>(template: &str, group: impl Fn(&str) -> &'a str) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = reference(after) {
            out.push_str(group(name));
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// The name at the start of what follows a `$`, as long as it goes, and what comes after it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{');
    let from = inner.unwrap_or(text);
    let end = from.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(from.len());
    let (name, after) = from.split_at(end);
    let after = if inner.is_some() { after.strip_prefix('}')? } else { after };
    (!name.is_empty()).then_some((name, after))
}

/// Empty if there is no such group, or it took no part in the match.
fn group<'a>(captures: &'a Captures<'_>, name: &str) -> &'a str {
    let is_number =
        name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    let found = match name.parse() {
        Ok(number) if is_number => captures.get(number),
        _ => captures.name(name),
    };
    found.map_or("", |found| found.as_str())
}

fn is_label_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// One character for one, as in Go; `to_lowercase` may give several.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// Characters whose upper case is several letters (sharp s) have none in Go.
fn upper(c: char) -> char {
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => c,
    }
}

/// The pattern with all that Go reads otherwise spelt out.
fn as_in_go(pattern: &str) -> Result<String, regex::Error> {
    let mut out = pattern.to_owned();
    let parsed = ast::parse::Parser::new().parse(pattern);
    let parsed = parsed.map_err(|e| regex::Error::Syntax(e.to_string()))?;
    for (span, text) in ast::visit(&parsed, Spelling(Vec::new()))?.into_iter().rev() {
        out.replace_range(span.start.offset..span.end.offset, text);
    }
    Ok(out)
}

/// Where to write what instead, in the order of the pattern.
struct Spelling(Vec<(ast::Span, &'static str)>);

impl Spelling {
    fn class(&mut self, class: &ast::ClassPerl) {
        let text = match (&class.kind, class.negated) {
            (ast::ClassPerlKind::Digit, false) => "[0-9]",
            (ast::ClassPerlKind::Digit, true) => "[^0-9]",
            (ast::ClassPerlKind::Space, false) => r"[\t\n\f\r ]",
            (ast::ClassPerlKind::Space, true) => r"[^\t\n\f\r ]",
            (ast::ClassPerlKind::Word, false) => "[0-9A-Za-z_]",
            (ast::ClassPerlKind::Word, true) => "[^0-9A-Za-z_]",
        };
        self.0.push((class.span, text));
    }
}

impl ast::Visitor for Spelling {
    type Output = Vec<(ast::Span, &'static str)>;
    type Err = regex::Error;

    fn finish(self) -> Result<Self::Output, Self::Err> {
        Ok(self.0)
    }

    fn visit_pre(&mut self, ast: &ast::Ast) -> Result<(), Self::Err> {
        match ast {
            ast::Ast::ClassPerl(class) => self.class(class),
            ast::Ast::Assertion(at) => match at.kind {
                ast::AssertionKind::WordBoundary => self.0.push((at.span, r"(?-u:\b)")),
                ast::AssertionKind::WordBoundaryStartAngle => self.0.push((at.span, "<")),
                ast::AssertionKind::WordBoundaryEndAngle => self.0.push((at.span, ">")),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), Self::Err> {
        match item {
            ast::ClassSetItem::Perl(class) => self.class(class),
            ast::ClassSetItem::Bracketed(_) => return Err(other_meaning("[")),
            _ => {}
        }
        Ok(())
    }

    fn visit_class_set_binary_op_pre(
        &mut self,
        _: &ast::ClassSetBinaryOp,
    ) -> Result<(), Self::Err> {
        Err(other_meaning("&&, -- or ~~"))
    }
}

/// Go takes these characters as they are, this crate as operations on sets.
fn other_meaning(found: &str) -> regex::Error {
    regex::Error::Syntax(format!("{found} inside [..] is ambiguous, put a \\ before the character"))
}

#[cfg(test)]
#[path = "relabel_tests.rs"]
mod tests;
