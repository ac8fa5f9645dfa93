//! Files of a folder.

use std::path::{Path, PathBuf};

use fedra_data::{Problem, ReadError};

use super::{failed, place};

/// The files of a folder with one of the extensions, gzipped or not, in the order of their
/// names.
///
/// # Errors
///
/// [`ReadError`] for a folder that cannot be read, or has no such file.
pub fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, ReadError> {
    let mut files = entries(folder)?;
    files.retain(|path| path.is_file() && has_extension(path, extensions));
    if files.is_empty() {
        let known = extensions.join(", ");
        let problem = format!("the folder has no file with the extension {known}");
        return Err(place(folder).error(Problem::System(problem)));
    }
    Ok(files)
}

/// The entries of a folder that are not hidden, in the order of their names.
///
/// # Errors
///
/// [`ReadError`] for a folder that cannot be read.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let list = || {
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with('.') {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    };
    let mut paths = list().map_err(|error: std::io::Error| failed(folder, &error))?;
    paths.sort();
    Ok(paths)
}

/// True if the name ends in one of the extensions, in any case, or in one and `.gz`.
pub fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    extensions
        .iter()
        .any(|extension| name.strip_suffix(extension).is_some_and(|rest| rest.ends_with('.')))
}
