//! The corpora: requests as real programs sent them, in either form, and what to expect of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest as Request;
use prost::Message;

use super::oracle::{self, Labels, Oracle};
use super::{graph, otlp_json};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus");
const MORE: &str = "SPANMILL_CORPUS";

/// Form of the bodies as they were captured, by how the file's name goes on.
const FORMS: [(&str, Form); 4] = [
    (".otlp.binpb.gz", Form::Protobuf),
    (".otlp.binpb", Form::Protobuf),
    (".otlp.jsonl.gz", Form::Json),
    (".otlp.jsonl", Form::Json),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Protobuf,
    Json,
}

#[derive(Debug, Clone)]
pub(crate) struct Corpus {
    pub(crate) name: String,
    pub(crate) form: Form,
    pub(crate) file: PathBuf,
}

/// Those of this repository, and those of the folder that `SPANMILL_CORPUS` names.
pub(crate) fn all() -> Vec<Corpus> {
    let mut corpora = in_folder(Path::new(HERE));
    if let Some(more) = std::env::var_os(MORE) {
        let known: BTreeSet<String> = corpora.iter().map(|corpus| corpus.name.clone()).collect();
        let found = in_folder(Path::new(&more));
        corpora.extend(found.into_iter().filter(|corpus| !known.contains(&corpus.name)));
    }
    corpora
}

pub(crate) fn named(name: &str) -> Corpus {
    in_folder(Path::new(HERE)).into_iter().find(|c| c.name == name).expect("a corpus of ours")
}

/// In the order of names; no corpus at all is a mistake in the folder's name.
fn in_folder(folder: &Path) -> Vec<Corpus> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("corpora in {}: {error}", folder.display()));
    let mut corpora: Vec<Corpus> = entries
        .filter_map(|entry| {
            let file = entry.expect("an entry").path();
            let name = file.file_name()?.to_str()?;
            let (end, form) = FORMS.iter().find(|(end, _)| name.ends_with(end))?;
            let name = name.strip_suffix(end)?.to_owned();
            Some(Corpus { name, form: *form, file })
        })
        .collect();
    assert!(!corpora.is_empty(), "no corpus in {}", folder.display());
    corpora.sort_by(|a, b| a.name.cmp(&b.name));
    corpora
}

impl Corpus {
    /// Bodies in the order in which they were sent, as they were captured.
    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        let file = read(&self.file);
        match self.form {
            Form::Protobuf => frames(file),
            Form::Json => lines(file),
        }
    }

    /// The same bodies in one form: as captured where that is the form, else converted.
    pub(crate) fn bodies_as(&self, form: Form) -> Vec<Bytes> {
        let bodies = self.bodies();
        if form == self.form {
            return bodies;
        }
        bodies
            .iter()
            .map(|body| match form {
                Form::Json => otlp_json::write(&decode(body)).into(),
                Form::Protobuf => otlp_json::read(body).encode_to_vec().into(),
            })
            .collect()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.bodies_as(Form::Protobuf).iter().map(|body| decode(body)).collect()
    }

    /// All requests as one: protobuf messages that follow each other are their union.
    pub(crate) fn as_one_request(&self) -> Bytes {
        self.bodies_as(Form::Protobuf).concat().into()
    }

    pub(crate) fn oracle(&self) -> Oracle {
        oracle::parse(&read(&self.beside("oracle.json.gz")))
    }

    /// Series of the service graph by the oracle's plain rule.
    pub(crate) fn graph(&self) -> BTreeMap<Labels, f64> {
        graph::series_of_oracle(&read(&self.beside("oracle.json.gz")))
    }

    /// By its rule of arrival, which corpora of other folders may lack.
    pub(crate) fn graph_in_order(&self) -> Option<BTreeMap<Labels, f64>> {
        let file = self.beside("tempo-order.json.gz");
        file.exists().then(|| graph::series_of_oracle(&read(&file)))
    }

    pub(crate) fn meta(&self) -> serde_json::Value {
        let meta = read(&self.beside("meta.json"));
        serde_json::from_slice(&meta).expect("a corpus' description is JSON")
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.file.with_file_name(format!("{}.{end}", self.name))
    }
}

