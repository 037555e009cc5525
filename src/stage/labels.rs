//! Label sets built in a scratch buffer: sorted by name, text put right, empty values left out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::names::{kind_name, status_name, target_info_label};
use super::plan::{Plan, Source, cut_name, max_bytes};
use super::resource::Resources;
use super::settings::Sanitization;
use crate::batch::{Repaired, Repairs, push_label};
use crate::otlp::{AnyValue, DecodeError, Resource, Span, Value, longer_than};

/// Attributes of a resource that become labels of `traces_target_info`; those behind them are left out.
const TARGET_INFO_MAX: usize = 1024;

/// What a span's labels are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pieces<'s, 'a> {
    pub(super) plan: &'s Plan,
    pub(super) resources: &'s Resources,
    pub(super) resource: usize,
    pub(super) span: &'s Span<'a>,
    /// The span's own values of the wanted keys.
    pub(super) values: &'s [Option<Value<'a>>],
}

/// What became of a label set while it was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) repairs: Repairs,
    /// Where the name of the span has a template of another text.
    pub(super) renamed: Option<Renamed>,
}

/// A span's name in a label set.
#[derive(Debug)]
pub(super) struct Renamed {
    /// Where the label stands.
    pub(super) label: std::ops::Range<usize>,
    pub(super) template: String,
}

impl Pieces<'_, '_> {
    /// Appends the span's label set to `text`.
    pub(super) fn push_labels(&self, text: &mut Vec<u8>) -> Result<Written, DecodeError> {
        let mut written = Written::default();
        let max = self.plan.settings.max_label_value_length;
        let mut value = Vec::new();
        for label in &self.plan.labels {
            value.clear();
            self.push_value(&label.source, &mut value)?;
            if label.source == Source::SpanName && self.plan.names.mode() != Sanitization::Off {
                self.push_name(text, &label.name, &value, &mut written);
            } else {
                push_repaired(text, &label.name, &value, max, &mut written.repairs);
            }
        }
        Ok(written)
    }

    /// The span's name: looked at as the label value that it becomes, repaired and cut, so that the
    /// longest name costs no more than that.
    fn push_name(&self, text: &mut Vec<u8>, name: &str, value: &[u8], written: &mut Written) {
        let max = self.plan.settings.max_label_value_length;
        let value = repaired(value, max, &mut written.repairs);
        let template = self.plan.names.template(&value);
        let shown = match &template {
            Some(template) if self.plan.names.mode() == Sanitization::Enabled => template,
            _ => value.as_ref(),
        };
        let start = text.len();
        if !shown.is_empty() {
            push_label(text, name, shown);
        }
        written.renamed = template.map(|template| Renamed { label: start..text.len(), template });
    }

