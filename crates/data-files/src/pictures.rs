//! Pictures with their classes: a folder for each class, or a list in a CSV file.

use std::io::Read;
use std::path::Path;

use fedra_data::{CsvOptions, Picture, Place, Problem, ReadError, Reader, text_columns};

use super::folder::{entries, has_extension};
use super::{decode, failed, name, open, place};

const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// Hands the pictures of a folder or a list over.
pub fn read(reader: &mut Reader, path: &Path, csv: CsvOptions) -> Result<(), ReadError> {
    if path.is_dir() { by_folder(reader, path) } else { listed(reader, path, csv) }
}

fn by_folder(reader: &mut Reader, folder: &Path) -> Result<(), ReadError> {
    let mut pictures = 0;
    for class in entries(folder)?.iter().filter(|entry| entry.is_dir()) {
        let class_name = class.file_name().unwrap_or_default().to_string_lossy();
        for file in entries(class)? {
            if file.is_file() && has_extension(&file, &EXTENSIONS) {
                picture(reader, &file, &class_name, place(&file))?;
                pictures += 1;
            }
        }
    }
    if pictures == 0 {
        let problem = "the folder needs a folder of PNG or JPEG files for each class, with the \
                       class as its name";
        return Err(place(folder).error(Problem::System(problem.to_owned())));
    }
    Ok(())
}

/// Pictures named by a CSV file, relative to its folder.
fn listed(reader: &mut Reader, list: &Path, csv: CsvOptions) -> Result<(), ReadError> {
    let mut bytes = Vec::new();
    open(list)?.read_to_end(&mut bytes).map_err(|error| failed(list, &error))?;
    if bytes.is_empty() {
        return Err(place(list).error(Problem::EmptyFile));
    }
    let rows = text_columns(&name(list), &bytes, &["file", "label"], csv)?;
    if rows.is_empty() {
        return Err(place(list).error(Problem::NoRows));
    }
    let folder = list.parent().unwrap_or(Path::new("."));
    for row in &rows {
        let [file, label] = &row.fields[..] else { unreachable!("two columns were asked for") };
        let at = Place { line: Some(row.line), ..place(list) };
        picture(reader, &folder.join(file), label, at)?;
    }
    Ok(())
}

/// Decodes a picture. `at` is the place that names its class.
fn picture(reader: &mut Reader, path: &Path, class: &str, at: Place) -> Result<(), ReadError> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|error| failed(path, &error))?;
    let broken = |problem: String| place(path).error(Problem::BrokenImage(problem));
    let pixels = decode::decode(&bytes).map_err(broken)?;
    let picture = Picture::new(pixels.width, pixels.height, &pixels.rgba)
        .map_err(|problem| place(path).error(problem))?;
    reader.picture(&name(path), picture, class).map_err(|error| match *error.problem {
        problem @ Problem::UnknownCategory { .. } => at.error(problem),
        problem => error.place.error(problem),
    })
}
