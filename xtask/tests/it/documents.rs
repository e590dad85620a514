//! That documents point at things that exist: every relative link, and every test that a document names as proof.
//!
//! A test is named by a link whose text is its name and whose target is its file:
//! ``[`a_test`](crates/x/src/y/tests.rs)``.

use std::path::{Path, PathBuf};

use crate::{files, workspace};

/// A link of a document.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    line: usize,
    text: String,
    target: String,
}

#[test]
fn every_relative_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for (document, link) in all_links() {
        let (path, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
        let target = if path.is_empty() { document.clone() } else { beside(&document, path) };
        let place = format!("{}:{}: ({})", document.display(), link.line, link.target);
        if !target.exists() {
            wrong.push(format!("{place} does not exist"));
        } else if !anchor.is_empty() && target.extension().is_some_and(|extension| extension == "md") {
            let text = std::fs::read_to_string(&target).expect("a document that can be read");
            if !anchors(&text).iter().any(|known| known == anchor) {
                wrong.push(format!("{place} has no such heading"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_test_that_a_document_names_exists() {
    let mut wrong = Vec::new();
    for (document, link) in all_links() {
        let Some(name) = link.text.strip_prefix('`').and_then(|text| text.strip_suffix('`')) else { continue };
        let is_name = name.contains('_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !link.target.ends_with(".rs") || !is_name {
            continue;
        }
        let source = std::fs::read_to_string(beside(&document, &link.target)).unwrap_or_default();
        if !source.contains(&format!("fn {name}(")) {
            wrong.push(format!("{}:{}: no test {name} in {}", document.display(), link.line, link.target));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ci_runs_what_the_readme_says() {
    let read = |path: &str| std::fs::read_to_string(workspace().join(path)).unwrap_or_default();
    let command = "cargo xtask ci";
    assert!(read(".ci/run").lines().any(|line| line == format!("exec {command}")), ".ci/run runs {command}");
    for readme in ["README.md", "README.zh-CN.md"] {
        assert!(read(readme).contains(command), "{readme} says {command}");
    }
}

#[test]
fn links_are_found_where_markdown_has_them() {
    let text =
        "# A b\n[one](x.md) and [`two`](y.rs#z)\n```\n[no](code.md)\n```\n`[no](span.md)` [web](https://example.org)\n";
    let link = |line, text: &str, target: &str| Link { line, text: text.into(), target: target.into() };
    assert_eq!(links(text), [link(2, "one", "x.md"), link(2, "`two`", "y.rs#z")]);
    assert_eq!(anchors("# A b: `c`!\n## D\n```\n# no\n```\n"), ["a-b-c", "d"]);
}

fn all_links() -> Vec<(PathBuf, Link)> {
    let documents = files(&workspace(), "md");
    let of = |document: PathBuf| {
        let text = std::fs::read_to_string(&document).expect("a document that can be read");
        links(&text).into_iter().map(move |link| (document.clone(), link))
    };
    documents.into_iter().flat_map(of).collect()
}

fn beside(document: &Path, target: &str) -> PathBuf {
    document.parent().expect("a file is in a directory").join(target)
}

/// The relative links of a text, outside code.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, content) in prose(text) {
        let mut rest = content;
        while let Some(middle) = rest.find("](") {
            let (before, after) = (&rest[..middle], &rest[middle + 2..]);
            let Some(end) = after.find(')') else { break };
            let start = before.rfind('[').map_or(0, |at| at + 1);
            // Inside a code span the number of backticks before the bracket is odd.
            let in_code = before[..start].matches('`').count() % 2 == 1;
            let target = &after[..end];
            if !in_code && !target.contains("://") && !target.starts_with("mailto:") {
                found.push(Link { line, text: before[start..].to_owned(), target: target.to_owned() });
            }
            rest = &after[end + 1..];
        }
    }
    found
}

/// The anchors of a text's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter_map(|(_, line)| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The numbered lines of a text that are not in a fenced block.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((at + 1, line))
    })
}