    fn push_value(&self, source: &Source, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match source {
            Source::Service => out.extend_from_slice(self.resources.service(self.resource)),
            Source::Job => out.extend_from_slice(self.resources.job_of(self.resource)),
            Source::Instance => out.extend_from_slice(self.resources.instance(self.resource)),
            Source::SpanName => out.extend_from_slice(self.span.name),
            Source::StatusMessage => out.extend_from_slice(self.span.status_message),
            Source::SpanKind => push_enum(kind_name(self.span.kind), self.span.kind, out),
            Source::StatusCode => {
                push_enum(status_name(self.span.status_code), self.span.status_code, out);
            }
            Source::Attribute(key) => self.push_attribute(*key, out)?,
            Source::Mapping { keys, join, coalesce } => {
                for key in keys {
                    let before = out.len();
                    if before > 0 {
                        out.extend_from_slice(join.as_bytes());
                    }
                    let joined = out.len();
                    self.push_attribute(*key, out)?;
                    if out.len() == joined {
                        out.truncate(before);
                    } else if *coalesce {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The resource is asked first, and an empty value there hides the span's.
    pub(super) fn push_attribute(&self, key: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let max = max_bytes(self.plan.settings.max_label_value_length) + out.len();
        if let Some(text) = self.resources.text(self.resource, key, &self.plan.keys) {
            out.extend_from_slice(text);
            return Ok(());
        }
        if let Some(encoded) = self.resources.value(self.resource, key, &self.plan.keys) {
            return AnyValue::read(encoded)?.render(max, out);
        }
        match &self.values[key] {
            Some(value) => AnyValue::read(&value.encoded()?)?.render(max, out),
            None => Ok(()),
        }
    }
}

fn push_enum(name: Option<&str>, number: i32, out: &mut Vec<u8>) {
    match name {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => out.extend_from_slice(number.to_string().as_bytes()),
    }
}

/// Appends a label unless its value is empty.
pub(super) fn push_repaired(
    text: &mut Vec<u8>,
    name: &str,
    value: &[u8],
    max: usize,
    repairs: &mut Repairs,
) {
    let value = repaired(value, max, repairs);
    if !value.is_empty() {
        push_label(text, name, &value);
    }
}

/// Valid UTF-8, cut on a character boundary.
pub(super) fn repaired<'a>(value: &'a [u8], max: usize, repairs: &mut Repairs) -> Cow<'a, str> {
    let valid = String::from_utf8_lossy(longer_than(value, max_bytes(max)));
    repairs.set(Repaired::Utf8, matches!(valid, Cow::Owned(_)));
    let end = valid.floor_char_boundary(max_bytes(max));
    if end == valid.len() {
        return valid;
    }
    repairs.set(Repaired::LabelLength, true);
    match valid {
        Cow::Borrowed(valid) => Cow::Borrowed(&valid[..end]),
        Cow::Owned(valid) => Cow::Owned(valid[..end].to_owned()),
    }
}

/// Appends the label set of `traces_target_info`; nothing where the resource has no identity or
/// nothing besides it (reference/tempo.md 2.6).
pub(super) fn push_target_info(
    plan: &Plan,
    resources: &Resources,
    index: usize,
    resource: &Resource<'_>,
    text: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let settings = &plan.settings;
    let (job, instance) = (resources.job_of(index), resources.instance(index));
    let instance = if settings.span_metrics.enable_instance_label { instance } else { b"" };
    if job.is_empty() && instance.is_empty() {
        return Ok(());
    }
    let mut labels = attributes_of(plan, resource)?;
    labels.retain(|_, value| !value.is_empty());
    if labels.is_empty() {
        return Ok(());
    }
    labels.insert("job".to_owned(), job.to_vec());
    labels.insert("instance".to_owned(), instance.to_vec());
    let mut repairs = Repairs::default();
    for (name, value) in &labels {
        push_repaired(text, name, value, settings.max_label_value_length, &mut repairs);
    }
    Ok(())
}

/// By label name: of several attributes with one name the last counts, of one key the first.
fn attributes_of(
    plan: &Plan,
    resource: &Resource<'_>,
) -> Result<BTreeMap<String, Vec<u8>>, DecodeError> {
    const IDENTITY: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];
    let settings = &plan.settings;
    let excluded = &settings.span_metrics.target_info_excluded_dimensions;
    let mut seen = BTreeMap::new();
    let mut order = Vec::new();
    resource.each_attribute(|attribute| {
        if order.len() == TARGET_INFO_MAX {
            return;
        }
        seen.entry(attribute.key).or_insert_with(|| {
            order.push(attribute.key);
            attribute.value
        });
    })?;
    let mut labels = BTreeMap::new();
    for key in order {
        let Some(value) = seen.get(key) else { continue };
        let key = String::from_utf8_lossy(key);
        let skipped = key.is_empty()
            || key.starts_with(|c: char| c.is_ascii_digit())
            || IDENTITY.contains(&key.as_ref())
            || excluded.iter().any(|e| *e == key);
        if skipped {
            continue;
        }
        let mut text = Vec::new();
        let max = max_bytes(settings.max_label_value_length);
        AnyValue::read(&value.encoded()?)?.render(max, &mut text)?;
        labels.insert(cut_name(target_info_label(&key), settings.max_label_name_length), text);
    }
    Ok(labels)
}

/// Appends the label set of the host info gauge: the first identifier that is there as text.
pub(super) fn push_host_info(
    identifiers: &[String],
    max: usize,
    resource: &Resource<'_>,
    text: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let mut found = vec![None; identifiers.len()];
    resource.each_attribute(|attribute| {
        if let Some(i) = identifiers.iter().position(|id| id.as_bytes() == attribute.key) {
            found[i].get_or_insert(attribute.value);
        }
    })?;
    for (identifier, value) in identifiers.iter().zip(found) {
        let Some(value) = value else { continue };
        let encoded = value.encoded()?;
        if let AnyValue::String(host) = AnyValue::read(&encoded)?
            && !host.is_empty()
        {
            let mut repairs = Repairs::default();
            push_repaired(text, "grafana_host_id", &host, max, &mut repairs);
            push_repaired(text, "host_source", identifier.as_bytes(), max, &mut repairs);
            return Ok(());
        }
    }
    Ok(())
}
