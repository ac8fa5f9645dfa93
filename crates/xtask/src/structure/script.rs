//! Comments of TypeScript and JavaScript.
//!
//! Knows strings, templates and regular expressions, and no grammar beyond that. A slash
//! after a word, a number or a closing bracket divides; any other begins an expression.

use super::source::{Comment, Kind, quoted};

/// Words after which a slash begins a regular expression.
const OPERATORS: [&str; 12] = [
    "await",
    "case",
    "delete",
    "do",
    "else",
    "in",
    "instanceof",
    "of",
    "return",
    "typeof",
    "void",
    "yield",
];

/// All comments of a file. One that the file begins with is its header; any other
/// `/** */` is documentation.
pub fn comments(text: &str) -> Vec<Comment> {
    let mut reader = Reader {
        rest: text,
        line: 1,
        templates: Vec::new(),
        before: Before::Nothing,
        comments: Vec::new(),
    };
    while reader.step() {}
    reader.comments
}

/// The code before a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// A value, which a slash divides.
    Value,
    Operator,
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    /// Braces open in the expression of each template around this place.
    templates: Vec<usize>,
    before: Before,
    comments: Vec<Comment>,
}

impl<'a> Reader<'a> {
    /// Takes the next word, mark, literal, comment or space. False at the end.
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        if self.rest.starts_with("//") {
            let length = self.rest.find('\n').unwrap_or(self.rest.len());
            self.comment(length);
        } else if self.rest.starts_with("/*") {
            let end = self.rest[2..].find("*/");
            self.comment(end.map_or(self.rest.len(), |at| at + 4));
        } else if first.is_alphanumeric() || matches!(first, '_' | '$') {
            let end = |c: char| !c.is_alphanumeric() && !matches!(c, '_' | '$');
            let word = self.take(self.rest.find(end).unwrap_or(self.rest.len()));
            let is_operator = OPERATORS.contains(&word);
            self.before = if is_operator { Before::Operator } else { Before::Value };
        } else {
            self.mark(first);
        }
        true
    }

    fn mark(&mut self, first: char) {
        match first {
            '\'' | '"' => {
                self.take(quoted(self.rest, first));
                self.before = Before::Value;
            }
            '`' => self.template(),
            '/' if self.before != Before::Value => {
                self.take(expression(self.rest));
                self.before = Before::Value;
            }
            '}' if self.templates.last() == Some(&0) => {
                self.templates.pop();
                self.template();
            }
            _ => {
                self.take(first.len_utf8());
                match (first, self.templates.last_mut()) {
                    ('{', Some(open)) => *open += 1,
                    ('}', Some(open)) => *open -= 1,
                    _ => {}
                }
                if !first.is_whitespace() {
                    let is_value = matches!(first, ')' | ']' | '}');
                    self.before = if is_value { Before::Value } else { Before::Operator };
                }
            }
        }
    }

    /// Takes the text of a template from its quote, or from the end of an expression in
    /// it, to its quote or to the next expression.
    fn template(&mut self) {
        let mut is_escaped = false;
        for (at, character) in self.rest.char_indices().skip(1) {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '`' => {
                    self.take(at + 1);
                    self.before = Before::Value;
                    return;
                }
                '$' if self.rest[at..].starts_with("${") => {
                    self.take(at + 2);
                    self.templates.push(0);
                    self.before = Before::Operator;
                    return;
                }
                _ => {}
            }
        }
        self.take(self.rest.len());
    }

    fn comment(&mut self, length: usize) {
        let line = self.line;
        let text = self.take(length);
        let block = text.strip_prefix("/**").and_then(|text| text.strip_suffix("*/"));
        let kind = match block {
            _ if self.comments.is_empty() && self.before == Before::Nothing => Kind::Header,
            Some(_) => Kind::Doc,
            None => Kind::Plain,
        };
        let body = block.or_else(|| text.strip_prefix("/*")?.strip_suffix("*/"));
        let body = body.unwrap_or_else(|| text.trim_start_matches('/'));
        let lines = body.lines().map(|line| line.trim().trim_start_matches('*').trim());
        let text = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
        self.comments.push(Comment { kind, line, text });
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

/// The length of the regular expression that `text` begins with, without its flags.
fn expression(text: &str) -> usize {
    let (mut is_escaped, mut is_in_class) = (false, false);
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '[' => is_in_class = true,
            ']' => is_in_class = false,
            '/' if !is_in_class => return at + 1,
            '\n' => return at,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_literals_is_no_comment() {
        for text in [
            r#"a = "// \" x" + '/* \' x';"#,
            "a = `// \\` ${b({ c: `/* ${d} */` })} // x`;",
            "a = /[/*]\\/\\/ x/g; b(/'/, '/* x */'); return /\"/;",
        ] {
            let found = comments(&format!("let a;\n{text} // B"));
            let found: Vec<_> = found.iter().map(|c| (c.line, c.text.as_str())).collect();
            assert_eq!(found, [(2, "B")], "{text}");
        }
        assert_eq!(comments("a = b / c; // A / B").len(), 1);
        assert_eq!(comments("a = (b) / '/*'; /* A */").len(), 1);
    }

    #[test]
    fn comments_have_their_kind_and_line() {
        let text = "// A.\n// a.\nlet b;\n\n/** B. */\nlet c; /* C */\n/**\n * D.\n * d.\n */";
        let found = comments(text);
        let found: Vec<_> = found.iter().map(|c| (c.kind, c.line, c.text.as_str())).collect();
        let expected = [
            (Kind::Header, 1, "A."),
            (Kind::Plain, 2, "a."),
            (Kind::Doc, 5, "B."),
            (Kind::Plain, 6, "C"),
            (Kind::Doc, 7, "D.\nd."),
        ];
        assert_eq!(found, expected);
        assert_eq!(comments("/** A. */\nlet a;")[0].kind, Kind::Header);
        assert_eq!(comments("let a;\n/** A. */")[0].kind, Kind::Doc);
    }
}
