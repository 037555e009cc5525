//! What the admin server needs to know of the configuration.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `host:port`; `None` = off.
    pub endpoint: Option<String>,
}
