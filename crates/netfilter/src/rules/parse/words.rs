//! Lines into words, as iptables-restore cuts them.

use crate::rules::Problem;

/// The words of a line: parted by spaces; between double quotes spaces count, and a backslash takes the next character as it
/// is.
pub(super) fn split(line: &str) -> Result<Vec<String>, Problem> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    let mut is_quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '\\' if is_quoted => word.get_or_insert_default().extend(chars.next()),
            c if c.is_ascii_whitespace() && !is_quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if is_quoted {
        return Err(Problem::Line("a double quote is opened and never closed".into()));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_spaces_and_backslashes_count_inside_only() {
        let check = |line: &str, words: &[&str]| assert_eq!(split(line).expect("words"), words, "{line}");
        check("-A INPUT  -j\tDROP ", &["-A", "INPUT", "-j", "DROP"]);
        check(r#"--comment "a \"b\" \\ \'c\'" x"#, &["--comment", r#"a "b" \ 'c'"#, "x"]);
        check(r#"--comment "" x"#, &["--comment", "", "x"]);
        check(r"a\ b", &[r"a\", "b"]);
        assert!(split("\"open").is_err());
    }
}
