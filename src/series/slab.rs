//! Rows of equal length in chunks that never move: growing copies nothing, a snapshot is a memcpy.

/// Rows in one chunk.
const CHUNK_ROWS: usize = 1024;

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slab<T> {
    width: usize,
    chunks: Vec<Box<[T]>>,
}

impl<T: Copy + Default> Slab<T> {
    pub fn new(width: usize) -> Self {
        Self { width, chunks: Vec::new() }
    }

    /// Makes room for the row.
    pub fn grow(&mut self, row: usize) {
        while self.width > 0 && self.chunks.len() * CHUNK_ROWS <= row {
            self.chunks.push(vec![T::default(); self.width * CHUNK_ROWS].into_boxed_slice());
        }
    }

    /// Empty where the slab has no such row.
    pub fn row(&self, row: usize) -> &[T] {
        let start = row % CHUNK_ROWS * self.width;
        let chunk = self.chunks.get(row / CHUNK_ROWS);
        chunk.map_or(&[], |chunk| &chunk[start..start + self.width])
    }

    pub fn row_mut(&mut self, row: usize) -> &mut [T] {
        let start = row % CHUNK_ROWS * self.width;
        &mut self.chunks[row / CHUNK_ROWS][start..start + self.width]
    }

    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
