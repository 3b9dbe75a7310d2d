//! One entry of a bulk file.

use super::Bulk;
use crate::encoding::row;
use crate::error::{Error, Result, SqlState};
use crate::storage::run::RunEntry;
use bytes::{Buf, Bytes, BytesMut};

const HAS_VALUE: u8 = 1;
const IS_ROW: u8 = 2;
const IS_MESSAGE: u8 = 4;
const NONE: u32 = u32::MAX;

/// What a writer says of an entry.
#[derive(Clone, Copy, Debug)]
pub struct BulkPayload<'a> {
    /// The value; none removes the key.
    pub value: Option<&'a [u8]>,
    /// Whether the value is a row, which gets the commit's sequence.
    pub row: bool,
    /// Where a topic message has its offset.
    pub offset_at: Option<u32>,
    /// What readers of the commit want to know of it.
    pub note: &'a [u8],
}

/// An entry as it is read.
#[derive(Clone, Debug)]
pub struct BulkEntry {
    /// Its key.
    pub key: Bytes,
    /// Its value; none where the key is removed.
    pub value: Option<Bytes>,
    /// What was noted for readers of the commit.
    pub note: Bytes,
}

impl BulkPayload<'_> {
    /// The payload as it is stored, for what is sorted first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.head(out);
        out.extend_from_slice(self.value.unwrap_or_default());
        out.extend_from_slice(self.note);
    }

    /// The head of the payload; value and note follow.
    pub(super) fn head(&self, out: &mut Vec<u8>) {
        out.clear();
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        out.push(
            flag(self.value.is_some(), HAS_VALUE) | flag(self.row, IS_ROW) | flag(self.offset_at.is_some(), IS_MESSAGE),
        );
        if let Some(offset_at) = self.offset_at {
            out.extend_from_slice(&offset_at.to_le_bytes());
        }
        let length = self.value.map_or(NONE, |value| value.len() as u32);
        out.extend_from_slice(&length.to_le_bytes());
    }
}

impl Bulk {
    /// An entry of the file as the store has it.
    pub(super) fn outer(&self, found: RunEntry) -> Result<BulkEntry> {
        let mut rest = found.payload;
        let damaged = || {
            let error = Error::new(SqlState::DATA_CORRUPTED, "an entry cannot be decoded");
            self.dir.located(self, error)
        };
        let (flags, offset_at, length) = head(&mut rest).ok_or_else(damaged)?;
        let value = match length {
            None => None,
            Some(length) if length <= rest.len() => Some(rest.split_to(length)),
            Some(_) => return Err(damaged()),
        };
        if flags & (IS_ROW | IS_MESSAGE) == 0 {
            return Ok(BulkEntry { key: found.key, value, note: rest });
        }
        let (key, offset) = self.outer_key(found.key);
        let value = value.map(|value| {
            let mut value = BytesMut::from(&*value);
            row::set_seq(&mut value, self.seq);
            if let (Some(offset), Some(at)) = (offset, offset_at)
                && let Some(place) = value.get_mut(at as usize..at as usize + 8)
            {
                place.copy_from_slice(&offset.to_le_bytes());
            }
            value.freeze()
        });
        Ok(BulkEntry { key, value, note: rest })
    }
}

/// Flags, the place of an offset, the value's length.
fn head(rest: &mut Bytes) -> Option<(u8, Option<u32>, Option<usize>)> {
    let flags = rest.try_get_u8().ok()?;
    let offset_at = if flags & IS_MESSAGE != 0 { Some(rest.try_get_u32_le().ok()?) } else { None };
    let length = rest.try_get_u32_le().ok()?;
    let has_value = flags & HAS_VALUE != 0;
    (has_value == (length != NONE)).then_some((flags, offset_at, has_value.then_some(length as usize)))
}
