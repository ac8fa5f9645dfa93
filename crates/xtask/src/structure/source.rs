//! Rust source as tokens and comments: enough for its paths and its prose.
//!
//! Knows strings, characters, lifetimes and nested comments, and no grammar beyond
//! that: what the compiler accepts is read right.

/// A token of the code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Token {
    /// An identifier, a keyword or a number.
    Word(String),
    /// `::`.
    Separator,
    /// Any other character that is not white space.
    Mark(char),
}

impl Token {
    /// True if it is this word.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own == word)
    }
}

/// The kind of a comment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `//!`: about the file or module that it stands in.
    Header,
    /// `///`: about the item after it.
    Doc,
    /// Any other.
    Plain,
}

/// A comment: a line of it, a block, or the lines of `///` that stand together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comment {
    pub kind: Kind,
    /// The line that it begins on, from 1.
    pub line: usize,
    pub text: String,
}

impl Comment {
    /// True for documentation whose last line is the one before `line`.
    fn is_doc_up_to(&self, line: usize) -> bool {
        self.kind == Kind::Doc && self.line + self.text.matches('\n').count() + 1 == line
    }
}

/// A file, taken apart.
#[derive(Default, Debug)]
pub struct Source {
    pub tokens: Vec<Token>,
    pub comments: Vec<Comment>,
}

impl Source {
    /// Takes `text` apart.
    pub fn read(text: &str) -> Self {
        let mut reader = Reader { rest: text, line: 1, source: Self::default() };
        while reader.step() {}
        reader.source
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    source: Source,
}

impl<'a> Reader<'a> {
    /// Takes the next token, comment, literal or space. False at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            self.line_comment();
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if let Some(length) = literal(self.rest) {
            self.take(length);
        } else if first.is_alphanumeric() || first == '_' {
            let end = |c: char| !c.is_alphanumeric() && c != '_';
            let word = self.take(self.rest.find(end).unwrap_or(self.rest.len()));
            self.source.tokens.push(Token::Word(word.to_owned()));
        } else if self.rest.starts_with("::") {
            self.take(2);
            self.source.tokens.push(Token::Separator);
        } else {
            self.take(first.len_utf8());
            if !first.is_whitespace() {
                self.source.tokens.push(Token::Mark(first));
            }
        }
        true
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn line_comment(&mut self) {
        let line = self.line;
        let text = self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        let kinds = [("//!", Kind::Header), ("////", Kind::Plain), ("///", Kind::Doc)];
        let known = kinds.iter().find_map(|(mark, kind)| Some((*kind, text.strip_prefix(mark)?)));
        let (kind, text) = known.unwrap_or((Kind::Plain, &text[2..]));
        let text = text.trim();
        match self.source.comments.last_mut() {
            Some(last) if kind == Kind::Doc && last.is_doc_up_to(line) => {
                last.text.push('\n');
                last.text.push_str(text);
            }
            _ => self.source.comments.push(Comment { kind, line, text: text.to_owned() }),
        }
    }

    fn block_comment(&mut self) {
        let line = self.line;
        let (mut depth, mut length) = (0, 0);
        let bytes = self.rest.as_bytes();
        while length < bytes.len() {
            let step = match &bytes[length..] {
                [b'/', b'*', ..] => {
                    depth += 1;
                    2
                }
                [b'*', b'/', ..] => {
                    depth -= 1;
                    2
                }
                _ => 1,
            };
            length += step;
            if depth == 0 {
                break;
            }
        }
        let text = self.take(length).to_owned();
        self.source.comments.push(Comment { kind: Kind::Plain, line, text });
    }
}

/// The length of the string, character or lifetime that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        text.strip_prefix(prefix).is_some_and(|rest| {
            let quote = rest.trim_start_matches('#');
            let is_raw = prefix.ends_with('r');
            let is_string = quote.starts_with('"') && (is_raw || quote.len() == rest.len());
            is_string || (matches!(*prefix, "b" | "") && rest.starts_with('\''))
        })
    })?;
    let body = &text[prefix.len()..];
    let length = match (prefix.ends_with('r'), body.as_bytes()[0]) {
        (true, _) => {
            let hashes = body.len() - body.trim_start_matches('#').len();
            let end = format!("\"{}", "#".repeat(hashes));
            let start = hashes + 1;
            body[start..].find(&end).map_or(body.len(), |at| start + at + end.len())
        }
        (false, b'"') => quoted(body, '"'),
        (false, _) => {
            let mut characters = body.chars().skip(1);
            let (first, second) = (characters.next(), characters.next());
            // A lifetime is a quote and a word.
            if first != Some('\\') && second != Some('\'') {
                return Some(prefix.len() + 1);
            }
            quoted(body, '\'')
        }
    };
    Some(prefix.len() + length)
}

/// The length of a literal between two of `quote`, with escapes.
pub(super) fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            end if end == quote => return at + end.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let words = Source::read(text).tokens.into_iter().filter_map(|token| match token {
            Token::Word(word) => Some(word),
            _ => None,
        });
        words.collect()
    }

    #[test]
    fn what_stands_in_strings_and_comments_is_no_code() {
        for text in [
            r#"a "crate::x \" y" b"#,
            "a r#\"crate::x \" y\"# b",
            "a b\"x\" br\"y\\\" b",
            "a // crate::x\nb",
            "a /* x /* y */ z */ b",
            r"a '\'' 'x' b'y' '\u{1f}' b",
        ] {
            assert_eq!(words(text), ["a", "b"], "{text}");
        }
        assert_eq!(
            words("fn f<'a>(x: &'a str) -> &'static str"),
            ["fn", "f", "a", "x", "a", "str", "static", "str"]
        );
    }

    #[test]
    fn comments_have_their_kind_and_line() {
        let source = Source::read("//! A.\n\n/// B.\n/// b.\nfn f() {} // C\n//// D");
        let comments: Vec<_> =
            source.comments.iter().map(|c| (c.kind, c.line, c.text.as_str())).collect();
        let expected = [
            (Kind::Header, 1, "A."),
            (Kind::Doc, 3, "B.\nb."),
            (Kind::Plain, 5, "C"),
            (Kind::Plain, 6, "D"),
        ];
        assert_eq!(comments, expected);
    }
}
