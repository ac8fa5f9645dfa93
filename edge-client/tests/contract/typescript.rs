//! TypeScript declarations of Rust types, read from their source: with their doc comments
//! and in the form that serde gives them. Knows the shapes that the contract has, and
//! panics at any other.

use std::collections::BTreeMap;
use std::fmt::Write;

use syn::{Attribute, Expr, Fields, GenericArgument, Item, Lit, LitStr, Meta, PathArguments, Type};

/// Form of an enum whose serialisation serde does not derive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The form that serde derives.
    Serde,
    /// Names in kebab case. A variant with a content is the prefix of the content's names.
    Codes,
    /// Each variant is its content.
    Untagged,
}

/// A type of the contract.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name in Rust.
    pub rust: &'static str,
    /// Its name in TypeScript.
    pub typescript: &'static str,
    /// Its form.
    pub form: Form,
}

/// Rust types, and their names in TypeScript.
pub struct Names(BTreeMap<&'static str, &'static str>);

impl Names {
    /// Names of these types, and of the identifiers that are texts.
    pub fn new(entries: impl Iterator<Item = Entry>) -> Self {
        let known = [
            ("String", "string"),
            ("str", "string"),
            ("SubjectId", "string"),
            ("bool", "boolean"),
            ("u32", "number"),
            ("u64", "number"),
            ("usize", "number"),
            ("f32", "number"),
            ("f64", "number"),
        ];
        let own = entries.map(|entry| (entry.rust, entry.typescript));
        Self(known.into_iter().chain(own).collect())
    }

    /// The declaration of `entry`, which is in `source`.
    pub fn declaration(&self, source: &str, entry: Entry) -> String {
        let file = syn::parse_file(source).expect("Rust");
        let declared = file.items.iter().find_map(|item| match item {
            Item::Struct(item) if item.ident == entry.rust => Some(self.structure(item, entry)),
            Item::Enum(item) if item.ident == entry.rust => Some(self.enumeration(item, entry)),
            _ => None,
        });
        declared.unwrap_or_else(|| panic!("there is no {} in the source", entry.rust))
    }

    fn structure(&self, item: &syn::ItemStruct, entry: Entry) -> String {
        let container = Container::of(&item.attrs);
        let members = self.members(&item.fields, &container, container.rename.as_deref());
        format!("{}export interface {} {{\n{members}}}\n", docs(&item.attrs, 0), entry.typescript)
    }

    fn enumeration(&self, item: &syn::ItemEnum, entry: Entry) -> String {
        let container = Container::of(&item.attrs);
        if let Some(tag) = &container.tag {
            return self.tagged(item, entry, &container, tag);
        }
        let mut text = format!("{}export type {} =\n", docs(&item.attrs, 0), entry.typescript);
        for variant in &item.variants {
            let name = match entry.form {
                Form::Serde => cased(&variant.ident.to_string(), container.rename.as_deref()),
                Form::Codes => cased(&variant.ident.to_string(), Some("kebab-case")),
                Form::Untagged => String::new(),
            };
            let content = variant.fields.iter().next().map(|field| self.name(&field.ty));
            let value = match (content, entry.form) {
                (None, Form::Serde | Form::Codes) => format!("'{name}'"),
                (Some(content), Form::Codes) => format!("`{name}-${{{content}}}`"),
                (Some(content), Form::Untagged) => content,
                (content, form) => panic!("{}: {form:?} with {content:?}", variant.ident),
            };
            write!(text, "{}  | {value}\n", docs(&variant.attrs, 1)).expect("a string");
        }
        text.truncate(text.trim_end().len());
        text + ";\n"
    }

    /// An interface for each variant, called as the variant with the last word of the
    /// enum's name, and their union.
    fn tagged(
        &self,
        item: &syn::ItemEnum,
        entry: Entry,
        container: &Container,
        tag: &str,
    ) -> String {
        let mut text = String::new();
        let mut union = Vec::new();
        for variant in &item.variants {
            let name = format!("{}Event", variant.ident);
            let value = cased(&variant.ident.to_string(), container.rename.as_deref());
            let (parent, members) = match &variant.fields {
                Fields::Named(_) => {
                    let rename = container.rename_fields.as_deref();
                    (String::new(), self.members(&variant.fields, container, rename))
                }
                Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                    (format!(" extends {}", self.name(&fields.unnamed[0].ty)), String::new())
                }
                _ => panic!("{}: neither fields nor one content", variant.ident),
            };
            let docs = docs(&variant.attrs, 0);
            write!(
                text,
                "{docs}export interface {name}{parent} {{\n  readonly {tag}: '{value}';\n{members}}}\n\n"
            )
            .expect("a string");
            union.push(name);
        }
        let docs = docs(&item.attrs, 0);
        format!("{text}{docs}export type {} =\n  | {};\n", entry.typescript, union.join("\n  | "))
    }

    fn members(&self, fields: &Fields, container: &Container, rename: Option<&str>) -> String {
        let mut text = String::new();
        for field in fields {
            let ident = field.ident.as_ref().expect("a named field").to_string();
            let content = argument(&field.ty, "Option");
            let serde = Container::of(&field.attrs);
            let optional = serde.default
                || serde.skips
                || container.default
                || (content.is_some() && container.is_input);
            let ty = self.name(content.unwrap_or(&field.ty));
            let mark = if optional { "?" } else { "" };
            let null = if content.is_some() && !optional { " | null" } else { "" };
            let name = cased(&ident, rename);
            let docs = docs(&field.attrs, 1);
            write!(text, "{docs}  readonly {name}{mark}: {ty}{null};\n").expect("a string");
        }
        text
    }

    fn name(&self, ty: &Type) -> String {
        if let Some(boxed) = argument(ty, "Box") {
            return self.name(boxed);
        }
        if let Some(item) = argument(ty, "Vec") {
            return format!("readonly {}[]", self.name(item));
        }
        let ident = match ty {
            Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
            Type::Reference(reference) => return self.name(&reference.elem),
            _ => None,
        };
        let ident = ident.expect("a type with a name");
        let known = self.0.get(ident.as_str());
        (*known.unwrap_or_else(|| panic!("{ident} is not in the contract"))).to_owned()
    }
}

