//! Rows of equal length in chunks that never move: growing copies nothing, a snapshot is a memcpy.

use std::ops::Range;

/// Rows in one chunk of a slab that grows.
/// Few, as a tenant with few label sets holds one of each table.
pub const CHUNK_ROWS: usize = 128;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slab<T> {
    width: usize,
    /// Rows in one chunk.
    chunk_rows: usize,
    chunks: Vec<Box<[T]>>,
}

impl<T: Copy + Default> Slab<T> {
    pub fn new(width: usize) -> Self {
        Self { width, chunk_rows: CHUNK_ROWS, chunks: Vec::new() }
    }

    /// A slab of one row that will not grow; an empty one is a slab without rows.
    pub fn of_row(row: &[T]) -> Self {
        let chunks = if row.is_empty() { Vec::new() } else { vec![row.into()] };
        Self { width: row.len(), chunk_rows: 1, chunks }
    }

    /// Makes room for the row.
    pub fn grow(&mut self, row: usize) {
        while self.width > 0 && self.chunks.len() * self.chunk_rows <= row {
            self.chunks.push(vec![T::default(); self.width * self.chunk_rows].into_boxed_slice());
        }
    }

    /// Gives up the chunks that hold none of the first `rows` rows.
    pub fn shrink(&mut self, rows: usize) {
        self.chunks.truncate(rows.div_ceil(self.chunk_rows.max(1)));
    }

    /// Empty where the slab has no such row.
    pub fn row(&self, row: usize) -> &[T] {
        if self.chunks.is_empty() {
            return &[];
        }
        let start = row % self.chunk_rows * self.width;
        let chunk = self.chunks.get(row / self.chunk_rows);
        chunk.map_or(&[], |chunk| &chunk[start..start + self.width])
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        let start = row % self.chunk_rows * self.width;
        &mut self.chunks[row / self.chunk_rows][start..start + self.width]
    }

    /// As many rows of another width; these parts of them are as they are here, the others empty.
    #[must_use]
    pub fn relaid(&self, width: usize, kept: &[Range<usize>]) -> Self {
        let mut relaid = Self::new(width);
        let n_rows = self.chunks.len() * self.chunk_rows;
        for row in 0..n_rows {
            relaid.grow(row);
            for part in kept {
                relaid.row_mut(row)[part.clone()].copy_from_slice(&self.row(row)[part.clone()]);
            }
        }
        relaid
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub fn n_chunks(&self) -> usize {
        self.chunks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slab_of_one_row_holds_no_more_than_that() {
        let slab = Slab::of_row(&[1, 2, 3]);
        assert_eq!(slab.row(0), [1, 2, 3]);
        assert_eq!(slab.row(1), [0; 0]);
        assert_eq!(slab.chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), 3);
        assert_eq!(Slab::<u64>::of_row(&[]).row(0), [0; 0]);
    }

    #[test]
    fn rows_of_another_width_keep_the_parts_that_are_told() {
        let mut slab = Slab::new(3);
        slab.grow(1500);
        slab.row_mut(1500).copy_from_slice(&[1, 2, 3]);
        let relaid = slab.relaid(5, &[0..1, 2..3]);
        assert_eq!(relaid.row(1500), [1, 0, 3, 0, 0]);
        assert_eq!(relaid.row(1535), [0; 5]);
        assert!(Slab::<u64>::new(3).relaid(5, &[]).is_empty());
    }

    #[test]
    fn rows_keep_their_values_while_the_slab_grows() {
        let mut slab = Slab::new(3);
        slab.grow(0);
        slab.row_mut(0).copy_from_slice(&[1, 2, 3]);
        slab.grow(5000);
        slab.row_mut(5000).copy_from_slice(&[4, 5, 6]);
        assert_eq!(slab.row(0), [1, 2, 3]);
        assert_eq!(slab.row(5000), [4, 5, 6]);
        assert_eq!(slab.row(4999), [0, 0, 0]);
        assert_eq!(slab.row(1_000_000), [0; 0]);
    }
}
