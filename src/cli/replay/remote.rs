//! To a running service: requests one after the other, again where the service asks for that.

use anyhow::Context;

use super::reading::{Bad, Found, Read, Reading};
use super::report::Report;
use super::shift;
use crate::cli::sending::{ConnectionError, SendError, Sender, Taken, Target};
use crate::otlp::{self, each_resource_spans, each_span};

/// Ends early when the service can't be reached.
pub(super) fn send_all(
    target: Target,
    mut reading: Reading,
    shift_to_now: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start")?;
    let mut sender = Sender::new(target);
    runtime.block_on(async {
        while let Some(found) = reading.next().await {
            take(&mut sender, found, shift_to_now, report).await?;
        }
        if report.has_messages() && !shift_to_now {
            report.tell("replay: --shift-to-now moves old spans into the service's time window");
        }
        Ok(())
    })
}

async fn take(
    sender: &mut Sender,
    found: Found,
    shift_to_now: bool,
    report: &mut Report,
) -> Result<(), ConnectionError> {
    let place = found.place;
    let body = match found.body {
        Read::Bad(bad) => Err(bad),
        Read::Request(body) if shift_to_now => shift::to(report.now_unix_nano(), body),
        Read::Request(body) => Ok(body),
    };
    let sent = match body {
        Err(bad) => Err(bad),
        Ok(body) => match sender.send(&body).await {
            Ok(taken) => Ok((taken, count_spans(&body))),
            Err(SendError::Refused(why)) => Err(Bad::Refused(why)),
            Err(SendError::Connection(e @ ConnectionError::Unreachable { .. })) => return Err(e),
            Err(SendError::Connection(e @ ConnectionError::NoAnswer(_))) => {
                Err(Bad::Unanswered(e.to_string()))
            }
        },
    };
    match sent {
        Err(bad) => report.bad(&place, &bad),
        Ok((Taken { message, n_rejected }, n_spans)) => {
            report.taken(n_spans);
            if n_rejected > 0 || !message.is_empty() {
                report.message(&place, &message, n_rejected);
            }
        }
    }
    Ok(())
}

/// As far as the request can be read.
fn count_spans(body: &[u8]) -> u64 {
    let mut n_spans = 0;
    let counted: Result<(), otlp::DecodeError> = each_resource_spans(body, |resource_spans| {
        each_span(resource_spans, |_| {
            n_spans += 1;
            Ok(())
        })
    });
    counted.map_or(n_spans, |()| n_spans)
}
