//! The script: what goes wrong when, in a loop of six minutes of its own time.

use std::time::Duration;

/// A part of the script.
#[derive(Debug, PartialEq)]
pub struct Scene {
    /// Since the start of the loop.
    pub from: Duration,
    pub now: &'static str,
    pub look: &'static str,
    pub conditions: Conditions,
}

/// How the shop is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Share of requests that the canary serves.
    pub canary: f64,
    /// Share of payments that fail, besides those that always do.
    pub payment_errors: f64,
    pub cache_is_down: bool,
    pub readers_lag: bool,
    pub ids_in_names: bool,
}

pub(super) const LOOP: Duration = Duration::from_mins(6);

const CALM: Conditions = Conditions {
    canary: 0.02,
    payment_errors: 0.0,
    cache_is_down: false,
    readers_lag: false,
    ids_in_names: false,
};

pub(super) static SCENES: [Scene; 7] = [
    Scene {
        from: Duration::ZERO,
        now: "all is calm",
        look: "any row: rate, errors, duration",
        conditions: CALM,
    },
    Scene {
        from: Duration::from_mins(1),
        now: "checkout 2.0.0 rolls out, and is slow",
        look: "p95 of checkout; by service_version",
        conditions: Conditions { canary: 0.6, ..CALM },
    },
    Scene {
        from: Duration::from_mins(2),
        now: "a quarter of the payments fails",
        look: "errors of payment and checkout; edge checkout -> payment",
        conditions: Conditions { payment_errors: 0.25, ..CALM },
    },
    Scene {
        from: Duration::from_mins(3),
        now: "the cache is down",
        look: "edges catalog -> valkey and catalog -> catalog-db; p95 of catalog",
        conditions: Conditions { cache_is_down: true, ..CALM },
    },
    Scene {
        from: Duration::from_mins(4),
        now: "the readers of orders lag",
        look: "traces_service_graph_request_messaging_system_seconds",
        conditions: Conditions { readers_lag: true, ..CALM },
    },
    Scene {
        from: Duration::from_secs(280),
        now: "catalog puts ids into span names",
        look: "series used: they stay, names become GET /products/<_>",
        conditions: Conditions { ids_in_names: true, ..CALM },
    },
    Scene {
        from: Duration::from_secs(320),
        now: "recovery",
        look: "errors and p95 go back to where they were",
        conditions: CALM,
    },
];

/// What plays at this time of the script.
pub fn scene(at: Duration) -> &'static Scene {
    let at = into_loop(at);
    let begun = SCENES.iter().rev().find(|scene| scene.from <= at);
    begun.unwrap_or(&SCENES[0])
}

/// How much traffic there is, around 1: it swells and ebbs once a loop.
pub(super) fn traffic(at: Duration) -> f64 {
    1.0 - 0.25 * (into_loop(at).div_duration_f64(LOOP) * std::f64::consts::TAU).cos()
}

pub fn into_loop(at: Duration) -> Duration {
    Duration::from_secs_f64(at.as_secs_f64() % LOOP.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenes_follow_each_other_and_begin_anew() {
        let now = |s| scene(Duration::from_secs(s)).now;
        assert!(SCENES.is_sorted_by(|a, b| a.from < b.from));
        assert_eq!([now(0), now(59)], [SCENES[0].now; 2]);
        assert_eq!([now(60), now(119)], [SCENES[1].now; 2]);
        assert_eq!([now(279), now(280), now(320)], [4, 5, 6].map(|i| SCENES[i].now));
        assert_eq!([now(359), now(360), now(420)], [6, 0, 1].map(|i| SCENES[i].now));
    }

    #[test]
    fn traffic_swells_and_ebbs_around_one() {
        let at = |s| traffic(Duration::from_secs(s));
        let mean = (0..360).map(at).sum::<f64>() / 360.0;
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        assert!(at(0) < 0.76 && at(180) > 1.24 && (at(0) - at(360)).abs() < 1e-9);
    }
}
