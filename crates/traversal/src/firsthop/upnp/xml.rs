//! As much of XML as routers write: elements and their text.
//!
//! A reader that takes what comes, since half of the devices write what no validating parser accepts: prefixes are cut off,
//! attributes, comments, declarations and processing instructions skipped; a missing end tag ends with its parent. It never
//! expands anything but the five named entities and numbers, so a small document stays small.

/// Deeper elements are not looked into: descriptions need ten.
const MAX_DEPTH: usize = 32;
/// More elements than this are not read: the largest descriptions have some hundred.
const MAX_ELEMENTS: usize = 4_096;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// Its name without a prefix.
    pub(super) name: String,
    /// The text directly in it, trimmed.
    pub(super) text: String,
    /// The elements in it.
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The elements of a document below a root without a name.
    pub(super) fn parse(text: &str) -> Self {
        let mut open = vec![Self::default()];
        let mut count = 0;
        let mut rest = text;
        while let Some(start) = rest.find('<') {
            let (before, tag) = rest.split_at(start);
            add_text(&mut open, &unescape(before));
            let Some((kind, after)) = Tag::split(tag) else { break };
            rest = after;
            match kind {
                Tag::Data(data) => add_text(&mut open, data),
                Tag::Nothing => {}
                Tag::Start { name, closed } => {
                    count += 1;
                    if count > MAX_ELEMENTS || open.len() > MAX_DEPTH {
                        break;
                    }
                    open.push(Self { name: name.to_owned(), ..Self::default() });
                    if closed {
                        close(&mut open);
                    }
                }
                Tag::End { name } => {
                    // One that closes nothing is ignored; one that closes an outer element closes those in between.
                    if let Some(depth) = open.iter().skip(1).rposition(|element| element.name == name) {
                        while open.len() > depth + 1 {
                            close(&mut open);
                        }
                    }
                }
            }
        }
        while open.len() > 1 {
            close(&mut open);
        }
        open.pop().unwrap_or_default()
    }

    /// This element and all in it, in the order of the document.
    pub(super) fn all(&self) -> impl Iterator<Item = &Self> {
        let mut left = vec![self];
        std::iter::from_fn(move || {
            let next = left.pop()?;
            left.extend(next.children.iter().rev());
            Some(next)
        })
    }

    /// The text of the first element of this name, however deep.
    pub(super) fn find_text(&self, name: &str) -> Option<&str> {
        self.all().find(|element| element.name == name).map(|element| element.text.as_str())
    }
}

enum Tag<'a> {
    Start { name: &'a str, closed: bool },
    End { name: &'a str },
    Data(&'a str),
    Nothing,
}

impl<'a> Tag<'a> {
    /// The tag that `text`, which begins with `<`, begins with, and what follows it.
    fn split(text: &'a str) -> Option<(Self, &'a str)> {
        let until = |skip: usize, end: &str| {
            let inside = text.get(skip..)?;
            let at = inside.find(end)?;
            Some((&inside[..at], &inside[at + end.len()..]))
        };
        if text.starts_with("<!--") {
            return until(4, "-->").map(|(_, after)| (Self::Nothing, after));
        }
        if text.starts_with("<![CDATA[") {
            return until(9, "]]>").map(|(data, after)| (Self::Data(data), after));
        }
        if text.starts_with("<?") || text.starts_with("<!") {
            return until(2, ">").map(|(_, after)| (Self::Nothing, after));
        }
        let (inside, after) = until(1, ">")?;
        let local = |name: &'a str| name.rsplit(':').next().unwrap_or(name);
        if let Some(name) = inside.strip_prefix('/') {
            return Some((Self::End { name: local(name.trim()) }, after));
        }
        let closed = inside.ends_with('/');
        let name = inside.trim_end_matches('/').split_whitespace().next().unwrap_or_default();
        Some((Self::Start { name: local(name), closed }, after))
    }
}

fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn close(open: &mut Vec<Element>) {
    let Some(mut element) = open.pop() else { return };
    element.text = element.text.trim().to_owned();
    if let Some(parent) = open.last_mut() {
        parent.children.push(element);
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.find(';').filter(|&end| end <= 10);
        let Some((end, c)) = end.and_then(|end| Some((end, entity(&rest[1..end])?))) else {
            out.push('&');
            rest = &rest[1..];
            continue;
        };
        out.push(c);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)
        }
    }
}

/// `text` as it may stand in an element.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, name: &str, expected: Option<&str>) {
        assert_eq!(Element::parse(text).find_text(name), expected, "{text}");
    }

    #[test]
    fn what_routers_write_is_read() {
        check("<?xml version=\"1.0\"?><a><b> x </b></a>", "b", Some("x"));
        check("<s:a xmlns:s=\"urn:x\"><u:b v='1'>x</u:b></s:a>", "b", Some("x"));
        check("<a><!-- <b>no</b> --><b><![CDATA[1 < 2 & 3]]></b></a>", "b", Some("1 < 2 & 3"));
        check("<a><b>&lt;&amp;&#65;&#x42;&gt;</b></a>", "b", Some("<&AB>"));
        check("<a><b/><c>x</c></a>", "b", Some(""));
        check("<!DOCTYPE a><a>\n<b>x</b>\n</a>", "b", Some("x"));
    }

    #[test]
    fn what_is_broken_is_read_as_far_as_it_goes() {
        check("<a><b>x</a>", "b", Some("x"));
        check("<a><b>x", "b", Some(""));
        check("<a></c><b>x</b></a>", "b", Some("x"));
        check("<a><b>&nonsense; & &#xd800;</b></a>", "b", Some("&nonsense; & &#xd800;"));
        check("<a", "a", None);
        check("no markup", "a", None);
    }

    #[test]
    fn a_bomb_stays_small() {
        let deep = "<a>".repeat(100_000);
        let root = Element::parse(&deep);
        assert!(root.all().count() <= MAX_DEPTH + 1);
        let wide = "<a/>".repeat(100_000);
        assert!(Element::parse(&wide).all().count() <= MAX_ELEMENTS + 1);
    }
}
