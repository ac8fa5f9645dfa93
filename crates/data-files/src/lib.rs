//! Data sets from files and folders of this machine: opens, unpacks and decodes them, and
//! hands them to `fedra-data`, which says what they mean.
//!
//! | kind | forms |
//! |---|---|
//! | table | a CSV file, or a folder of them |
//! | text | a text file, or a folder of them |
//! | image | a folder with a folder of PNG and JPEG files for each class, or a CSV file with the columns `file` and `label` |
//! | array | a file of features and one of labels, as `.npy` or IDX; one `.npz` or `.safetensors` with both; or a folder with a usual pair |
//!
//! Any of them but pictures, `.npz` and `.safetensors` may be gzipped. Files of a folder are
//! read in the order of their names, and hidden ones are passed over.

mod arrays;
mod decode;
mod folder;
mod pictures;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fedra_data::{
    CsvOptions, Dataset, Part, Place, Problem, ReadError, ReadOptions, Reader, text_columns,
};
use fedra_protocol::{DataSpec, ModelSpec};
use flate2::read::MultiGzDecoder;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;

/// Extensions of tables.
const TABLES: &[&str] = &["csv", "tsv"];
/// Extensions of texts.
const TEXTS: &[&str] = &["txt"];

/// Files of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// A file or a folder.
    pub data: PathBuf,
    /// The file of the labels, if arrays have one of its own.
    pub labels: Option<PathBuf>,
    /// Purpose, which decides between the usual names of a folder's files.
    pub purpose: Purpose,
}

/// Purpose of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To train on.
    Training,
    /// To evaluate with.
    Evaluation,
}

/// Reads a data set as `spec` describes it for `model`.
///
/// # Errors
///
/// [`ReadError`] with the file, the line and the column of the first mistake.
pub fn load(
    source: &Source,
    spec: &DataSpec,
    model: &ModelSpec,
    options: ReadOptions,
) -> Result<Dataset, ReadError> {
    let mut reader = Reader::new(spec, model.output_positions(), options);
    if let (Some(labels), false) = (&source.labels, matches!(spec, DataSpec::Array(_))) {
        let problem = format!("a file of labels is for arrays; the task has {} data", spec.kind());
        return Err(place(labels).error(Problem::System(problem)));
    }
    match spec {
        DataSpec::Table(_) => all(&mut reader, &source.data, TABLES)?,
        DataSpec::Text(_) => all(&mut reader, &source.data, TEXTS)?,
        DataSpec::Array(_) => arrays::read(&mut reader, source)?,
        DataSpec::Image(_) => pictures::read(&mut reader, &source.data, options.csv)?,
    }
    reader.finish()
}

/// Hands on the value of a column for each example of a table, or of a CSV file that lists
/// pictures, in the order of [`load`].
///
/// # Errors
///
/// [`ReadError`] for data of another form, and for a file without the column.
pub fn column(
    path: &Path,
    spec: &DataSpec,
    column: &str,
    options: CsvOptions,
    mut take: impl FnMut(&str),
) -> Result<(), ReadError> {
    let files = match spec {
        DataSpec::Table(_) if path.is_dir() => folder::files(path, TABLES)?,
        DataSpec::Table(_) => vec![path.to_owned()],
        DataSpec::Image(_) if !path.is_dir() => vec![path.to_owned()],
        _ => {
            let problem = "only a table, or a CSV file that lists pictures, has columns";
            return Err(place(path).error(Problem::System(problem.to_owned())));
        }
    };
    for file in files {
        let mut bytes = Vec::new();
        open(&file)?.read_to_end(&mut bytes).map_err(|error| failed(&file, &error))?;
        let rows = text_columns(&name(&file), &bytes, &[column], options)?;
        rows.iter().flat_map(|row| &row.fields).for_each(|field| take(field));
    }
    Ok(())
}

/// The parts of a folder that are data sets of their own, by name: files that have all of an
/// example, and folders.
///
/// # Errors
///
/// [`ReadError`] for a folder that cannot be read, or has none.
pub fn parts(folder: &Path, spec: &DataSpec) -> Result<Vec<PathBuf>, ReadError> {
    let extensions = match spec {
        DataSpec::Table(_) => TABLES,
        DataSpec::Text(_) => TEXTS,
        DataSpec::Image(_) => &["csv"],
        DataSpec::Array(_) => arrays::ARCHIVES,
    };
    if folder.is_file() {
        let problem = "it is a file; give a folder that has a file or a folder for each part";
        return Err(place(folder).error(Problem::System(problem.to_owned())));
    }
    let mut parts = folder::entries(folder)?;
    parts.retain(|path| path.is_dir() || folder::has_extension(path, extensions));
    if parts.is_empty() {
        let known = extensions.join(", ");
        let problem = format!("the folder has no folder, and no file with the extension {known}");
        return Err(place(folder).error(Problem::System(problem)));
    }
    Ok(parts)
}

/// Reads a file, or the files of a folder that have one of the extensions.
fn all(reader: &mut Reader, path: &Path, extensions: &[&str]) -> Result<(), ReadError> {
    if !path.is_dir() {
        return read_file(reader, path, Part::Features);
    }
    let files = folder::files(path, extensions)?;
    files.iter().try_for_each(|file| read_file(reader, file, Part::Features))
}

/// Hands a file over, unpacked.
fn read_file(reader: &mut Reader, path: &Path, part: Part) -> Result<(), ReadError> {
    let mut bytes = open(path)?;
    let mut piece = vec![0; PIECE];
    reader.open(&name(path), part)?;
    loop {
        let count = bytes.read(&mut piece).map_err(|error| failed(path, &error))?;
        if count == 0 {
            return reader.close();
        }
        reader.push(&piece[..count])?;
    }
}

/// Opens a file; one that begins as gzip does is unpacked.
fn open(path: &Path) -> Result<Box<dyn Read>, ReadError> {
    let failed = |error: std::io::Error| failed(path, &error);
    let mut file = File::open(path).map_err(failed)?;
    let mut start = [0; 2];
    let is_gzip = file.read_exact(&mut start).is_ok() && start == [0x1f, 0x8b];
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(match is_gzip {
        true => Box::new(MultiGzDecoder::new(BufReader::new(file))),
        false => Box::new(file),
    })
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn place(path: &Path) -> Place {
    Place::file(&name(path))
}

fn failed(path: &Path, error: &std::io::Error) -> ReadError {
    place(path).error(Problem::System(error.to_string()))
}
