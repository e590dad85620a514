//! Ctrl-C and its like, for commands that have something to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Calls `act` once, on a thread of its own, when SIGINT, SIGTERM or SIGHUP comes. None is missed once this returns.
///
/// # Errors
/// If the system gives no thread, or nothing to wait with.
pub(super) fn on_signal(act: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    drop(inside);
    let wait = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        act();
    };
    std::thread::Builder::new().spawn(wait).map(drop)
}
