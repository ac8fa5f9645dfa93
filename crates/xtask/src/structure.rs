//! `cargo xtask test lint`, structure: circles among the modules of a crate and among
//! crates, and the voice of comments, each held to a limit.
//!
//! Limits only ever fall: a change that improves a figure lowers its limit here.

mod graph;
mod modules;
mod source;
mod voice;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fedra_harness::{process, project};
use serde_json::Value;

use self::graph::Graph;
use self::source::Source;
use self::voice::Voice;

/// Most modules of a crate that may need each other in a circle.
const MOST_IN_CIRCLE: usize = 2;
/// Most headers (`//!`) that may begin with a question word, in per cent.
const MOST_ASKING_HEADERS: f64 = 0.0;
/// Most doc comments (`///`) that may, in per cent.
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
    faults.extend(comments(packages)?);
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

/// Prints the figures of all comments. Returns those over their limit.
fn comments(packages: &[Value]) -> Result<Vec<String>> {
    let mut voice = Voice::default();
    for package in packages {
        let manifest = Path::new(text(package, "manifest_path")?);
        let mut files = Vec::new();
        rust_files(manifest.parent().context("a manifest without a folder")?, &mut files)?;
        for file in files {
            let text = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            voice += Voice::of(&Source::read(&text));
        }
    }
    let figures = [
        ("headers that begin with a question word, %", voice.asking_headers(), MOST_ASKING_HEADERS),
        ("doc comments that do, %", voice.asking_docs(), MOST_ASKING_DOCS),
        ("nobody, somebody, whoever, strangers in 1,000 words", voice.people(), MOST_PEOPLE),
    ];
    let mut faults = Vec::new();
    for (name, figure, most) in figures {
        println!("{name:<54}{figure:>6.2}  (at most {most:.2})");
        if figure > most {
            faults.push(format!("{name}: {figure:.2}, at most {most:.2}"));
        }
    }
    Ok(faults)
}

/// All Rust files of a package.
fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") && !path.ends_with("node_modules") {
                rust_files(&path, files)?;
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("the metadata has no {key}"))
}