/// Attributes of serde that matter here, on a type or a field.
#[derive(Default)]
struct Container {
    rename: Option<String>,
    rename_fields: Option<String>,
    tag: Option<String>,
    default: bool,
    /// Left out where there is nothing.
    skips: bool,
    /// Read, and never written.
    is_input: bool,
}

impl Container {
    fn of(attrs: &[Attribute]) -> Self {
        let mut found = Self::default();
        for attr in attrs {
            if attr.path().is_ident("derive") {
                let (mut reads, mut writes) = (false, false);
                let seen = attr.parse_nested_meta(|meta| {
                    let last = meta.path.segments.last().map(|last| last.ident.to_string());
                    reads |= last.as_deref() == Some("Deserialize");
                    writes |= last.as_deref() == Some("Serialize");
                    Ok(())
                });
                seen.expect("a list of traits");
                found.is_input |= reads && !writes;
            }
            if attr.path().is_ident("serde") {
                found.read(attr);
            }
        }
        found
    }

    fn read(&mut self, attr: &Attribute) {
        let read = attr.parse_nested_meta(|meta| {
            let key = meta.path.require_ident()?.to_string();
            let value = match meta.value() {
                Ok(value) => Some(value.parse::<LitStr>()?.value()),
                Err(_) => None,
            };
            match key.as_str() {
                "rename_all" => self.rename = value,
                "rename_all_fields" => self.rename_fields = value,
                "tag" => self.tag = value,
                "default" => self.default = true,
                "skip_serializing_if" => self.skips = true,
                "deny_unknown_fields" | "untagged" => {}
                other => panic!("serde's {other} has no meaning here yet"),
            }
            Ok(())
        });
        read.expect("attributes of serde");
    }
}

/// The argument of the generic type `name`, if `ty` is one.
fn argument<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(argument) => Some(argument),
        _ => None,
    }
}

/// `name` by one of serde's rules, whose words begin with a capital or follow a `_`.
fn cased(name: &str, rule: Option<&str>) -> String {
    let mut words: Vec<String> = Vec::new();
    for character in name.chars() {
        match words.last_mut() {
            _ if character == '_' => words.push(String::new()),
            Some(word) if !character.is_uppercase() => word.push(character),
            _ => words.push(character.to_lowercase().collect()),
        }
    }
    match rule {
        None => name.to_owned(),
        Some("lowercase") => words.concat(),
        Some("kebab-case") => words.join("-"),
        Some("snake_case") => words.join("_"),
        Some("camelCase") => {
            let rest = words.iter().skip(1).map(|word| {
                let mut characters = word.chars();
                let first = characters.next().into_iter().flat_map(char::to_uppercase);
                first.chain(characters).collect::<String>()
            });
            words.iter().take(1).cloned().chain(rest).collect()
        }
        Some(other) => panic!("no rule {other}"),
    }
}

/// The doc comment as TSDoc, with links as plain code.
fn docs(attrs: &[Attribute], depth: usize) -> String {
    let line = |attr: &Attribute| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(unlinked(text.value().trim())),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    let lines: Vec<String> = attrs.iter().filter_map(line).collect();
    let indent = "  ".repeat(depth);
    match &lines[..] {
        [] => String::new(),
        [line] => format!("{indent}/** {line} */\n"),
        lines => {
            let lines: String = lines
                .iter()
                .map(|line| format!("{indent} * {line}").trim_end().to_owned() + "\n")
                .collect();
            format!("{indent}/**\n{lines}{indent} */\n")
        }
    }
}

/// `text` with every link of rustdoc as the code that it shows.
fn unlinked(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((code, after)) = link.split_once("`]") else { break };
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        write!(plain, "{before}`{code}`").expect("a string");
        rest = target.map_or(after, |(_, after)| after);
    }
    plain + rest
}
