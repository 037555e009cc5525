//! Waiting for a condition: with a deadline, and with what was seen when it passes.

use std::time::Duration;

use tokio::time::Instant;

/// Between two looks at something that can't tell us that it has changed.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks until there is an answer; `Err` says what was seen instead.
pub(crate) async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() >= deadline => {
                panic!("waited {within:?} for {what}; at last: {seen}")
            }
            Err(_) => tokio::time::sleep(BETWEEN_LOOKS).await,
        }
    }
}
