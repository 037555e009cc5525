//! Requests to a running service, again where it asks for that: what `replay --to` and the demo send by.

mod connection;
mod verdict;

use std::time::Duration;

use bytes::Bytes;

use connection::{Connection, Protocol};
pub(super) use connection::{ConnectionError, Target};
pub(super) use verdict::Taken;
use verdict::{Verdict, verdict};

/// How often a request is sent that the service can't take now.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Whatever the service asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("refused: {0}")]
    Refused(String),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

pub(super) struct Sender {
    protocol: Protocol,
    connection: Connection,
}

impl Sender {
    pub(super) fn new(target: Target) -> Self {
        Self { protocol: target.protocol, connection: Connection::new(target) }
    }

    pub(super) async fn send(&mut self, body: &Bytes) -> Result<Taken, SendError> {
        let mut wait = FIRST_WAIT;
        let mut n_tries = 0;
        loop {
            let answer = self.connection.exchange(body).await?;
            n_tries += 1;
            match verdict(self.protocol, &answer) {
                Verdict::Taken(taken) => return Ok(taken),
                Verdict::Refused(why) => return Err(SendError::Refused(why)),
                Verdict::Later { why, .. } if n_tries == TRIES => {
                    return Err(SendError::Refused(format!("{why}, {TRIES} times")));
                }
                Verdict::Later { after, .. } => {
                    tokio::time::sleep(after.unwrap_or(wait).min(LONGEST_WAIT)).await;
                    wait *= 2;
                }
            }
        }
    }
}
