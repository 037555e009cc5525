//! The bytes that an endpoint would be sent, without an endpoint: for benches and tools.

use std::sync::Arc;

use super::births::Births;
use super::relabel::RelabelConfig;
use super::requests::{Form, Plan, Zeros, encode, pack};
use crate::budget::Pool;
use crate::collect::Collected;

/// An endpoint that accepts everything.
#[derive(Debug)]
pub struct Offline {
    births: Births,
    form: Form,
    raw: Vec<u8>,
    encoder: snap::raw::Encoder,
}

/// What the requests of one tick came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    pub n_requests: usize,
    pub n_samples: usize,
    pub n_bytes_raw: usize,
    pub n_bytes_compressed: usize,
}

impl Offline {
    pub fn new(relabel: &[RelabelConfig], max_samples_per_send: usize) -> Self {
        Self {
            births: Births::new(relabel.into()),
            form: Form { max_samples: max_samples_per_send, send_exemplars: true },
            raw: Vec::new(),
            encoder: snap::raw::Encoder::new(),
        }
    }

    /// What waits to be sent is charged there.
    pub fn with_pool(mut self, pool: Arc<Pool>) -> Self {
        self.births.set_pool(pool);
        self
    }

    /// Hears of a tick and takes nothing of it, as an endpoint that is down.
    pub fn hear(&mut self, collected: &Collected) {
        self.births.apply(collected);
    }

    /// Encodes and compresses every request of a tick; each is handed to `out`.
    pub fn send(&mut self, collected: &Collected, mut out: impl FnMut(&[u8])) -> Sent {
        self.births.apply(collected);
        let Plan { ended, live } = pack(&self.births, collected, &self.form);
        let mut sent = Sent::default();
        for request in ended.iter().chain(&live) {
            self.raw.clear();
            let zeros = Zeros::WhereBirthsNeedThem;
            let contents =
                encode(&self.births, collected, request, zeros, &self.form, &mut self.raw);
            let compressed = self.encoder.compress_vec(&self.raw);
            let compressed = compressed.expect("a request is far below 4 GiB");
            sent.n_requests += 1;
            sent.n_samples += contents.n_samples;
            sent.n_bytes_raw += self.raw.len();
            sent.n_bytes_compressed += compressed.len();
            out(&compressed);
            self.births.accepted(request.units(), collected.snapshot.at_ms);
        }
        sent
    }
}
