//! The voice of comments, counted: headers and documentation that begin with a
//! question word, and words for people where the code means a process.

use std::ops::AddAssign;

use super::source::{Kind, Source};

const QUESTIONS: [&str; 8] = ["what", "who", "where", "when", "how", "why", "whether", "which"];
const PEOPLE: [&str; 4] = ["nobody", "somebody", "whoever", "strangers"];

/// Counts over comments.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Voice {
    /// Files with a `//!` header, and those whose header begins with a question word.
    headers: usize,
    asking_headers: usize,
    /// Blocks of `///`, and those that begin with a question word.
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

impl Voice {
    /// The voice of a file.
    pub fn of(source: &Source) -> Self {
        let mut voice = Self::default();
        let mut last_doc = None;
        for (index, comment) in source.comments.iter().enumerate() {
            let mut words = comment.text.split_whitespace().map(plain).filter(|w| !w.is_empty());
            voice.words += words.clone().count();
            voice.people += words.clone().filter(|w| PEOPLE.contains(&w.as_str())).count();
            let asks = words.next().is_some_and(|word| QUESTIONS.contains(&word.as_str()));
            match comment.kind {
                Kind::Header if index == 0 => {
                    voice.headers += 1;
                    voice.asking_headers += usize::from(asks);
                }
                Kind::Doc => {
                    if last_doc.is_none_or(|line| line + 1 != comment.line) {
                        voice.docs += 1;
                        voice.asking_docs += usize::from(asks);
                    }
                    last_doc = Some(comment.line);
                }
                Kind::Header | Kind::Plain => {}
            }
        }
        voice
    }

    /// Headers that begin with a question word, in per cent.
    pub fn asking_headers(self) -> f64 {
        100.0 * self.asking_headers as f64 / self.headers.max(1) as f64
    }

    /// Doc comments that begin with a question word, in per cent.
    pub fn asking_docs(self) -> f64 {
        100.0 * self.asking_docs as f64 / self.docs.max(1) as f64
    }

    /// Words for people in 1,000 words of comments.
    pub fn people(self) -> f64 {
        1000.0 * self.people as f64 / self.words.max(1) as f64
    }
}

/// A word in lower case without what stands around it.
fn plain(word: &str) -> String {
    let word = word.trim_matches(|c: char| !c.is_alphabetic());
    let word = word.strip_suffix("'s").or(word.strip_suffix("’s")).unwrap_or(word);
    word.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_people_are_counted_once_a_block() {
        let text = "//! What it is.\n//! How, too.\n\n/// Who is\n/// what.\nfn f() {}\n\
                    /// A noun that nobody, whoever's\nfn g() {} // strangers\n";
        let voice = Voice::of(&Source::read(text));
        let expected =
            Voice { headers: 1, asking_headers: 1, docs: 2, asking_docs: 1, words: 14, people: 3 };
        assert_eq!(voice, expected);
        assert_eq!((voice.asking_headers(), voice.asking_docs()), (100.0, 50.0));
    }
}
