//! Resources of one request: each distinct one is resolved once, however often it is repeated.

use ahash::RandomState;
use hashbrown::HashTable;

use super::plan::{Keys, Plan, max_bytes};
use crate::batch::{Range, reset_table};
use crate::otlp::{AnyValue, DecodeError, KeyValue, Resource};

/// The distinct resources seen so far, in arenas that are reused from request to request.
#[derive(Debug, Default)]
pub(super) struct Resources {
    hasher: RandomState,
    table: HashTable<u32>,
    contexts: Vec<Context>,
    /// Identities, texts and encoded values.
    arena: Vec<u8>,
    /// For each context as many as there are keys: the value, where the resource has it.
    values: Vec<Option<Held>>,
    /// For each context as many as there are patterns: whether its value matches, where that is known.
    verdicts: Vec<Option<bool>>,
}

/// The value of a wanted key. All spans of the resource read it: what was long is short by then.
#[derive(Debug, Clone, Copy)]
struct Held {
    encoded: Range,
    /// Of a long list, which is read only here.
    text: Option<Range>,
}

/// Values of so many bytes are read as they are.
const SHORT: usize = 64;

/// What a resource gives to all its spans.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    identity: Range,
    hash: u64,
    service: Range,
    job: Range,
    instance: Range,
    /// Its info rows are in the batch already.
    pub(super) target_info_done: bool,
    pub(super) host_info_done: bool,
}

impl Resources {
    pub(super) fn clear(&mut self) {
        reset_table(&mut self.table);
        self.contexts.clear();
        self.arena.clear();
        self.values.clear();
        self.verdicts.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.contexts.len()
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.arena.capacity()
            + self.contexts.capacity() * size_of::<Context>()
            + self.values.capacity() * size_of::<Option<Held>>()
            + self.verdicts.capacity()
    }

    /// The index of a resource, which names it within the request.
    pub(super) fn resolve(
        &mut self,
        resource: &Resource<'_>,
        plan: &Plan,
    ) -> Result<usize, DecodeError> {
        let start = self.arena.len();
        resource.parts().for_each(|part| self.arena.extend_from_slice(part));
        let Self { hasher, table, contexts, arena, .. } = self;
        let hash = hasher.hash_one(&arena[start..]);
        let same = |&i: &u32| contexts[i as usize].identity.slice(arena) == &arena[start..];
        if let Some(&index) = table.find(hash, same) {
            arena.truncate(start);
            return Ok(index as usize);
        }
        let index = self.contexts.len();
        let context = self.read(resource, Range::of(start, self.arena.len()), hash, plan)?;
        self.contexts.push(context);
        self.match_patterns(index, &plan.keys);
        let contexts = &self.contexts;
        self.table.insert_unique(hash, index_u32(index), |&i| contexts[i as usize].hash);
        Ok(index)
    }

    fn read(
        &mut self,
        resource: &Resource<'_>,
        identity: Range,
        hash: u64,
        plan: &Plan,
    ) -> Result<Context, DecodeError> {
        let Plan { keys, settings, .. } = plan;
        let max = max_bytes(settings.max_label_value_length);
        let first_value = self.values.len();
        self.values.resize(first_value + keys.len(), None);
        let mut service = None;
        let mut namespace = None;
        let mut instance = None;
        let Self { values, arena, .. } = self;
        let mut problem = Ok(());
        resource.each_attribute(|KeyValue { key, value }| {
            let wanted = keys.find(key).map(|i| &mut values[first_value + i]);
            let known = match key {
                b"service.name" => Some(&mut service),
                b"service.namespace" => Some(&mut namespace),
                b"service.instance.id" => Some(&mut instance),
                _ => None,
            };
            let wanted = wanted.filter(|slot| slot.is_none());
            let known = known.filter(|slot| slot.is_none());
            if wanted.is_none() && known.is_none() {
                return;
            }
            let encoded = match value.encoded() {
                Ok(encoded) => encoded,
                Err(e) => return problem = Err(e),
            };
            if let Some(slot) = wanted {
                *slot = Some(hold(arena, &encoded, max));
            }
            if let Some(slot) = known {
                *slot = Some(append(arena, &encoded));
            }
        })?;
        problem?;
        let service = self.rendered(service, max)?;
        let namespace = self.rendered(namespace, max)?;
        let instance = self.rendered(instance, max)?;
        let job = self.job(namespace, service);
        Ok(Context {
            identity,
            hash,
            service,
            job,
            instance,
            target_info_done: false,
            host_info_done: false,
        })
    }

