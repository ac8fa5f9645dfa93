//! The top-level modules of a crate and the paths between them. Tests are left out:
//! items under `#[cfg(test)]`, whatever file they are in.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::graph::Graph;
use super::source::{Source, Token};

/// The graph of the top-level modules of the crate with this root file: a module
/// needs another one if a path in it leads there.
pub fn of_crate(root: &Path) -> Result<Graph> {
    let mut files = vec![(root.to_path_buf(), Vec::new())];
    let mut items = Vec::new();
    while let Some((path, module)) = files.pop() {
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let found = Items::read(&Source::read(&text).tokens, module.clone());
        let folder = folder(&path, module.is_empty());
        for name in &found.declared {
            let inner = name.iter().skip(module.len());
            let file = inner.fold(folder.clone(), |folder, part| folder.join(part));
            let file = [file.with_extension("rs"), file.join("mod.rs")];
            // A module for another platform may come from elsewhere.
            if let Some(file) = file.into_iter().find(|file| file.is_file()) {
                files.push((file, name.clone()));
            }
        }
        items.push(found);
    }
    Ok(graph(&items))
}

/// The folder of the modules that the file at `path` declares.
fn folder(path: &Path, is_root: bool) -> PathBuf {
    let is_mod = path.file_name().is_some_and(|name| name == "mod.rs");
    if is_root || is_mod {
        path.parent().unwrap_or(path).to_path_buf()
    } else {
        path.with_extension("")
    }
}

fn graph(items: &[Items]) -> Graph {
    let mut graph = Graph::default();
    let modules = items.iter().flat_map(|items| items.declared.iter().chain(&items.inline));
    for module in modules {
        if let [name] = module.as_slice() {
            graph.add(name);
        }
    }
    // A name of the root stands for the module that it comes from.
    let exports: BTreeMap<_, _> =
        items.iter().flat_map(|items| &items.exports).map(|(name, from)| (name, from)).collect();
    for (from, to) in items.iter().flat_map(|items| &items.paths) {
        let to = if graph.has(to) { to } else { exports.get(to).copied().unwrap_or(to) };
        graph.connect(from, to);
    }
    graph
}

type Module = Vec<String>;

/// Items of interest in a file.
#[derive(Default, Debug)]
struct Items {
    /// Modules in files of their own.
    declared: Vec<Module>,
    /// Modules in this file.
    inline: Vec<Module>,
    /// From a top-level module to a name in the root, a module or not.
    paths: Vec<(String, String)>,
    /// Of the root: a name, and the first part of the path that it stands for.
    exports: Vec<(String, String)>,
}

impl Items {
    /// Reads a file that is `module`.
    fn read(tokens: &[Token], module: Module) -> Self {
        let mut items = Self::default();
        let mut scan = Scan { tokens, at: 0, module, open: Vec::new(), depth: 0 };
        while scan.at < tokens.len() {
            scan.step(&mut items);
        }
        items
    }
}

struct Scan<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The module of the next token.
    module: Module,
    /// Depths at which the inline modules around it close.
    open: Vec<usize>,
    depth: usize,
}

