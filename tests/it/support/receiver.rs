//! A remote-write receiver in process that behaves as it is told, request by request, and stores as a
//! Prometheus does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use prost::Message;
use spanmill::remote_write::proto::{Label, Sample, TimeSeries, WriteRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::stored::{Labels, Refusal, Stored, labels_of};

const DEADLINE: Duration = Duration::from_secs(20);

/// What to do with a request. Made by the functions below.
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    read: bool,
    store: bool,
    reply: Reply,
    delay: Duration,
    gate: Option<Gate>,
}

#[derive(Debug, Clone)]
enum Reply {
    /// 204, or why it was not stored.
    Verdict,
    Fixed {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// The connection is closed without an answer.
    Close,
}

/// Stores, and answers as Prometheus does.
pub(crate) fn store() -> Behaviour {
    let reply = Reply::Verdict;
    Behaviour { read: true, store: true, reply, delay: Duration::ZERO, gate: None }
}

/// Stores nothing and answers so.
pub(crate) fn answer(status: u16) -> Behaviour {
    let reply = Reply::Fixed { status, headers: Vec::new(), body: String::new() };
    Behaviour { store: false, reply, ..store() }
}

/// Closes the connection when the head of the request has come.
pub(crate) fn close_unread() -> Behaviour {
    Behaviour { read: false, store: false, reply: Reply::Close, ..store() }
}

/// Reads the whole request, stores it or not, and closes the connection without an answer.
pub(crate) fn close_unanswered(stored: bool) -> Behaviour {
    Behaviour { store: stored, reply: Reply::Close, ..store() }
}

impl Behaviour {
    /// Stores before it answers whatever it answers.
    pub(crate) fn but_stores(self) -> Self {
        Self { store: true, ..self }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        if let Reply::Fixed { headers, .. } = &mut self.reply {
            headers.push((name, value.to_string()));
        }
        self
    }

    pub(crate) fn body(mut self, text: impl ToString) -> Self {
        if let Reply::Fixed { body, .. } = &mut self.reply {
            *body = text.to_string();
        }
        self
    }

    /// Before the answer; what is stored is stored before it.
    pub(crate) fn delayed(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Before the answer, until the gate is open; what is stored is stored before it.
    pub(crate) fn held(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }
}

/// Closed until it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn open(&self) {
        self.0.close();
    }

    async fn passed(&self) {
        // There are no permits: this ends only with an error, when the gate opens.
        assert!(self.0.acquire().await.is_err());
    }
}

/// A request in the order of arrival.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// As it came over the wire.
    pub(crate) wire: Bytes,
    pub(crate) n_inflated: usize,
    /// Empty if the body was not read.
    pub(crate) write: WriteRequest,
    pub(crate) stored: bool,
    /// None while it is not answered, or if it never will be.
    pub(crate) status: Option<u16>,
}

impl Received {
    /// Empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("headers are ASCII"))
    }
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) requests: Vec<Received>,
    pub(crate) stored: Stored,
}

type Predicate = Box<dyn Fn(&Labels) -> bool + Send>;

struct Shared {
    state: Mutex<State>,
    changed: Notify,
    script: Mutex<VecDeque<Behaviour>>,
    otherwise: Mutex<Behaviour>,
    refused_series: Mutex<Option<Predicate>>,
    tls: Option<TlsAcceptor>,
}

pub(crate) struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    serving: Mutex<Serving>,
}

enum Serving {
    Up(JoinHandle<()>),
    /// Bound but not listening: connections are refused, and nobody else gets the port.
    Down(TcpSocket),
    Between,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(crate) async fn start_tls(config: rustls::ServerConfig) -> Self {
        Self::start_with(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Notify::new(),
            script: Mutex::default(),
            otherwise: Mutex::new(store()),
            refused_series: Mutex::default(),
            tls,
        });
        let serving = Mutex::new(Serving::Up(tokio::spawn(serve(listener, Arc::clone(&shared)))));
        Self { shared, address, serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/api/v1/write", self.address)
    }

    /// One behaviour for each of the next requests, after those that were given before.
    pub(crate) fn script(&self, behaviours: impl IntoIterator<Item = Behaviour>) {
        lock(&self.shared.script).extend(behaviours);
    }

    /// What to do once the script is over; `store()` unless told.
    pub(crate) fn otherwise(&self, behaviour: Behaviour) {
        *lock(&self.shared.otherwise) = behaviour;
    }

    /// From now on requests with such a series are refused whole, with 400.
    pub(crate) fn refuse_series(&self, refused: impl Fn(&Labels) -> bool + Send + 'static) {
        *lock(&self.shared.refused_series) = Some(Box::new(refused));
    }

    /// Cuts all connections and refuses new ones.
    pub(crate) async fn go_down(&self) {
        let before = std::mem::replace(&mut *lock(&self.serving), Serving::Between);
        let Serving::Up(task) = before else { return };
        task.abort();
        assert!(task.await.is_err(), "it serves until it is stopped");
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an option of all sockets");
        socket.bind(self.address).expect("the port was ours just now");
        *lock(&self.serving) = Serving::Down(socket);
    }

    /// Listens on the same port again.
    pub(crate) fn come_back(&self) {
        let mut serving = lock(&self.serving);
        if let Serving::Down(socket) = std::mem::replace(&mut *serving, Serving::Between) {
            let listener = socket.listen(128).expect("the port is ours");
            *serving = Serving::Up(tokio::spawn(serve(listener, Arc::clone(&self.shared))));
        }
    }

