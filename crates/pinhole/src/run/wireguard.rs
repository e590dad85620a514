//! A WireGuard device as a role of `pinhole up`.

use anyhow::{Context, Result, bail};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::cmd::wg::interface::{File, Interface};

/// Brings a device up, and down again when `stop` says so.
///
/// # Errors
/// What `pinhole wg up` would say; that the device has ended by itself.
pub async fn run(
    file: File,
    userspace: bool,
    ready: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    // The interface belongs to this thread's network namespace, which the threads that block share.
    let mut interface =
        spawn_blocking(move || Interface::up(&file, userspace)).await.context("bringing it up failed")??;
    let _ = ready.send(true);
    let ended = tokio::select! {
        _ = stop.wait_for(|&stop| stop) => false,
        () = interface.ended() => true,
    };
    let name = interface.name().to_owned();
    spawn_blocking(move || interface.down()).await.context("taking it down failed")??;
    if ended {
        bail!("the device {name} has ended");
    }
    Ok(())
}
