//! One atomic append: offsets are handed out here, and become visible when the batch is synced.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{BufMut as _, Bytes, BytesMut};
use fjall::{Keyspace, PersistMode};

use super::opened::{Opened, TableLog};
use crate::log::LogError;

pub(super) struct Append<'a> {
    opened: &'a Opened,
    batch: fjall::OwnedWriteBatch,
    ends: Vec<(Arc<TableLog>, u16, u64)>,
}

impl<'a> Append<'a> {
    pub(super) fn new(opened: &'a Opened) -> Append<'a> {
        let batch = opened.db.batch().durability(Some(PersistMode::SyncData));
        Append { opened, batch, ends: Vec::new() }
    }

    pub(super) fn record(&mut self, table: &Arc<TableLog>, partition: u16, key: Option<&[u8]>, value: &[u8]) {
        let log = &table.partitions[usize::from(partition)];
        let known = self.ends.iter_mut().find(|(known, at, _)| Arc::ptr_eq(known, table) && *at == partition);
        let offset = match known {
            Some((_, _, end)) => {
                *end += 1;
                *end - 1
            }
            None => {
                let end = log.end.load(Ordering::Acquire);
                self.ends.push((table.clone(), partition, end + 1));
                end
            }
        };
        self.batch.insert(&log.records, offset.to_be_bytes(), join(key, value));
    }

    pub(super) fn put(&mut self, space: &Keyspace, key: String, value: Vec<u8>) {
        self.batch.insert(space, key, value);
    }

    pub(super) fn remove(&mut self, space: &Keyspace, key: String) {
        self.batch.remove(space, key);
    }

    /// What was appended can be read when this answers.
    pub(super) fn publish(self) -> Result<(), LogError> {
        self.batch.commit().map_err(|error| self.opened.failed(error))?;
        for (table, partition, end) in &self.ends {
            table.partitions[usize::from(*partition)].end.store(*end, Ordering::Release);
        }
        Ok(())
    }
}

/// A record as stored: the key's length or `u32::MAX` for none, the key, the value.
fn join(key: Option<&[u8]>, value: &[u8]) -> Bytes {
    let mut stored = BytesMut::with_capacity(4 + key.map_or(0, <[u8]>::len) + value.len());
    stored.put_u32(key.map_or(u32::MAX, |key| key.len() as u32));
    stored.extend_from_slice(key.unwrap_or_default());
    stored.extend_from_slice(value);
    stored.freeze()
}

pub(super) fn split(stored: &Bytes) -> Option<(Option<Bytes>, Bytes)> {
    let length = u32::from_be_bytes(*stored.first_chunk::<4>()?);
    let rest = stored.slice(4..);
    match length {
        u32::MAX => Some((None, rest)),
        length if length as usize <= rest.len() => {
            Some((Some(rest.slice(..length as usize)), rest.slice(length as usize..)))
        }
        _ => None,
    }
}