fn decode(body: &[u8]) -> Request {
    Request::decode(body).expect("a body of a corpus is a request")
}

fn read(file: &Path) -> Bytes {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.into();
    }
    let mut inflated = Vec::new();
    MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut inflated).expect("whole gzip");
    inflated.into()
}

/// Each with its length in front, 4 bytes, big-endian.
fn frames(mut file: Bytes) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while !file.is_empty() {
        let len: [u8; 4] = file.split_to(4)[..].try_into().expect("4 bytes");
        frames.push(file.split_to(u32::from_be_bytes(len) as usize));
    }
    frames
}

fn lines(file: Bytes) -> Vec<Bytes> {
    let lines = file.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| file.slice_ref(line)).collect()
}

mod tests {
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;
    use crate::support::oracle::Histogram;
    use crate::support::otlp_json::text_of;

    #[test]
    fn the_five_corpora_of_the_repository_are_found_and_read_whole() {
        let found = in_folder(Path::new(HERE));
        let names: Vec<&str> = found.iter().map(|corpus| corpus.name.as_str()).collect();
        let expected =
            ["mixed-json", "node-edge", "node-old-json", "node-store-http-gzip", "py-shop-grpc"];
        assert_eq!(names, expected);
        for corpus in all() {
            let meta = corpus.meta();
            let requests = corpus.requests();
            assert_eq!(requests.len() as u64, meta["requests"], "{}", corpus.name);
            let n_spans: usize = requests.iter().map(|request| spans(request).count()).sum();
            assert_eq!(n_spans as u64, meta["spans"], "{}", corpus.name);
        }
    }

    #[test]
    fn conversion_to_the_other_form_and_back_loses_nothing() {
        for corpus in all() {
            for request in corpus.requests() {
                let back = otlp_json::read(&otlp_json::write(&request));
                assert!(back == request, "{}: a request differs", corpus.name);
            }
        }
    }

    /// Reader, conversion and oracle hold each other: the spans read here, counted plainly, are what
    /// the oracle says.
    #[test]
    fn a_plain_count_of_the_spans_is_what_the_oracle_says() {
        for corpus in all() {
            let mut counted: BTreeMap<Vec<String>, Histogram> = BTreeMap::new();
            for request in corpus.requests() {
                for (service, span) in spans(&request) {
                    let ns = span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano);
                    let kind = span.kind().as_str_name().to_owned();
                    let status = span.status.clone().unwrap_or_default().code();
                    let status = status.as_str_name().to_owned();
                    let key = vec![service, span.name.clone(), kind, status];
                    counted.entry(key).or_default().observe(ns);
                }
            }
            let oracle = corpus.oracle();
            assert_eq!(counted.len(), oracle.operations.len(), "{}", corpus.name);
            for operation in &oracle.operations {
                let labels = ["service", "span_name", "span_kind", "status_code"];
                let get = |label| operation.labels.get(label).cloned().unwrap_or_default();
                let key: Vec<String> = labels.map(get).to_vec();
                let found = counted.get(&key).unwrap_or_else(|| panic!("{key:?} is missing"));
                assert_eq!(found.buckets, operation.latency.buckets, "{}: {key:?}", corpus.name);
                assert_eq!(found.count, operation.calls, "{}: {key:?}", corpus.name);
                let off = (found.sum - operation.latency.sum).abs();
                assert!(off <= 1e-9 * found.sum, "{}: {key:?}: off by {off}", corpus.name);
            }
        }
    }

    fn spans(request: &Request) -> impl Iterator<Item = (String, &Span)> {
        request.resource_spans.iter().flat_map(|resource_spans| {
            let resource = resource_spans.resource.iter().flat_map(|r| &r.attributes);
            let service = resource.into_iter().find(|kv| kv.key == "service.name");
            let service = service.and_then(|kv| kv.value.as_ref()).map(text_of).unwrap_or_default();
            let spans = resource_spans.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| (service.clone(), span))
        })
    }
}
