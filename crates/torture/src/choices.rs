//! Bytes read as choices.

/// Bytes that say what is done. When they are used up, every choice is the first one, and [`is_over`](Self::is_over).
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    /// The choices that `bytes` are.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether there are no more.
    pub const fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// Any 16 bits.
    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A number below `bound`, which is at most 65,536.
    pub fn below(&mut self, bound: usize) -> usize {
        let drawn = if bound <= 256 { usize::from(self.byte()) } else { usize::from(self.word()) };
        drawn % bound.max(1)
    }

    /// One time in `of`.
    pub fn rarely(&mut self, of: usize) -> bool {
        self.below(of) == of - 1
    }

    /// One of several.
    ///
    /// # Panics
    /// If there are none.
    pub fn one_of<'b, T>(&mut self, all: &'b [T]) -> &'b T {
        &all[self.below(all.len())]
    }

    /// The next bytes, at most `most`.
    pub fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(self.rest.len().min(most));
        self.rest = rest;
        bytes
    }

    /// A few bytes of a packet become others, or it is cut.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            if !bytes.is_empty() {
                let at = self.below(bytes.len().min(80));
                bytes[at] = self.byte();
            }
        }
        if self.rarely(8) {
            bytes.truncate(self.below(bytes.len().min(200) + 1));
        }
    }
}
