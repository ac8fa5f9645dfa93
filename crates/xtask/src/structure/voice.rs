//! The voice of comments, counted: headers and documentation that begin neither with a
//! noun nor with a verb, and words for people where the code means a process.

use std::iter::Sum;
use std::ops::AddAssign;

use super::source::{Comment, Kind};

/// Words that no header and no documentation begins with.
const OPENERS: [&str; 18] = [
    "what",
    "who",
    "whom",
    "whose",
    "where",
    "when",
    "how",
    "why",
    "whether",
    "which",
    "whatever",
    "whoever",
    "nobody",
    "somebody",
    "everybody",
    "so",
    "as",
    "those",
];
const PEOPLE: [&str; 4] = ["nobody", "somebody", "whoever", "strangers"];

/// Counts over comments.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Voice {
    /// Files with a header, and those whose header begins with one of [`OPENERS`].
    headers: usize,
    asking_headers: usize,
    /// Documentation comments, and those that begin with one of [`OPENERS`].
    docs: usize,
    asking_docs: usize,
    words: usize,
    people: usize,
}

impl AddAssign for Voice {
    fn add_assign(&mut self, other: Self) {
        self.headers += other.headers;
        self.asking_headers += other.asking_headers;
        self.docs += other.docs;
        self.asking_docs += other.asking_docs;
        self.words += other.words;
        self.people += other.people;
    }
}

impl Sum for Voice {
    fn sum<I: Iterator<Item = Self>>(voices: I) -> Self {
        voices.fold(Self::default(), |mut sum, voice| {
            sum += voice;
            sum
        })
    }
}

impl Voice {
    /// The voice of a file with these comments.
    pub fn of(comments: &[Comment]) -> Self {
        let mut voice = Self::default();
        for (index, comment) in comments.iter().enumerate() {
            voice.words += words(comment).count();
            voice.people += words(comment).filter(|w| PEOPLE.contains(&w.as_str())).count();
            match comment.kind {
                Kind::Header if index == 0 => {
                    voice.headers += 1;
                    voice.asking_headers += usize::from(asks(comment));
                }
                Kind::Doc => {
                    voice.docs += 1;
                    voice.asking_docs += usize::from(asks(comment));
                }
                Kind::Header | Kind::Plain => {}
            }
        }
        voice
    }

    /// Headers that begin with one of [`OPENERS`], in per cent.
    pub fn asking_headers(self) -> f64 {
        100.0 * self.asking_headers as f64 / self.headers.max(1) as f64
    }

    /// Doc comments that do, in per cent.
    pub fn asking_docs(self) -> f64 {
        100.0 * self.asking_docs as f64 / self.docs.max(1) as f64
    }

    /// Words for people in 1,000 words of comments.
    pub fn people(self) -> f64 {
        1000.0 * self.people as f64 / self.words.max(1) as f64
    }
}

/// True if the comment begins with one of [`OPENERS`].
pub fn asks(comment: &Comment) -> bool {
    words(comment).next().is_some_and(|word| OPENERS.contains(&word.as_str()))
}

/// True if the comment has a word for people.
pub fn names_people(comment: &Comment) -> bool {
    words(comment).any(|word| PEOPLE.contains(&word.as_str()))
}

fn words(comment: &Comment) -> impl Iterator<Item = String> {
    comment.text.split_whitespace().map(plain).filter(|word| !word.is_empty())
}

/// A word in lower case without what stands around it.
fn plain(word: &str) -> String {
    let word = word.trim_matches(|c: char| !c.is_alphabetic());
    let word = word.strip_suffix("'s").or(word.strip_suffix("’s")).unwrap_or(word);
    word.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::script;
    use super::super::source::Source;
    use super::*;

    #[test]
    fn openers_and_people_are_counted_once_a_block() {
        let text = "//! What it is.\n//! How, too.\n\n/// Who is\n/// what.\nfn f() {}\n\
                    /// A noun that nobody, whoever's\nfn g() {} // strangers\n";
        let voice = Voice::of(&Source::read(text).comments);
        let expected =
            Voice { headers: 1, asking_headers: 1, docs: 2, asking_docs: 1, words: 14, people: 3 };
        assert_eq!(voice, expected);
        assert_eq!((voice.asking_headers(), voice.asking_docs()), (100.0, 50.0));
    }

    #[test]
    fn scripts_are_held_to_the_same() {
        let text = "/**\n * What it is.\n * How, too.\n */\n\n/** Who is\n * what. */\nlet a;\n\
                    /** A noun that nobody, whoever's */\nlet b; // strangers\n";
        let voice = Voice::of(&script::comments(text));
        let expected =
            Voice { headers: 1, asking_headers: 1, docs: 2, asking_docs: 1, words: 14, people: 3 };
        assert_eq!(voice, expected);
    }
}
