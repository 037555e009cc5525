//! `limits.memory`, split into what each part of the program may hold (CONTRACT.md 7).

use std::fmt;

const MIB: usize = 1 << 20;

/// Less than that holds no service.
const LEAST: usize = 64 * MIB;
/// Code, stacks, tables of its own metrics, what the runtime holds.
const PROGRAM: usize = 20 * MIB;
/// What one request to an endpoint holds while it is made and sent.
const SENT_REQUEST: usize = 4 * MIB;
/// What the allocator holds besides what it is asked for, in hundredths of the series' part.
const SLACK_PERCENT: usize = 10;

/// What the parts would like to hold at most.
#[derive(Debug, Clone, Copy)]
pub struct Claims {
    /// Requests to endpoints that may be under way at once, and how many have to: one an endpoint.
    pub sent_requests: usize,
    pub endpoints: usize,
    /// Of all connections, in bytes.
    pub connections: usize,
}

/// What each part may hold, in bytes. Together `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Split {
    pub total: usize,
    /// Connections: buffers and windows.
    pub connections: usize,
    /// Bodies on their way in, as they came and inflated.
    pub bodies: usize,
    /// Requests while they are staged.
    pub staging: usize,
    /// Requests to endpoints.
    pub sending: usize,
    /// Label sets, edge sides, what waits to be sent: the rest.
    pub series: usize,
}

/// A line of the table of what memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub bytes: usize,
    pub what: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("found {found} bytes, expected at least {}MiB", LEAST / MIB)]
pub struct TooSmall {
    pub found: usize,
}

impl Split {
    /// A number that somebody wrote has to be enough.
    pub fn written(total: usize, claims: Claims) -> Result<Self, TooSmall> {
        if total < LEAST {
            return Err(TooSmall { found: total });
        }
        Ok(Self::of(total, claims))
    }

    /// A number that was found is taken for what it is, but not for less than a service needs.
    pub fn found(total: usize, claims: Claims) -> Self {
        Self::of(total.max(LEAST), claims)
    }

    fn of(total: usize, claims: Claims) -> Self {
        let connections = claims.connections.min(total / 12);
        let bodies = (total / 10).min(1024 * MIB);
        let staging = (total / 8).min(512 * MIB);
        let of_requests = |n: usize| n.saturating_mul(SENT_REQUEST);
        let sending = of_requests(claims.sent_requests).min(total / 20);
        let sending = sending.max(of_requests(claims.endpoints).min(total / 4));
        let rest = total - PROGRAM - connections - bodies - staging - sending;
        let series = rest / (100 + SLACK_PERCENT) * 100;
        Self { total, connections, bodies, staging, sending, series }
    }

    /// Requests to endpoints at once, in all.
    pub fn sent_requests(&self) -> usize {
        (self.sending / SENT_REQUEST).max(1)
    }

    /// What the total is made of.
    pub fn parts(&self) -> [Part; 7] {
        let Self { total, connections, bodies, staging, sending, series } = *self;
        let of_all = PROGRAM + connections + bodies + staging + sending + series;
        [
            Part { bytes: PROGRAM, what: "the program" },
            Part { bytes: connections, what: "connections: buffers and windows" },
            Part { bytes: bodies, what: "bodies on their way in, as they came and inflated" },
            Part { bytes: staging, what: "requests while they are staged" },
            Part { bytes: sending, what: "requests to remote_write endpoints" },
            Part { bytes: series, what: "series, edge sides, what waits to be sent" },
            Part { bytes: total - of_all, what: "what the allocator holds besides" },
        ]
    }
}

impl fmt::Display for Split {
    /// The table, as comments of YAML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| format!("{}.{}", bytes / MIB, bytes % MIB * 10 / MIB);
        writeln!(f, "# {:>9} MiB  limits.memory, of which", mib(self.total))?;
        for Part { bytes, what } in self.parts() {
            writeln!(f, "# {:>9} MiB  {what}", mib(bytes))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        for total in [64, 100, 256, 1024, 65_536].map(|mib| mib * MIB) {
            for (sent_requests, connections, endpoints) in
                [(0, 0, 0), (1, MIB, 1), (50, 96 * MIB, 1), (5000, usize::MAX, 100)]
            {
                let split = Split::written(total, Claims { sent_requests, connections, endpoints })
                    .unwrap();
                let sum: usize = split.parts().iter().map(|part| part.bytes).sum();
                assert_eq!(sum, total);
                assert!(split.series > total / 16, "{split}");
                assert!(split.sending >= (endpoints * SENT_REQUEST).min(total / 4), "{split}");
                assert!(split.sent_requests() >= 1);
            }
        }
    }

    #[test]
    fn too_little_is_refused_where_it_is_written() {
        let claims = Claims { sent_requests: 50, connections: 96 * MIB, endpoints: 1 };
        let error = Split::written(10 * MIB, claims).unwrap_err();
        assert_eq!(error.to_string(), "found 10485760 bytes, expected at least 64MiB");
        assert_eq!(Split::found(10 * MIB, claims).total, 64 * MIB);
    }
}