    /// Everything so far. Fails if the sender did what a good one never does.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        let state = lock(&self.shared.state);
        assert!(state.stored.violations().is_empty(), "{:#?}", state.stored.violations());
        state
    }

    /// For tests of bad senders: what was wrong so far, to be asked before anything else.
    pub(crate) fn take_violations(&self) -> Vec<String> {
        lock(&self.shared.state).stored.take_violations()
    }

    /// Waits for a request that makes the condition true.
    pub(crate) async fn wait_until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let met = async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if condition(&lock(&self.shared.state)) {
                    return;
                }
                changed.await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, met).await.is_ok();
        assert!(in_time, "waited in vain for {what}; seen: {}", lock(&self.shared.state).show());
        drop(self.state());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Serving::Up(task) = &*lock(&self.serving) {
            task.abort();
        }
        if !std::thread::panicking() {
            drop(self.state());
        }
    }
}

impl State {
    fn show(&self) -> String {
        let show = |r: &Received| {
            format!("{} series -> {:?}, stored {}", r.write.timeseries.len(), r.status, r.stored)
        };
        let last: Vec<String> = self.requests.iter().rev().take(20).rev().map(show).collect();
        let n_series = self.stored.n_series();
        format!("{} requests, {n_series} series stored; last: {last:#?}", self.requests.len())
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped, and its connections cut, when this task is aborted.
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            match shared.tls.clone() {
                None => serve_connection(stream, shared).await,
                // What a client thinks of our certificate is the client's to tell.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve_connection(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve_connection(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.answer(request).await }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Ends with an error when a behaviour closes it, or the client does.
    drop(connection.await);
}

/// Makes hyper close the connection.
#[derive(Debug, thiserror::Error)]
#[error("closed by the script")]
struct Closed;

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Closed> {
        let scripted = lock(&self.script).pop_front();
        let behaviour = scripted.unwrap_or_else(|| lock(&self.otherwise).clone());
        let (head, body) = request.into_parts();
        let wire = if behaviour.read {
            body.collect().await.map_err(|_| Closed)?.to_bytes()
        } else {
            Bytes::new()
        };
        let received = Received {
            path: head.uri.path().to_owned(),
            headers: head.headers,
            wire,
            n_inflated: 0,
            write: WriteRequest::default(),
            stored: false,
            status: None,
        };
        let (idx, verdict) = self.receive(received, &behaviour);
        tokio::time::sleep(behaviour.delay).await;
        if let Some(gate) = &behaviour.gate {
            gate.passed().await;
        }
        let (status, headers, body) = match (behaviour.reply, verdict) {
            (Reply::Close, _) => return Err(Closed),
            (Reply::Fixed { status, headers, body }, _) => (status, headers, body),
            (Reply::Verdict, Ok(())) => (204, Vec::new(), String::new()),
            (Reply::Verdict, Err(refusal)) => (refusal.status, Vec::new(), refusal.message),
        };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        lock(&self.state).requests[idx].status = Some(status);
        self.changed.notify_waiters();
        Ok(response.body(Full::from(body)).expect("the script's headers are valid"))
    }

    /// Records the request, and stores it if it may.
    fn receive(
        &self,
        mut received: Received,
        behaviour: &Behaviour,
    ) -> (usize, Result<(), Refusal>) {
        let state = &mut *lock(&self.state);
        let mut verdict = Ok(());
        if behaviour.read {
            verdict = decode(&mut received);
            if let Err(refusal) = &verdict {
                state.stored.add_violation(refusal.message.clone());
            }
        }
        if behaviour.store && verdict.is_ok() {
            verdict = self.store(&received.write, &mut state.stored);
            received.stored = verdict.is_ok();
        }
        state.requests.push(received);
        self.changed.notify_waiters();
        (state.requests.len() - 1, verdict)
    }

    fn store(&self, request: &WriteRequest, stored: &mut Stored) -> Result<(), Refusal> {
        if let Some(refused) = &*lock(&self.refused_series) {
            let mut labels = request.timeseries.iter().map(labels_of);
            if let Some(labels) = labels.find(|labels| refused(labels)) {
                return Err(Refusal { status: 400, message: format!("refused: {labels:?}") });
            }
        }
        stored.write(request)
    }
}

fn decode(received: &mut Received) -> Result<(), Refusal> {
    let refuse = |status, message: String| Err(Refusal { status, message });
    for (name, expected) in
        [("content-type", "application/x-protobuf"), ("content-encoding", "snappy")]
    {
        let found = received.header(name);
        if found != expected {
            return refuse(415, format!("{name} is {found:?}, expected {expected:?}"));
        }
    }
    let inflated = match snap::raw::Decoder::new().decompress_vec(&received.wire) {
        Ok(inflated) => inflated,
        Err(e) => return refuse(400, e.to_string()),
    };
    received.n_inflated = inflated.len();
    match WriteRequest::decode(&*inflated) {
        Ok(write) => received.write = write,
        Err(e) => return refuse(400, e.to_string()),
    }
    Ok(())
}

/// A panic elsewhere is what the test is to show, not that a lock is poisoned.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A series of a metric; the labels are to be sorted, after `__name__`.
pub(crate) fn series(metric: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    let labels = std::iter::once(("__name__", metric)).chain(labels.iter().copied());
    TimeSeries {
        labels: labels
            .map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() })
            .collect(),
        samples: samples.iter().map(|&(timestamp, value)| Sample { value, timestamp }).collect(),
        ..TimeSeries::default()
    }
}

pub(crate) fn write_request(series: impl IntoIterator<Item = TimeSeries>) -> WriteRequest {
    WriteRequest { timeseries: series.into_iter().collect(), metadata: Vec::new() }
}

/// As it goes over the wire.
pub(crate) fn compress(request: &WriteRequest) -> Bytes {
    let compressed = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec());
    Bytes::from(compressed.expect("requests of tests are small"))
}
