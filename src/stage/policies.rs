//! Filter policies: which spans a processor looks at (reference/tempo.md 1.8).

use regex::bytes::Regex;

use super::names::{kind_name, status_name};
use super::plan::Keys;
use super::settings::{FilterPolicy, MatchType, PolicyMatch, PolicyValue, SettingsError};
use crate::otlp::{AnyValue, DecodeError, Span};

/// All policies of a processor, pooled by type: which list entry they came from has no meaning.
#[derive(Debug, Default)]
pub(super) struct Policies {
    exclude: Vec<Vec<Condition>>,
    include_any: Vec<Vec<Condition>>,
    include: Vec<Vec<Condition>>,
}

#[derive(Debug)]
struct Condition {
    subject: Subject,
    test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Kind,
    Status,
    Name,
    /// Index into the keys.
    Resource(usize),
    Span(usize),
    /// Index into the patterns of the keys.
    Pattern(usize),
}

#[derive(Debug)]
enum Test {
    Equals(PolicyValue),
    Matches(Regex),
}

/// A condition on the value that resources have for a key, which holds for all their spans alike.
#[derive(Debug)]
pub(super) struct Pattern {
    /// Index into the keys.
    pub(super) key: usize,
    regex: Regex,
}

impl Pattern {
    /// A value of another type compares as an empty text.
    pub(super) fn matches(&self, value: &AnyValue<'_>) -> bool {
        matches(&self.regex, value)
    }
}

fn matches(regex: &Regex, value: &AnyValue<'_>) -> bool {
    regex.is_match(if let AnyValue::String(text) = value { text } else { b"" })
}

/// How conditions get at attributes: the encoded value of the first attribute with that key.
pub(super) trait Attributes {
    fn of_resource(&self, key: usize) -> Result<Option<AnyValue<'_>>, DecodeError>;
    fn of_span(&self, key: usize) -> Result<Option<AnyValue<'_>>, DecodeError>;
    /// Whether the value of the resource matches; false where it has none.
    fn matches(&self, pattern: usize) -> Result<bool, DecodeError>;
}

impl Policies {
    /// `section`: the processor's settings, as errors name them.
    pub(super) fn new(
        section: &str,
        settings: &[FilterPolicy],
        keys: &mut Keys,
    ) -> Result<Self, Vec<SettingsError>> {
        let mut policies = Self::default();
        let mut errors = Vec::new();
        for (i, policy) in settings.iter().enumerate() {
            let Self { exclude, include_any, include } = &mut policies;
            for (name, rules, pool) in [
                ("exclude", &policy.exclude, exclude),
                ("include_any", &policy.include_any, include_any),
                ("include", &policy.include, include),
            ] {
                let Some(rules) = rules else { continue };
                match conditions(rules, keys) {
                    Ok(conditions) => pool.push(conditions),
                    Err(message) => errors.push(SettingsError {
                        key: format!("{section}.filter_policies[{i}].{name}"),
                        message,
                    }),
                }
            }
        }
        if errors.is_empty() { Ok(policies) } else { Err(errors) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exclude.is_empty() && self.include_any.is_empty() && self.include.is_empty()
    }

    /// Whether the span stays.
    pub(super) fn keep(
        &self,
        span: &Span<'_>,
        attributes: &impl Attributes,
    ) -> Result<bool, DecodeError> {
        let all = |conditions: &Vec<Condition>| -> Result<bool, DecodeError> {
            for condition in conditions {
                if !condition.holds(span, attributes)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        for conditions in &self.exclude {
            if all(conditions)? {
                return Ok(false);
            }
        }
        for conditions in &self.include_any {
            if all(conditions)? {
                return Ok(true);
            }
        }
        for conditions in &self.include {
            if !all(conditions)? {
                return Ok(false);
            }
        }
        Ok(!self.include.is_empty() || self.include_any.is_empty())
    }
}

fn conditions(rules: &PolicyMatch, keys: &mut Keys) -> Result<Vec<Condition>, String> {
    let mut conditions = Vec::new();
    for attribute in &rules.attributes {
        let subject = match attribute.key.as_str() {
            "kind" => Subject::Kind,
            "status" => Subject::Status,
            "name" => Subject::Name,
            key => match (key.strip_prefix("resource."), key.strip_prefix("span.")) {
                (Some(key), _) => Subject::Resource(keys.index_of(key)),
                (_, Some(key)) => Subject::Span(keys.index_of(key)),
                _ => return Err(unknown_subject(key)),
            },
        };
        let test = match (rules.match_type, &attribute.value) {
            (MatchType::Strict, value) => Test::Equals(value.clone()),
            (MatchType::Regex, PolicyValue::Text(pattern)) => {
                Test::Matches(Regex::new(pattern).map_err(|e| e.to_string())?)
            }
            (MatchType::Regex, other) => {
                return Err(format!("value {other:?} of a regex policy, expected a text"));
            }
        };
        let (subject, test) = match (subject, test) {
            (Subject::Resource(key), Test::Matches(regex)) => {
                let pattern = keys.index_of_pattern(Pattern { key, regex: regex.clone() });
                (Subject::Pattern(pattern), Test::Matches(regex))
            }
            other => other,
        };
        conditions.push(Condition { subject, test });
    }
    Ok(conditions)
}

fn unknown_subject(key: &str) -> String {
    format!("key `{key}`, expected `resource.KEY`, `span.KEY`, `kind`, `name` or `status`")
}

impl Condition {
    fn holds(&self, span: &Span<'_>, attributes: &impl Attributes) -> Result<bool, DecodeError> {
        let value = match self.subject {
            Subject::Kind => return Ok(self.test.holds_for_enum(kind_name(span.kind))),
            Subject::Status => return Ok(self.test.holds_for_enum(status_name(span.status_code))),
            Subject::Name => Some(AnyValue::String(span.name.into())),
            Subject::Resource(key) => attributes.of_resource(key)?,
            Subject::Span(key) => attributes.of_span(key)?,
            Subject::Pattern(pattern) => return attributes.matches(pattern),
        };
        Ok(value.is_some_and(|value| self.test.holds(&value)))
    }
}

impl Test {
    fn holds_for_enum(&self, name: Option<&'static str>) -> bool {
        name.is_some_and(|name| self.holds(&AnyValue::String(name.as_bytes().into())))
    }

    /// A value of another type than the policy's compares as that type's zero, as in Tempo.
    fn holds(&self, value: &AnyValue<'_>) -> bool {
        let text: &[u8] = if let AnyValue::String(text) = value { text } else { b"" };
        match self {
            Self::Matches(regex) => matches(regex, value),
            Self::Equals(PolicyValue::Text(expected)) => text == expected.as_bytes(),
            Self::Equals(PolicyValue::Int(expected)) => {
                *expected == if let AnyValue::Int(n) = value { *n } else { 0 }
            }
            Self::Equals(PolicyValue::Bool(expected)) => {
                *expected == matches!(value, AnyValue::Bool(true))
            }
            Self::Equals(PolicyValue::Double(expected)) => {
                let found = if let AnyValue::Double(n) = value { *n } else { 0.0 };
                found.partial_cmp(expected).is_some_and(std::cmp::Ordering::is_eq)
            }
        }
    }
}
