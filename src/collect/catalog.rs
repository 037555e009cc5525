//! What is known of each label set that lives: its block, and since when it is there.
//!
//! The catalog learns labels at birth and forgets them at death; nothing of the state is shared.

use std::sync::Arc;

use super::block::Block;
use super::families::SeriesSpec;
use super::reload::Renewal;
use super::settings::Settings;
use crate::ledger::{Event, Labels, Last, Snapshot, Table};
use crate::series::Values;
use crate::tenant::TenantId;

/// Places that are not worth the trouble.
const SPARE_PLACES: usize = 1024;

/// One tenant's label sets, slot by slot.
#[derive(Debug)]
pub struct Catalog {
    pub(super) tenant: TenantId,
    pub(super) settings: Arc<Settings>,
    pub(super) common: Vec<(String, String)>,
    pub(super) specs: Arc<Specs>,
    pub(super) entries: [Vec<Option<Entry>>; Table::ALL.len()],
    pub(super) newest: Option<Arc<Snapshot>>,
}

/// The series of every label set of each table.
pub type Specs = [Arc<[SeriesSpec]>; Table::ALL.len()];

#[derive(Debug, Clone)]
pub struct Entry {
    pub block: Arc<Block>,
    /// The tick that first had it.
    pub created_ms: i64,
}

/// One tick, ready to be sent: the values, and what has changed since the tick before.
#[derive(Debug, Clone)]
pub struct Collected {
    pub snapshot: Arc<Snapshot>,
    pub changes: Arc<[Change]>,
    pub specs: Arc<Specs>,
    pub settings: Arc<Settings>,
}

#[derive(Debug, Clone)]
pub enum Change {
    Birth {
        table: Table,
        slot: u32,
        block: Arc<Block>,
        specs: Arc<[SeriesSpec]>,
    },
    /// Other series of a label set that lives.
    Renewal {
        table: Table,
        slot: u32,
        renewal: Arc<Renewal>,
    },
    Death {
        table: Table,
        slot: u32,
        specs: Arc<[SeriesSpec]>,
        /// The totals at the end.
        last: LastTotals,
        /// The tick that had them last, and the tick that found the end.
        last_ms: i64,
        end_ms: i64,
    },
}

/// The totals of a label set as they were at their end.
#[derive(Debug, Clone)]
pub enum LastTotals {
    /// In values of their own.
    Own(Arc<Last>),
    /// In those of the table as they were at a renewal, in this slot.
    OfTable(Arc<Renewal>, u32),
}

impl LastTotals {
    /// The values, and the slot in them.
    pub fn place(&self) -> (&Values, u32) {
        match self {
            Self::Own(last) => (last, 0),
            Self::OfTable(renewal, slot) => (&renewal.last, *slot),
        }
    }
}

impl Catalog {
    /// What series there are, and under which names, each tick says.
    pub fn new(settings: &Settings, tenant: &TenantId) -> Self {
        Self {
            tenant: tenant.clone(),
            settings: Arc::new(settings.clone()),
            common: Vec::new(),
            specs: Arc::default(),
            entries: Default::default(),
            newest: None,
        }
    }

    /// Takes other settings, for the ticks from here on.
    pub fn follow(&mut self, settings: &Settings) {
        self.settings = Arc::new(settings.clone());
    }

    /// Takes a snapshot in, in the order of the ticks.
    pub fn collect(&mut self, mut snapshot: Snapshot) -> Collected {
        let (last_ms, end_ms) = (snapshot.previous_ms, snapshot.at_ms);
        let events = std::mem::take(&mut snapshot.events);
        let mut changes = self.renew(&snapshot, &events);
        changes.extend(events.into_iter().filter_map(|event| self.change(event, last_ms, end_ms)));
        self.entries.iter_mut().for_each(shorten);
        let snapshot = Arc::new(snapshot);
        self.newest = Some(Arc::clone(&snapshot));
        let (specs, settings) = (Arc::clone(&self.specs), Arc::clone(&self.settings));
        Collected { snapshot, changes: changes.into(), specs, settings }
    }

    /// The newest tick with its label sets, for whoever wants to show it.
    pub fn view(&self) -> Option<View> {
        let snapshot = Arc::clone(self.newest.as_ref()?);
        let (specs, settings) = (Arc::clone(&self.specs), Arc::clone(&self.settings));
        let common = self.common.clone();
        Some(View { snapshot, specs, settings, common, entries: self.entries.clone() })
    }

    /// `None` where it has been told already.
    fn change(&mut self, event: Event, last_ms: i64, end_ms: i64) -> Option<Change> {
        let specs = |table| Arc::clone(&self.specs[table as usize]);
        match event {
            Event::Birth { table, slot, labels } => {
                let block = Arc::new(Block::new(Labels::new(&labels), &self.common));
                let entry = Entry { block: Arc::clone(&block), created_ms: end_ms };
                let entries = &mut self.entries[table as usize];
                if entries.len() <= slot as usize {
                    entries.resize(slot as usize + 1, None);
                }
                entries[slot as usize] = Some(entry);
                Some(Change::Birth { table, slot, block, specs: specs(table) })
            }
            Event::Death { table, slot, last } => {
                self.entries[table as usize].get_mut(slot as usize)?.take()?;
                let (specs, last) = (specs(table), LastTotals::Own(last));
                Some(Change::Death { table, slot, specs, last, last_ms, end_ms })
            }
            Event::Restart { .. } => None,
        }
    }
}

/// What a slot takes while the list of them grows, and with one who reads a tick,
pub const SLOT_BYTES: usize = 3 * size_of::<Option<Entry>>();
/// and a label set: its block, and that it is new.
pub const SET_BYTES: usize = size_of::<Block>() + size_of::<Change>() + 3 * 16;

/// A tick that can be read while the next ones are taken.
#[derive(Debug)]
pub struct View {
    pub snapshot: Arc<Snapshot>,
    pub specs: Arc<Specs>,
    pub settings: Arc<Settings>,
    /// Labels that every series has.
    pub common: Vec<(String, String)>,
    pub entries: [Vec<Option<Entry>>; Table::ALL.len()],
}

/// Gives up places at the end in which nobody is.
fn shorten(entries: &mut Vec<Option<Entry>>) {
    let len = entries.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    entries.truncate(len);
    if entries.capacity() > 2 * len + SPARE_PLACES {
        entries.shrink_to(len);
    }
}
