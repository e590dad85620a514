//! `cargo xtask captures`: public captures that Debian's source packages carry, replayed by `torture`.
//!
//! They are not in the repository, for each has terms of its own. `apt-get source` fetches their packages below
//! `target/captures` once, with lists of its own: the system's are left alone, and nobody needs to be root. Without apt or a
//! network one line says why nothing is replayed. `PINHOLE_CAPTURES` names a directory to take instead.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::step::{self, Show};
use crate::workspace;

/// Source packages with captures, 130 MB together.
const PACKAGES: [&str; 2] = ["tcpdump", "ndpi"];

/// Where apt keeps what it fetches from.
const APT: &str = "/etc/apt";

/// Replays all captures, which are fetched if need be.
pub(crate) fn run() -> Result<()> {
    let begun = Instant::now();
    let directory = match std::env::var_os("PINHOLE_CAPTURES") {
        Some(named) => Ok(PathBuf::from(named)),
        None => provide(),
    };
    let directory = match directory {
        Ok(directory) => directory,
        Err(error) => {
            println!(
                "{}: {error:#}; PINHOLE_CAPTURES=DIR has your own",
                step::line("captures", "SKIP", begun.elapsed())
            );
            return Ok(());
        }
    };
    // The test runs in its crate's directory.
    let directory = fs::canonicalize(&directory).with_context(|| format!("cannot find {}", directory.display()))?;
    let directory = directory.to_str().context("the directory's name is no text")?;
    let words =
        ["test", "--release", "--package", "pinhole-torture", "--test", "it", "captures::", "--", "--nocapture"];
    step::run("captures", Show::All, &[("PINHOLE_CAPTURES", directory)], "cargo", &words)
}

/// The directory of the unpacked packages.
fn provide() -> Result<PathBuf> {
    let home = workspace().join("target/captures");
    let unpacked = home.join("unpacked");
    if unpacked.is_dir() {
        return Ok(unpacked);
    }
    let (packages, partial) = (home.join("packages"), home.join("partial"));
    for directory in [&packages, &partial, &home.join("lists/partial"), &home.join("archives/partial")] {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let sources = home.join("sources.list.d");
    write_sources(Path::new(APT), &sources)?;
    println!("captures: fetching the sources of {} below {}", PACKAGES.join(" and "), home.display());
    let options = options(&home, &sources);
    quiet(&home, "apt-get", options.iter().map(String::as_str).chain(["update"]))?;
    let source = ["source", "--download-only", "--tar-only"].into_iter().chain(PACKAGES);
    quiet(&packages, "apt-get", options.iter().map(String::as_str).chain(source))?;
    for entry in fs::read_dir(&packages)? {
        let archive = entry?.path();
        if archive.to_str().is_some_and(|name| name.contains(".orig.tar.") && !name.ends_with(".asc")) {
            quiet(&partial, "tar", [OsStr::new("--extract"), OsStr::new("--file"), archive.as_os_str()])?;
        }
    }
    // Only what is whole gets the name that is looked for.
    fs::rename(&partial, &unpacked).context("cannot name what was unpacked")?;
    Ok(unpacked)
}

/// What makes apt leave the system's own lists alone.
fn options(home: &Path, sources: &Path) -> Vec<String> {
    let home = home.display();
    let settings = [
        "Dir::Etc::SourceList=/dev/null".to_owned(),
        format!("Dir::Etc::SourceParts={}", sources.display()),
        format!("Dir::State::Lists={home}/lists"),
        format!("Dir::Cache={home}"),
        // A user that apt would change to may not write here.
        "APT::Sandbox::User=root".to_owned(),
        // Without a network it should not take minutes to say so.
        "Acquire::Retries=0".to_owned(),
        "Acquire::http::Timeout=20".to_owned(),
    ];
    settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect()
}

/// Writes where the system's packages come from as where their sources do.
fn write_sources(apt: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let parts = fs::read_dir(apt.join("sources.list.d")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut count = 0;
    for path in parts.chain([apt.join("sources.list")]) {
        let is_list = path.extension().is_some_and(|kind| kind == "list" || kind == "sources");
        let (true, Some(name), Ok(text)) = (is_list, path.file_name(), fs::read_to_string(&path)) else { continue };
        fs::write(to.join(name), of_sources(&text)).with_context(|| format!("cannot write below {}", to.display()))?;
        count += 1;
    }
    if count == 0 {
        bail!("apt has no list of packages here");
    }
    Ok(())
}

/// One list in either of apt's formats (sources.list(5)), with sources instead of packages.
fn of_sources(text: &str) -> String {
    let line = |line: &str| match line.split_once(char::is_whitespace) {
        Some(("deb", rest)) => format!("deb-src {rest}\n"),
        // What has sources already would be there twice.
        Some(("deb-src", _)) => "\n".to_owned(),
        Some(("Types:", _)) => "Types: deb-src\n".to_owned(),
        Some(_) | None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// Runs a program that has something to say only if it fails: then its last words are the error.
fn quiet<S: AsRef<OsStr>>(directory: &Path, program: &str, args: impl IntoIterator<Item = S>) -> Result<()> {
    let output = Command::new(program).args(args).env("LC_ALL", "C").current_dir(directory).output();
    let output = output.with_context(|| format!("{program} cannot be run"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        bail!("{program}: {}", words.lines().last().unwrap_or("it failed and did not say why"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_of_apt_become_lists_of_sources() {
        let lines =
            "# main\ndeb [signed-by=/k] http://mirror.example/debian stable main\ndeb-src http://mirror.example/ a b\n";
        let expected = "# main\ndeb-src [signed-by=/k] http://mirror.example/debian stable main\n\n";
        assert_eq!(of_sources(lines), expected);
        let paragraphs = "Types: deb\nURIs: http://mirror.example/debian\n\nTypes: deb deb-src\nSuites: stable\n";
        let expected = "Types: deb-src\nURIs: http://mirror.example/debian\n\nTypes: deb-src\nSuites: stable\n";
        assert_eq!(of_sources(paragraphs), expected);
    }

    #[test]
    fn without_any_list_there_is_a_reason() {
        let home = workspace().join("target/captures-test");
        let error = write_sources(&home.join("nothing"), &home).expect_err("no list");
        fs::remove_dir(&home).expect("an empty directory of ours");
        assert_eq!(error.to_string(), "apt has no list of packages here");
    }

    #[test]
    fn the_last_words_of_what_fails_are_the_error() {
        let error =
            quiet(Path::new("/"), "sh", ["-c", "echo one >&2; echo 'E: two' >&2; exit 1"]).expect_err("it fails");
        assert_eq!(error.to_string(), "sh: E: two");
        assert!(quiet(Path::new("/"), "/nowhere/program", [""; 0]).is_err());
    }
}
