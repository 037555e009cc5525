//! Tenant ids: validated once, at the edge, and carried as a cheap clone from there on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The tenant of everything while multi-tenancy is off.
const SINGLE: &str = "single-tenant";

/// Header and metadata key that names the tenant.
pub const TENANT_HEADER: &str = "x-scope-orgid";

/// A tenant id that passed [`TenantId::parse`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTenant {
    #[error(
        "tenant id is empty, expected 1 to {} characters in the {TENANT_HEADER} header",
        TenantId::LEN_MAX
    )]
    Empty,
    #[error("tenant id is {len} bytes long, expected at most {}", TenantId::LEN_MAX)]
    TooLong { len: usize },
    #[error("tenant id must not be `.` or `..`")]
    Dots,
    #[error("tenant id has the character {found:?}, expected letters, digits and !-_.*'()")]
    Character { found: char },
}

/// A value for each tenant: one of its own, or the one of everybody else.
#[derive(Debug, Clone, PartialEq)]
pub struct ByTenant<T> {
    pub everyone: Arc<T>,
    pub named: BTreeMap<TenantId, Arc<T>>,
}

impl<T> ByTenant<T> {
    /// The same value for all.
    pub fn same(value: T) -> Self {
        Self { everyone: Arc::new(value), named: BTreeMap::new() }
    }

    pub fn of(&self, tenant: &TenantId) -> &Arc<T> {
        self.named.get(tenant).unwrap_or(&self.everyone)
    }

    /// What each value leads to.
    pub fn map<U>(&self, mut to: impl FnMut(&T) -> Arc<U>) -> ByTenant<U> {
        ByTenant {
            everyone: to(&self.everyone),
            named: self.named.iter().map(|(id, value)| (id.clone(), to(value))).collect(),
        }
    }
}

impl TenantId {
    /// Bytes.
    pub const LEN_MAX: usize = 150;

    pub fn single() -> Self {
        Self(SINGLE.into())
    }

    /// The rules of Tempo's and Mimir's tenant ids (reference/reliability.md 5.2).
    pub fn parse(text: &str) -> Result<Self, InvalidTenant> {
        if text.is_empty() {
            return Err(InvalidTenant::Empty);
        }
        if text.len() > Self::LEN_MAX {
            return Err(InvalidTenant::TooLong { len: text.len() });
        }
        if text == "." || text == ".." {
            return Err(InvalidTenant::Dots);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        match text.chars().find(|&c| !allowed(c)) {
            Some(found) => Err(InvalidTenant::Character { found }),
            None => Ok(Self(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_field_are_accepted() {
        for id in ["team-a", "1", "a.b", "x!*'()_", &"a".repeat(150)] {
            assert_eq!(TenantId::parse(id).map(|t| t.to_string()), Ok(id.to_owned()));
        }
    }

    #[test]
    fn paths_separators_and_long_ids_are_refused() {
        let long = "a".repeat(151);
        let cases: [(&str, InvalidTenant); 6] = [
            ("", InvalidTenant::Empty),
            (".", InvalidTenant::Dots),
            ("..", InvalidTenant::Dots),
            ("../x", InvalidTenant::Character { found: '/' }),
            ("a|b", InvalidTenant::Character { found: '|' }),
            (&long, InvalidTenant::TooLong { len: 151 }),
        ];
        for (id, expected) in cases {
            assert_eq!(TenantId::parse(id), Err(expected), "{id:?}");
        }
    }
}
