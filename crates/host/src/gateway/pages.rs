//! Large pages for the engine's tables. Every packet meets them at another place, so that with pages of 4 KiB the processor
//! looks most addresses up anew. The kernel gives 2 MiB pages where it can to memory for which they were asked, and gathers
//! small ones into large ones later.

use std::ops::Range;

/// The memory for which large pages were asked.
#[derive(Debug, Default)]
pub(super) struct Pages {
    asked: Vec<Range<usize>>,
}

/// How long a large page is, in bytes (x86-64, and aarch64 with pages of 4 KiB).
const LARGE: usize = 2 << 20;

impl Pages {
    /// Asks for large pages for this memory, as far as it was not asked before. That the kernel has none changes nothing but
    /// speed.
    pub(super) fn ask(&mut self, memory: impl Iterator<Item = Range<*const u8>>) {
        let whole: Vec<_> = memory.map(within).filter(|pages| !pages.is_empty()).collect();
        for pages in whole.iter().filter(|pages| !self.asked.contains(pages)) {
            // SAFETY: the advice changes neither what the memory holds nor who may use it, whoever it belongs to by now.
            unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), libc::MADV_HUGEPAGE) };
        }
        self.asked = whole;
    }
}

/// The addresses of the large pages that fit in.
fn within(memory: Range<*const u8>) -> Range<usize> {
    memory.start.addr().next_multiple_of(LARGE)..memory.end.addr() / LARGE * LARGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_pages_are_asked_for_once_and_only_where_they_fit_in() {
        let memory = vec![1_u8; 5 * LARGE];
        let mut pages = Pages::default();
        pages.ask([memory.as_ptr_range(), memory[..LARGE / 2].as_ptr_range()].into_iter());
        let asked = pages.asked.clone();
        assert_eq!(asked.len(), 1, "half a page is none");
        let [start, end] = [memory.as_ptr_range().start, memory.as_ptr_range().end].map(<*const u8>::addr);
        assert!(asked[0].len() >= 4 * LARGE && start <= asked[0].start && asked[0].end <= end);
        pages.ask([memory.as_ptr_range()].into_iter());
        assert!(pages.asked == asked && memory.iter().all(|&byte| byte == 1), "nothing else has changed");
    }
}
