//! The answers that were published last, readable without contention.
//!
//! Each reader keeps its own reference and compares one number per batch; the lock is taken only when that has changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pinhole_dns::answers::Answers;

/// Where answers are published.
#[derive(Debug)]
pub(super) struct Published {
    version: AtomicU64,
    answers: Mutex<Arc<Answers>>,
}

impl Published {
    pub(super) fn new(answers: Arc<Answers>) -> Self {
        Self { version: AtomicU64::new(0), answers: Mutex::new(answers) }
    }

    /// Puts `answers` in the place of those before.
    pub(super) fn publish(&self, answers: Arc<Answers>) {
        // What is left in a poisoned lock is a whole reference all the same.
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers;
        self.version.fetch_add(1, Ordering::Release);
    }

    pub(super) fn reader(self: &Arc<Self>) -> Reader {
        Reader { version: self.version.load(Ordering::Acquire), answers: self.load(), published: Arc::clone(self) }
    }

    fn load(&self) -> Arc<Answers> {
        Arc::clone(&self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One reader's reference.
#[derive(Debug)]
pub(super) struct Reader {
    published: Arc<Published>,
    version: u64,
    answers: Arc<Answers>,
}

impl Reader {
    /// The answers as of now.
    pub(super) fn current(&mut self) -> &Answers {
        let version = self.published.version.load(Ordering::Acquire);
        if version != self.version {
            // In this order: what is loaded is at least as new as the version says.
            self.version = version;
            self.answers = self.published.load();
        }
        &self.answers
    }
}