    /// `NAMESPACE/NAME`, or the name alone; none without a name.
    fn job(&mut self, namespace: Range, service: Range) -> Range {
        if service.len == 0 || namespace.len == 0 {
            return service;
        }
        let start = self.arena.len();
        self.arena.extend_from_within(namespace.indexes());
        self.arena.push(b'/');
        self.arena.extend_from_within(service.indexes());
        Range::of(start, self.arena.len())
    }

    fn rendered(&mut self, encoded: Option<Range>, max: usize) -> Result<Range, DecodeError> {
        let Some(encoded) = encoded else { return Ok(Range::default()) };
        let mut text = Vec::new();
        AnyValue::read(encoded.slice(&self.arena))?.render(max, &mut text)?;
        Ok(append(&mut self.arena, &text))
    }

    pub(super) fn context(&mut self, index: usize) -> &mut Context {
        &mut self.contexts[index]
    }

    pub(super) fn service(&self, index: usize) -> &[u8] {
        self.contexts[index].service.slice(&self.arena)
    }

    pub(super) fn job_of(&self, index: usize) -> &[u8] {
        self.contexts[index].job.slice(&self.arena)
    }

    pub(super) fn instance(&self, index: usize) -> &[u8] {
        self.contexts[index].instance.slice(&self.arena)
    }

    /// The encoded value of a wanted key, where the resource has it.
    #[inline]
    pub(super) fn value(&self, index: usize, key: usize, keys: &Keys) -> Option<&[u8]> {
        self.values[index * keys.len() + key].map(|held| held.encoded.slice(&self.arena))
    }

    /// Its text, where it is a list that was long.
    pub(super) fn text(&self, index: usize, key: usize, keys: &Keys) -> Option<&[u8]> {
        let text = self.values[index * keys.len() + key]?.text?;
        Some(text.slice(&self.arena))
    }

    /// Whether the resource's value matches a pattern; `None` where it has none, or a malformed one.
    pub(super) fn verdict(&self, index: usize, pattern: usize, keys: &Keys) -> Option<bool> {
        self.verdicts[index * keys.patterns.len() + pattern]
    }

    /// Once for all spans: a value may be as long as the request.
    fn match_patterns(&mut self, index: usize, keys: &Keys) {
        for pattern in &keys.patterns {
            let value = self.value(index, pattern.key, keys).map(AnyValue::read);
            let verdict = value.and_then(Result::ok).map(|value| pattern.matches(&value));
            self.verdicts.push(verdict);
        }
    }
}

/// What is malformed is left for the first who reads it.
fn hold(arena: &mut Vec<u8>, encoded: &[u8], max: usize) -> Held {
    let whole = |arena: &mut Vec<u8>| Held { encoded: append(arena, encoded), text: None };
    if encoded.len() <= SHORT {
        return whole(arena);
    }
    let mut text = Vec::new();
    let value = match AnyValue::read(encoded) {
        Ok(value @ (AnyValue::Array(_) | AnyValue::Kvlist(_))) => {
            if value.render(max, &mut text).is_err() {
                return whole(arena);
            }
            value
        }
        Ok(value) => value,
        Err(_) => return whole(arena),
    };
    let start = arena.len();
    value.push_short(arena);
    let short = Range::of(start, arena.len());
    Held { encoded: short, text: (!text.is_empty()).then(|| append(arena, &text)) }
}

fn append(arena: &mut Vec<u8>, bytes: &[u8]) -> Range {
    let start = arena.len();
    arena.extend_from_slice(bytes);
    Range::of(start, arena.len())
}

fn index_u32(index: usize) -> u32 {
    u32::try_from(index).expect("a request has fewer than 2^32 bytes, so fewer resources")
}
