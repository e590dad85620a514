//! The guest's kernel: Debian's package of it, downloaded once, unpacked and never installed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The package that depends on the newest kernel for virtual machines: small, and with no hardware to wait for.
const NEWEST: &str = "linux-image-cloud-amd64";
/// A directory with `boot/vmlinuz-*` and `lib/modules/*`, for machines that cannot download.
const OVERRIDE: &str = "PINHOLE_GUEST_KERNEL";

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// What qemu boots.
    pub(crate) image: PathBuf,
    /// Each module's file by its name, with underscores.
    modules: BTreeMap<String, PathBuf>,
    /// The names of what is built in.
    built_in: String,
}

impl Kernel {
    /// The kernel from the cache; downloads it where there is none.
    pub(crate) fn provide() -> Result<Self, String> {
        if let Some(directory) = std::env::var_os(OVERRIDE) {
            return Self::unpacked(Path::new(&directory));
        }
        let cache = cache_directory()?;
        if let Some(kernel) = cached(&cache) {
            return Ok(kernel);
        }
        download(&cache).map_err(|why| {
            format!("{why} (or unpack a {NEWEST} package yourself and name the directory in {OVERRIDE})")
        })?;
        cached(&cache).ok_or_else(|| format!("the kernel package in {} has no kernel", cache.display()))
    }

    fn unpacked(directory: &Path) -> Result<Self, String> {
        let boot = directory.join("boot");
        let image = files(&boot).into_iter().find(|path| file_name(path).starts_with("vmlinuz-"));
        let image = image.ok_or_else(|| format!("{} has no vmlinuz", boot.display()))?;
        let release = file_name(&image).trim_start_matches("vmlinuz-").to_owned();
        let library = directory.join("lib/modules").join(release);
        let mut modules = BTreeMap::new();
        let mut directories = vec![library.join("kernel")];
        while let Some(directory) = directories.pop() {
            for path in files(&directory) {
                if path.is_dir() {
                    directories.push(path);
                } else if let Some(name) = file_name(&path).strip_suffix(".ko") {
                    modules.insert(underscored(name), path);
                }
            }
        }
        let built_in = fs::read_to_string(library.join("modules.builtin")).unwrap_or_default();
        Ok(Self { image, modules, built_in: underscored(&built_in) })
    }

    /// The files of these modules and of all they depend on, in an order in which they can be loaded.
    pub(crate) fn modules(&self, names: &[&str]) -> Result<Vec<PathBuf>, String> {
        let mut order = Vec::new();
        names.iter().try_for_each(|name| self.add(&underscored(name), &mut order))?;
        Ok(order)
    }

    fn add(&self, name: &str, order: &mut Vec<PathBuf>) -> Result<(), String> {
        let Some(path) = self.modules.get(name) else {
            let built_in = self.built_in.contains(&format!("/{name}.ko"));
            return if built_in { Ok(()) } else { Err(format!("the guest's kernel has no module {name}")) };
        };
        if order.contains(path) {
            return Ok(());
        }
        let module = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for needed in dependencies(&module) {
            self.add(&underscored(&needed), order)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

/// What a module says it needs: the string `depends=` in its section `.modinfo`, whose strings end with zeros.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let list = module[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list);
    list.split(',').filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect()
}

fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

/// `target/guest`, beside what this very binary was built into.
fn cache_directory() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    // target/<profile>/deps/<binary>
    let target = this.ancestors().nth(3).ok_or("the test binary lies in no target directory")?;
    Ok(target.join("guest"))
}

/// The newest kernel in the cache.
fn cached(cache: &Path) -> Option<Kernel> {
    let mut unpacked: Vec<_> =
        files(cache).into_iter().filter(|path| file_name(path).starts_with("linux-image-")).collect();
    unpacked.sort();
    unpacked.iter().rev().find_map(|directory| Kernel::unpacked(directory).ok())
}

/// Downloads and unpacks the newest kernel. Several tests may do so at once: each works in a directory of its own, and the
/// first to be ready wins.
fn download(cache: &Path) -> Result<(), String> {
    let work = cache.join(format!("work-{}", std::process::id()));
    fs::create_dir_all(&work).map_err(|error| format!("{}: {error}", work.display()))?;
    let done = download_in(&work, cache);
    let _ = fs::remove_dir_all(&work);
    done
}

fn download_in(work: &Path, cache: &Path) -> Result<(), String> {
    let package = package_name()?;
    // As root, apt hands the download to a user who may not write here, says so, and does it itself.
    run(Command::new("apt-get").args(["--quiet", "download", &package]).current_dir(work))?;
    let archive = files(work).into_iter().find(|path| file_name(path).ends_with(".deb"));
    let archive = archive.ok_or_else(|| format!("apt-get downloaded no {package}"))?;
    let unpacked = work.join("unpacked");
    run(Command::new("dpkg-deb").arg("--extract").args([&archive, &unpacked]))?;
    match fs::rename(&unpacked, cache.join(&package)) {
        Err(error) if cached(cache).is_none() => Err(format!("{}: {error}", cache.display())),
        _ => Ok(()),
    }
}

/// The package behind the name of the newest.
fn package_name() -> Result<String, String> {
    let find = || {
        let text = run(Command::new("apt-cache").args(["depends", NEWEST]))?;
        let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        name.map(ToOwned::to_owned).ok_or_else(|| format!("apt knows no {NEWEST}; run apt-get update"))
    };
    find().or_else(|_| {
        run(Command::new("apt-get").args(["--quiet", "update"]))?;
        find()
    })
}

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program}: {error}; the guest's kernel is Debian's"))?;
    if !output.status.success() {
        return Err(format!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::dependencies;

    #[test]
    fn a_module_says_what_it_needs() {
        let module = b"\x7fELF..license=GPL v2\0depends=udp_tunnel,libcurve25519-generic\0name=x\0";
        assert_eq!(dependencies(module), ["udp_tunnel", "libcurve25519-generic"]);
        assert!(dependencies(b"\0depends=\0").is_empty() && dependencies(b"").is_empty());
    }
}
