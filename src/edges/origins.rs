//! Origins of sides, each kept once, and the services that they belong to.
//!
//! A service's share of the store decides who gives way when it is full.

use std::cmp::Reverse;

use ahash::RandomState;
use hashbrown::HashTable;

use crate::batch::Origin;
use crate::batch::encoding::{put_bytes, put_number};

#[derive(Debug)]
pub(super) struct Origins {
    hasher: RandomState,
    index: HashTable<u32>,
    entries: Vec<Entry>,
    /// Ids that have ended; the last one is used next.
    free: Vec<u32>,
    /// Ids that nobody referred to at some time since the last sweep.
    unused: Vec<u32>,
    service_index: HashTable<u32>,
    services: Vec<Service>,
    free_services: Vec<u32>,
    /// Bytes of all origins, and of the names of their services.
    text_len: usize,
}

/// What an origin takes besides its bytes, with its places in the lists while they grow.
const ORIGIN_BYTES: usize = 2 * size_of::<Entry>() + 48;
/// What a service takes besides its name.
const SERVICE_BYTES: usize = 2 * size_of::<Service>() + 32;

#[derive(Debug, Default)]
struct Entry {
    /// `None` while the id is free.
    bytes: Option<Box<[u8]>>,
    hash: u64,
    service: u32,
    n_sides: u32,
}

#[derive(Debug, Default)]
pub(super) struct Service {
    name: Box<str>,
    hash: u64,
    n_origins: u32,
    /// Entries of the store.
    pub(super) n_sides: usize,
    /// No entry of the service is before this place of the queue.
    pub(super) oldest: u64,
}

impl Origins {
    pub(super) fn new(hasher: RandomState) -> Self {
        Self {
            hasher,
            index: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            unused: Vec::new(),
            service_index: HashTable::new(),
            services: Vec::new(),
            free_services: Vec::new(),
            text_len: 0,
        }
    }

    /// What is held.
    pub(super) fn held_bytes(&self) -> usize {
        let (n_origins, n_services) = (self.entries.len(), self.services.len());
        n_origins * ORIGIN_BYTES + n_services * SERVICE_BYTES + self.text_len
    }

