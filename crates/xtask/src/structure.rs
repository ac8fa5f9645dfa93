//! `cargo xtask test lint`, structure: circles among the modules of a crate and among
//! crates, the length of files, and the voice of comments, each held to a limit.
//!
//! Limits only ever fall: a change that improves a figure lowers its limit here.

mod files;
mod graph;
mod modules;
mod script;
mod source;
mod voice;

use std::path::Path;

use anyhow::{Context, Result, bail};
use fedra_harness::{process, project};
use serde_json::Value;

use self::files::File;
use self::graph::Graph;
use self::source::{Comment, Kind};
use self::voice::Voice;

/// Most modules of a crate that may need each other in a circle.
const MOST_IN_CIRCLE: usize = 2;
/// Most lines of a source file.
const MOST_LINES: usize = 600;
/// Most headers that may begin with a question word or another that is neither noun nor
/// verb, in per cent.
const MOST_ASKING_HEADERS: f64 = 0.0;
/// Most doc comments that may, in per cent.
const MOST_ASKING_DOCS: f64 = 0.0;
/// Most words for people in 1,000 words of comments.
const MOST_PEOPLE: f64 = 0.1;

/// Prints the figures; an error that names those over their limit.
pub fn check() -> Result<()> {
    let mut metadata = project::cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata = process::probe(&mut metadata).context("cargo metadata failed")?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    let packages = metadata["packages"].as_array().context("no packages in the metadata")?;

    let mut faults = Vec::new();
    for package in packages {
        faults.extend(modules_of(package)?);
    }
    faults.extend(crates(packages)?);
    let languages = [
        ("Rust", files::rust(&folders(packages)?)?),
        ("TypeScript", files::scripts(&project::root())?),
    ];
    faults.extend(lengths(languages.iter().flat_map(|(_, files)| files)));
    faults.extend(comments(&languages));
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

/// Prints the largest circle of a package's targets. Returns what is wrong with it.
fn modules_of(package: &Value) -> Result<Option<String>> {
    let name = text(package, "name")?;
    let (mut count, mut largest, mut needs) = (0, Vec::new(), Vec::new());
    for target in package["targets"].as_array().context("a package without targets")? {
        let kinds = target["kind"].as_array().context("a target without a kind")?;
        if kinds.iter().any(|kind| {
            matches!(kind.as_str(), Some("test" | "bench" | "example" | "custom-build"))
        }) {
            continue;
        }
        let graph = modules::of_crate(Path::new(text(target, "src_path")?))?;
        count += graph.len();
        let circle = graph.largest_circle();
        if circle.len() > largest.len() {
            needs = graph.needs_among(&circle);
            largest = circle;
        }
    }
    println!("{name:<26}{count:>3} modules, {}", described(&largest));
    Ok((largest.len() > MOST_IN_CIRCLE).then(|| {
        let (modules, needs) = (largest.len(), needs.join("; "));
        format!(
            "{modules} modules of {name} need each other in a circle, {MOST_IN_CIRCLE} may: {needs}"
        )
    }))
}

/// Prints the largest circle among crates; what tests alone need does not count.
fn crates(packages: &[Value]) -> Result<Option<String>> {
    let mut graph = Graph::default();
    for package in packages {
        graph.add(text(package, "name")?);
    }
    for package in packages {
        let dependencies = package["dependencies"].as_array().context("no dependencies")?;
        for dependency in
            dependencies.iter().filter(|d| d["path"].is_string() && d["kind"] != "dev")
        {
            graph.connect(text(package, "name")?, text(dependency, "name")?);
        }
    }
    let circle = graph.largest_circle();
    println!("{:<26}{:>3} crates,  {}", "the workspace", graph.len(), described(&circle));
    Ok((!circle.is_empty()).then(|| format!("crates need each other: {}", circle.join(", "))))
}

fn described(circle: &[String]) -> String {
    match circle {
        [] => "no circle".to_owned(),
        circle => format!("largest circle {}: {}", circle.len(), circle.join(", ")),
    }
}

/// The folder of each package.
fn folders(packages: &[Value]) -> Result<Vec<&Path>> {
    let folder = |package| {
        let manifest = Path::new(text(package, "manifest_path")?);
        manifest.parent().context("a manifest without a folder")
    };
    packages.iter().map(folder).collect()
}

/// Prints the longest file. Returns those that are too long.
fn lengths<'a>(files: impl Iterator<Item = &'a File> + Clone) -> Option<String> {
    let longest = files.clone().max_by_key(|file| file.lines)?;
    println!("{:<26}{:>3} lines:  {}", "the longest file", longest.lines, longest.path.display());
    let too_long: Vec<_> = files
        .filter(|file| file.lines > MOST_LINES)
        .map(|file| format!("{} ({})", file.path.display(), file.lines))
        .collect();
    (!too_long.is_empty())
        .then(|| format!("over {MOST_LINES} lines, to be divided: {}", too_long.join(", ")))
}

