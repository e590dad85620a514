//! Numbered places for things of one size, in chunks that never move.
//!
//! A vector that doubles would hold twice the memory just after it grew, and copy everything to do so.

/// Things of a chunk.
const CHUNK: usize = 1_024;

/// The number of nothing.
pub(super) const NONE: u32 = u32::MAX;

/// The things, by number.
#[derive(Clone, Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Vec<T>>,
    free: Vec<u32>,
    used: u32,
}

impl<T: Copy> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), used: 0 }
    }

    /// Keeps `thing`, and says under which number.
    pub(super) fn insert(&mut self, thing: T) -> u32 {
        self.used += 1;
        if let Some(id) = self.free.pop() {
            *self.get_mut(id) = thing;
            return id;
        }
        let last = self.chunks.len().wrapping_sub(1);
        match self.chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => {
                chunk.push(thing);
                (last * CHUNK + chunk.len() - 1) as u32
            }
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(thing);
                self.chunks.push(chunk);
                ((self.chunks.len() - 1) * CHUNK) as u32
            }
        }
    }

    /// Gives the number back. What is under it stays readable until it is given out again.
    pub(super) fn remove(&mut self, id: u32) {
        self.used -= 1;
        self.free.push(id);
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> &T {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub(super) fn len(&self) -> u32 {
        self.used
    }

    /// Bytes that are held.
    pub(super) fn memory(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Vec::capacity).sum();
        chunks * size_of::<T>() + self.chunks.capacity() * size_of::<Vec<T>>() + self.free.capacity() * size_of::<u32>()
    }
}