    pub(super) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(bytes);
        let same = |&id: &u32| self.entries[id as usize].bytes.as_deref() == Some(bytes);
        self.index.find(hash, same).copied()
    }

    /// The id that the next birth takes.
    pub(super) fn next_id(&self) -> u32 {
        let unused = || u32::try_from(self.entries.len()).expect("fewer than 2^32 origins");
        self.free.last().copied().unwrap_or_else(unused)
    }

    pub(super) fn get(&self, id: u32) -> Origin<'_> {
        Origin::read(self.entries[id as usize].bytes.as_deref().unwrap_or_default())
    }

    pub(super) fn birth(&mut self, id: u32, bytes: &[u8]) {
        assert_eq!(id, self.next_id(), "a birth takes the id that was decided");
        if self.free.pop().is_none() {
            self.entries.push(Entry::default());
        }
        let hash = self.hasher.hash_one(bytes);
        let service = self.service_of(Origin::read(bytes).service);
        self.services[service as usize].n_origins += 1;
        self.text_len += bytes.len();
        let entry = Entry { bytes: Some(bytes.into()), hash, service, n_sides: 0 };
        self.entries[id as usize] = entry;
        let entries = &self.entries;
        self.index.insert_unique(hash, id, |&i| entries[i as usize].hash);
        self.unused.push(id);
    }

    /// Forgets the origins that nobody refers to.
    pub(super) fn sweep(&mut self) {
        for id in std::mem::take(&mut self.unused) {
            // The last one that ended took all entries with it.
            let entry = self.entries.get(id as usize);
            if entry.is_some_and(|entry| entry.bytes.is_some() && entry.n_sides == 0) {
                self.end(id);
            }
        }
    }

    pub(super) fn n_unused(&self) -> usize {
        self.unused.len()
    }

    /// A side of this origin has entered the store. Answers its service.
    pub(super) fn hold(&mut self, id: u32) -> u32 {
        let entry = &mut self.entries[id as usize];
        entry.n_sides += 1;
        self.services[entry.service as usize].n_sides += 1;
        entry.service
    }

    /// It has left. Answers its service.
    pub(super) fn release(&mut self, id: u32) -> u32 {
        let entry = &mut self.entries[id as usize];
        entry.n_sides -= 1;
        if entry.n_sides == 0 {
            self.unused.push(id);
        }
        self.services[entry.service as usize].n_sides -= 1;
        entry.service
    }

    pub(super) fn service_id(&self, id: u32) -> u32 {
        self.entries[id as usize].service
    }

    /// The service with the most entries of the store, of several the first.
    pub(super) fn largest_service(&self) -> Option<u32> {
        let sides = (0..).zip(&self.services).map(|(id, service)| (service.n_sides, Reverse(id)));
        sides.max().map(|(_, Reverse(id))| id)
    }

    pub(super) fn service(&self, service: u32) -> &Service {
        &self.services[service as usize]
    }

    pub(super) fn set_oldest(&mut self, service: u32, number: u64) {
        self.services[service as usize].oldest = number;
    }

    /// The places of the queue have new numbers.
    pub(super) fn forget_oldest(&mut self) {
        self.services.iter_mut().for_each(|service| service.oldest = 0);
    }

    fn end(&mut self, id: u32) {
        let Entry { bytes, hash, service, .. } = std::mem::take(&mut self.entries[id as usize]);
        self.text_len -= bytes.map_or(0, |bytes| bytes.len());
        let found = self.index.find_entry(hash, |&i| i == id);
        found.expect("an origin that ends is in the index").remove();
        self.free.push(id);
        if self.index.is_empty() {
            (self.entries, self.free) = (Vec::new(), Vec::new());
            self.unused = Vec::new();
        }
        let of = &mut self.services[service as usize];
        of.n_origins -= 1;
        if of.n_origins == 0 {
            let found = self.service_index.find_entry(of.hash, |&i| i == service);
            found.expect("a service that ends is in the index").remove();
            self.text_len -= of.name.len();
            *of = Service::default();
            self.free_services.push(service);
        }
        if self.service_index.is_empty() {
            (self.services, self.free_services) = (Vec::new(), Vec::new());
        }
    }

    fn service_of(&mut self, name: &str) -> u32 {
        let hash = self.hasher.hash_one(name);
        let services = &self.services;
        let same = |&i: &u32| &*services[i as usize].name == name;
        if let Some(&service) = self.service_index.find(hash, same) {
            return service;
        }
        let service = self.free_services.pop().unwrap_or_else(|| {
            self.services.push(Service::default());
            u32::try_from(self.services.len() - 1).expect("fewer than 2^32 services")
        });
        self.text_len += name.len();
        self.services[service as usize] = Service { name: name.into(), hash, ..Service::default() };
        let services = &self.services;
        self.service_index.insert_unique(hash, service, |&i| services[i as usize].hash);
        service
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> super::store::Sizes {
        super::store::Sizes {
            origins: self.entries.len(),
            services: self.services.len(),
            live_origins: self.index.len(),
            live_services: self.service_index.len(),
            unused: self.unused.len(),
            ..super::store::Sizes::default()
        }
    }

    /// Everything but the indexes, which follow.
    pub(super) fn dump(&self, out: &mut Vec<u8>) {
        put_number(out, self.entries.len() as u128);
        for entry in &self.entries {
            put_bytes(out, entry.bytes.as_deref().unwrap_or_default());
            put_number(out, entry.service.into());
            put_number(out, entry.n_sides.into());
        }
        for service in &self.services {
            put_bytes(out, service.name.as_bytes());
            put_number(out, service.n_sides as u128);
            put_number(out, service.oldest.into());
        }
        for ids in [&self.free, &self.unused, &self.free_services] {
            put_number(out, ids.len() as u128);
            ids.iter().for_each(|&id| put_number(out, id.into()));
        }
    }
}
