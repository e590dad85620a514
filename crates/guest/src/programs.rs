//! Programs with the libraries they need.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cpio::Archive;

/// Puts the program at `outside` into the archive at `inside`, and each library the dynamic linker would load for it at the
/// path where it lies here.
pub(crate) fn add(archive: &mut Archive, outside: &Path, inside: &str) -> Result<(), String> {
    add_file(archive, outside, inside)?;
    // It fails for what is no program, and for one that needs no library.
    let listed = Command::new("ldd").arg(outside).output().map_err(|error| format!("ldd: {error}"))?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    for library in listed.lines().filter_map(library) {
        if !archive.contains(library) {
            add_file(archive, Path::new(library), library)?;
        }
    }
    Ok(())
}

/// Puts one file into the archive.
pub(crate) fn add_file(archive: &mut Archive, outside: &Path, inside: &str) -> Result<(), String> {
    let content = fs::read(outside).map_err(|error| format!("{}: {error}", outside.display()))?;
    archive.file(inside, &content);
    Ok(())
}

/// The path in a line of `ldd`: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, or `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn library(line: &str) -> Option<&str> {
    let path = line.split_once("=>").map_or(line, |(_, path)| path);
    let path = path.split_once('(').map_or(path, |(path, _)| path).trim();
    path.starts_with('/').then_some(path)
}

#[cfg(test)]
mod tests {
    use super::library;

    #[test]
    fn paths_are_found_in_what_ldd_says() {
        for (line, path) in [
            ("\tlinux-vdso.so.1 (0x00007ffd)", None),
            ("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)", Some("/lib/x86_64-linux-gnu/libc.so.6")),
            ("\t/lib64/ld-linux-x86-64.so.2 (0x00007f)", Some("/lib64/ld-linux-x86-64.so.2")),
            ("\tlibnone.so => not found", None),
            ("\tstatically linked", None),
        ] {
            assert_eq!(library(line), path, "{line:?}");
        }
    }
}