impl Scan<'_> {
    fn token(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead)
    }

    fn is_mark(&self, ahead: usize, mark: char) -> bool {
        self.token(ahead) == Some(&Token::Mark(mark))
    }

    fn word(&self, ahead: usize) -> Option<&str> {
        match self.token(ahead) {
            Some(Token::Word(word)) => Some(word),
            _ => None,
        }
    }

    fn step(&mut self, items: &mut Items) {
        if self.is_test() {
            self.skip_item();
            return;
        }
        match self.token(0) {
            Some(Token::Mark('{')) => self.depth += 1,
            Some(Token::Mark('}')) => {
                self.depth = self.depth.saturating_sub(1);
                if self.open.last() == Some(&self.depth) {
                    self.open.pop();
                    self.module.pop();
                }
            }
            Some(Token::Word(word)) if word == "mod" => self.declaration(items),
            Some(Token::Word(word)) if word == "use" && self.module.is_empty() => {
                self.export(items);
            }
            Some(Token::Word(word)) if word == "crate" || word == "super" => self.path(items),
            _ => {}
        }
        self.at += 1;
    }

    /// True if `#[cfg(test)]`, or a condition with `test` in `all`, stands here.
    fn is_test(&self) -> bool {
        let begins = self.is_mark(0, '#') && self.is_mark(1, '[') && self.word(2) == Some("cfg");
        let condition = match self.word(4) {
            Some("test") => true,
            Some("all") => self.word(6) == Some("test"),
            _ => false,
        };
        begins && condition
    }

    /// Skips an item with its attributes.
    fn skip_item(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.token(0) {
            let token = token.clone();
            self.at += 1;
            match token {
                Token::Mark('{' | '(' | '[') => depth += 1,
                Token::Mark('}' | ')' | ']') if depth == 0 => {
                    // The item was the last of what is around it.
                    self.at -= 1;
                    return;
                }
                Token::Mark(close @ ('}' | ')' | ']')) => {
                    depth -= 1;
                    if depth == 0 && close == '}' {
                        return;
                    }
                }
                Token::Mark(';' | ',') if depth == 0 => return,
                _ => {}
            }
        }
    }

    fn declaration(&mut self, items: &mut Items) {
        let Some(name) = self.word(1).map(str::to_owned) else { return };
        let mut module = self.module.clone();
        module.push(name.clone());
        if self.is_mark(2, ';') {
            items.declared.push(module);
        } else if self.is_mark(2, '{') {
            items.inline.push(module);
            self.module.push(name);
            self.open.push(self.depth);
        }
    }

    /// A path from the root, or up to it.
    fn path(&mut self, items: &mut Items) {
        let Some(from) = self.module.first().cloned() else { return };
        let is_visibility = self.at > 1
            && self.tokens[self.at - 1].is("in")
            && self.tokens[self.at - 2] == Token::Mark('(');
        let start = self.at;
        let mut up = 0;
        while self.word(0) == Some("super") && self.token(1) == Some(&Token::Separator) {
            up += 1;
            self.at += 2;
        }
        if up == 0 && self.token(1) == Some(&Token::Separator) {
            self.at += 2;
            up = self.module.len();
        }
        if up == self.module.len() && !is_visibility {
            let names = self.first_names();
            items.paths.extend(names.into_iter().map(|name| (from.clone(), name)));
        }
        if self.at > start {
            // The caller goes on with what stands here now.
            self.at -= 1;
        }
    }

    /// The word here, or the first word of each path of the group here.
    fn first_names(&self) -> Vec<String> {
        if let Some(word) = self.word(0) {
            return vec![word.to_owned()];
        }
        let mut names = Vec::new();
        if !self.is_mark(0, '{') {
            return names;
        }
        let mut depth = 0_usize;
        let mut is_first = true;
        for token in &self.tokens[self.at..] {
            match token {
                Token::Mark('{') => depth += 1,
                Token::Mark('}') if depth == 1 => break,
                Token::Mark('}') => depth -= 1,
                Token::Mark(',') if depth == 1 => is_first = true,
                Token::Word(word) if depth == 1 && is_first => {
                    names.push(word.clone());
                    is_first = false;
                }
                _ => {}
            }
        }
        names
    }

    /// `use a::{b, c as d};` in the root: `b` and `d` come from `a`.
    fn export(&mut self, items: &mut Items) {
        let end = self.tokens[self.at..].iter().position(|token| *token == Token::Mark(';'));
        let tokens = &self.tokens[self.at + 1..self.at + end.unwrap_or(1)];
        let mut words = tokens.iter().filter_map(|token| match token {
            Token::Word(word) if word != "crate" && word != "self" => Some(word),
            _ => None,
        });
        let Some(from) = words.next() else { return };
        for word in words {
            items.exports.push((word.clone(), from.clone()));
        }
        // The root is no module, so its paths do not count.
        self.at += end.unwrap_or(1) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(files: &[(&str, &str)]) -> Graph {
        let mut items = Vec::new();
        for (module, text) in files {
            let module = module.split("::").filter(|part| !part.is_empty()).map(str::to_owned);
            items.push(Items::read(&Source::read(text).tokens, module.collect()));
        }
        graph(&items)
    }

    #[test]
    fn a_planted_circle_is_found() {
        let graph = planted(&[
            ("", "mod a; mod b; mod c; mod d; pub use c::{Thing, Other as Else};"),
            ("a", "use crate::b::Part;"),
            ("b", "fn f() { crate::Else::new() }"),
            ("c", "mod inner;"),
            ("c::inner", "use super::super::{d, x::y};"),
            ("d", "use super::{std, a::{b, c}};"),
        ]);
        assert_eq!(graph.largest_circle(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn tests_strings_visibilities_and_inner_paths_make_no_circle() {
        let graph = planted(&[
            ("", "mod a; mod b; mod tests { }"),
            ("a", "use crate::b::Part;"),
            (
                "b",
                "#[cfg(test)] mod tests { use crate::a::x; fn f() { crate::a::y() } }
                 #[cfg(test)] use crate::a;
                 #[cfg(all(test, unix))] fn f() -> Vec<u8> { crate::a::z() }
                 pub(in crate::a) fn g() { let x = \"crate::a\"; } // crate::a
                 mod inner { use super::a; }",
            ),
        ]);
        assert!(graph.largest_circle().is_empty(), "{graph:?}");
    }

    #[test]
    fn this_crate_has_its_modules() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/main.rs");
        let graph = of_crate(&root).unwrap();
        assert!(graph.has("structure") && graph.has("test") && graph.len() > 8);
    }
}
