//! The diagnosis in words, in every language that pinhole speaks.
//!
//! One table: each row is a match arm with one text per language, so that the compiler finds a missing row and the type a
//! missing language. `{name}` in a text is a value of what it is about.

mod problems;
mod words;

use core::fmt::Display;

pub use problems::{remedy, title};
pub use words::{
    Word, allocation, dependence, fate_of_peer, fix, number, obstacle, owner, peer, port, severity, share, way,
    who_maps,
};

/// A language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// Chinese, simplified.
    Zh,
}

/// One text in each language.
type Row = [&'static str; 2];

impl Lang {
    /// All languages, as the rows have them.
    pub const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// The language that a locale such as `zh_CN.UTF-8` asks for; English for all others.
    pub fn of_locale(locale: &str) -> Self {
        let language = locale.split(['_', '.', '@', '-']).next().unwrap_or_default();
        if language.eq_ignore_ascii_case("zh") { Self::Zh } else { Self::En }
    }

    const fn pick(self, row: Row) -> &'static str {
        match self {
            Self::En => row[0],
            Self::Zh => row[1],
        }
    }
}

/// `text` with its values in the place of their names.
fn filled(text: &str, values: &[(&'static str, String)]) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// A value, or the word for one that is not known.
fn or_unknown(lang: Lang, value: Option<impl Display>) -> String {
    value.map_or_else(|| Word::Unknown.text(lang).to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests;
