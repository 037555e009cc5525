//! When a tenant's ticks are: at its interval, and not in step with other tenants' ticks.

use std::time::Duration;

use crate::tenant::TenantId;

/// How long after its first data a tenant's first tick is: somewhere within the interval, always at
/// the same place for the same id.
pub fn first_tick_after(tenant: &TenantId, interval: Duration) -> Duration {
    // FNV-1a: spreads ids, and is the same on every machine.
    let hash = tenant.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Never at once: the first data is counted by then.
    let permille = u32::try_from(hash % 1000).unwrap_or_default() + 1;
    interval * permille / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_tenants_are_spread_over_the_interval() {
        let interval = Duration::from_secs(15);
        let of = |id: &str| first_tick_after(&TenantId::parse(id).expect("valid"), interval);
        let all: std::collections::BTreeSet<_> =
            (0..100).map(|n| of(&format!("team-{n}"))).collect();
        assert!(all.len() > 80, "{}", all.len());
        assert!(all.iter().all(|after| !after.is_zero() && *after <= interval));
    }
}
