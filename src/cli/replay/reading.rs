//! Files become requests, on a thread of its own: inflated, and cut by what they hold.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::frames::Frames;
use super::values::Values;

/// Requests that are read ahead.
const AHEAD: usize = 4;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes by which a file is told apart.
const HEAD: usize = 4096;

/// The requests of all files, in their order.
#[derive(Debug)]
pub(super) struct Reading {
    found: Receiver<Found>,
}

/// A request, or what stood in its place.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) body: Read,
}

#[derive(Debug)]
pub(super) enum Read {
    Request(Bytes),
    Bad(Bad),
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Bad {
    #[error("can't be read: {0}")]
    Unreadable(io::Error),
    #[error("{0}")]
    Undecodable(String),
    #[error("refused: {0}")]
    Refused(String),
    /// The service may have counted it.
    #[error("{0}")]
    Unanswered(String),
}

/// Where in which file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: Arc<str>,
    at: Option<Position>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Position {
    Frame { number: u64, offset: u64 },
    Value { number: u64, line: u64, offset: u64 },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.at {
            None => Ok(()),
            Some(Position::Frame { number, offset }) => {
                write!(f, ": frame {number} at offset {offset}")
            }
            Some(Position::Value { number, line, offset }) => {
                write!(f, ": value {number} on line {line} at offset {offset}")
            }
        }
    }
}

impl Reading {
    /// `max`: bytes of one request, inflated.
    pub(super) fn start(files: Vec<PathBuf>, max: usize) -> anyhow::Result<Self> {
        let (sender, found) = channel(AHEAD);
        std::thread::Builder::new()
            .name("replay-reading".to_owned())
            .spawn(move || read_all(&files, max, &sender))
            .context("can't start a thread")?;
        Ok(Self { found })
    }

    pub(super) fn next_blocking(&mut self) -> Option<Found> {
        self.found.blocking_recv()
    }

    pub(super) async fn next(&mut self) -> Option<Found> {
        self.found.recv().await
    }
}

/// Ends early when nobody wants the rest.
fn read_all(files: &[PathBuf], max: usize, sender: &Sender<Found>) {
    for path in files {
        let file: Arc<str> = path.display().to_string().into();
        let send = |at, body| {
            let place = Place { file: Arc::clone(&file), at };
            sender.blocking_send(Found { place, body }).is_ok()
        };
        let mut requests = match open(path, max) {
            Ok(requests) => requests,
            Err(error) => match send(None, Read::Bad(Bad::Unreadable(error))) {
                true => continue,
                false => return,
            },
        };
        while let Some((at, body)) = requests.next() {
            let body = body.map_or_else(Read::Bad, Read::Request);
            if !send(Some(at), body) {
                return;
            }
        }
    }
}

type Input = Box<dyn io::Read>;

enum Requests {
    Frames(Frames<Input>),
    Values(Values<Input>),
}

impl Requests {
    fn next(&mut self) -> Option<(Position, Result<Bytes, Bad>)> {
        match self {
            Self::Frames(frames) => frames.next(),
            Self::Values(values) => values.next(),
        }
    }
}

fn open(path: &Path, max: usize) -> io::Result<Requests> {
    let (head, file) = peek(File::open(path)?)?;
    let file = BufReader::with_capacity(1 << 18, file);
    let inflated: Input = if head.starts_with(&GZIP) {
        Box::new(MultiGzDecoder::new(file))
    } else if head.starts_with(&ZSTD) {
        Box::new(zstd::Decoder::with_buffer(file)?)
    } else {
        Box::new(file)
    };
    let (head, inflated) = peek(inflated)?;
    let input: Input = Box::new(BufReader::with_capacity(1 << 18, inflated));
    Ok(match looks_like_json(&head) {
        true => Requests::Values(Values::new(input, max)),
        false => Requests::Frames(Frames::new(input, max)),
    })
}

/// A brace would be the length of a frame of 2 GiB, white space one of 150 MiB and more.
fn looks_like_json(head: &[u8]) -> bool {
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
    matches!(text.first(), Some(b'{' | b'[')) || (text.is_empty() && !head.is_empty())
}

type Whole<R> = Chain<Cursor<Vec<u8>>, R>;

/// The first bytes, and the whole.
fn peek<R: io::Read>(mut input: R) -> io::Result<(Vec<u8>, Whole<R>)> {
    let mut head = Vec::with_capacity(HEAD);
    input.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    Ok((head.clone(), Cursor::new(head).chain(input)))
}
