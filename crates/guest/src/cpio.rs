//! The archive that the kernel unpacks as its first file system: cpio in the "newc" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const DEVICE: u32 = 0o020_600;

/// An archive that is being written.
#[derive(Debug)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    names: BTreeSet<String>,
}

impl Archive {
    /// An archive with the console, which the kernel opens for the first process.
    pub(crate) fn new() -> Self {
        let mut archive = Self { bytes: Vec::new(), names: BTreeSet::new() };
        archive.directories("/dev/console");
        archive.entry("dev/console", DEVICE, [5, 1], &[]);
        archive
    }

    /// Whether there is something at this absolute path.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.names.contains(path.trim_start_matches('/'))
    }

    /// Adds a file that may be executed, and the directories it is in.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.directories(path);
        self.entry(path.trim_start_matches('/'), FILE, [0, 0], content);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, [0, 0], &[]);
        self.bytes
    }

    fn directories(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        for (at, _) in path.match_indices('/') {
            if !self.names.contains(&path[..at]) {
                self.entry(&path[..at], DIRECTORY, [0, 0], &[]);
            }
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: [u32; 2], content: &[u8]) {
        let number = self.names.len() as u32 + 1;
        let [major, minor] = device;
        // inode, mode, uid, gid, links, mtime, size, device, device of a node, length of the name with its zero, checksum
        let fields = [number, mode, 0, 0, 1, 0, content.len() as u32, 0, 0, major, minor, name.len() as u32 + 1, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(content);
        self.pad();
        self.names.insert(name.to_owned());
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn an_archive_has_aligned_entries_and_each_directory_once() {
        let mut archive = Archive::new();
        archive.file("/usr/lib/one", b"12345");
        archive.file("/usr/lib/two", b"");
        assert!(archive.contains("/usr/lib/one") && archive.contains("/usr") && !archive.contains("/three"));
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let names: Vec<_> = text.match_indices("070701").map(|(at, _)| (at % 4, name(&text[at..]))).collect();
        let expected = ["dev", "dev/console", "usr", "usr/lib", "usr/lib/one", "usr/lib/two", "TRAILER!!!"];
        assert_eq!(names, expected.map(|name| (0, name)));
        assert_eq!(&text[text.find("12345").unwrap_or_default()..][..8], "12345\0\0\0");
    }

    fn name(entry: &str) -> &str {
        entry[110..].split('\0').next().unwrap_or_default()
    }
}