/// A figure of comments: its name, its value, its limit, and the comments that raise it.
type Figure = (&'static str, fn(Voice) -> f64, f64, fn(&Comment) -> bool);

const FIGURES: [Figure; 3] = [
    (
        "headers that begin with neither noun nor verb, %",
        Voice::asking_headers,
        MOST_ASKING_HEADERS,
        |comment| comment.kind == Kind::Header && voice::asks(comment),
    ),
    ("doc comments that do, %", Voice::asking_docs, MOST_ASKING_DOCS, |comment| {
        comment.kind == Kind::Doc && voice::asks(comment)
    }),
    (
        "nobody, somebody, whoever, strangers in 1,000 words",
        Voice::people,
        MOST_PEOPLE,
        voice::names_people,
    ),
];

/// Prints the figures of all comments by language. Returns those over their limit, with
/// the places that make them so.
fn comments(languages: &[(&str, Vec<File>)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, figure, most, raises) in FIGURES {
        let mut figures = String::new();
        for (language, files) in languages {
            let figure = figure(files.iter().map(|file| Voice::of(&file.comments)).sum());
            figures += &format!("{language} {figure:.2}, ");
            if figure > most {
                let places = places(files, raises).join(", ");
                faults.push(format!("{name}: {language} {figure:.2}, at most {most:.2}: {places}"));
            }
        }
        println!("{name:<54}{figures}at most {most:.2}");
    }
    faults
}

/// Paths and lines of the comments that satisfy `condition`.
fn places(files: &[File], condition: fn(&Comment) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for file in files {
        let comments = file.comments.iter().filter(|comment| condition(comment));
        places.extend(comments.map(|comment| format!("{}:{}", file.path.display(), comment.line)));
    }
    places
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("the metadata has no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        let comments = script::comments(text);
        File { path: path.into(), lines: text.lines().count(), comments }
    }

    #[test]
    fn a_file_that_is_too_long_is_named() {
        let files = [
            file("a.ts", &"let a;\n".repeat(MOST_LINES)),
            file("b.ts", &"let b;\n".repeat(MOST_LINES + 1)),
        ];
        assert_eq!(lengths(files[..1].iter()), None);
        let fault = lengths(files.iter()).unwrap();
        assert!(fault.ends_with(": b.ts (601)"), "{fault}");
    }

    #[test]
    fn each_language_is_held_to_the_limits_and_its_places_are_named() {
        let sound = || vec![file("a.rs", "// A noun.\n\n/** Does it. */\nlet a;")];
        assert!(comments(&[("Rust", sound()), ("TypeScript", sound())]).is_empty());
        let text = "/** What it is. */\nlet a;\n/** So it does. */\nlet b;\n// Nobody.\n";
        let faults = comments(&[("Rust", sound()), ("TypeScript", vec![file("b.ts", text)])]);
        let ends = ["b.ts:1", "b.ts:3", "b.ts:5"];
        assert_eq!(faults.len(), ends.len(), "{faults:?}");
        for (fault, end) in faults.iter().zip(ends) {
            assert!(fault.contains("TypeScript") && fault.ends_with(end), "{fault}");
        }
    }
}
