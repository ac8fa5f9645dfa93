//! Features and labels: two files, or one archive of both.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use fedra_data::{Part, Problem, ReadError, Reader};
use safetensors::{Dtype, SafeTensors};
use zip::ZipArchive;

use super::folder::has_extension;
use super::{PIECE, Purpose, Source, failed, name, open, place, read_file};

/// Names of the two arrays in an archive or a folder.
const NAMES: [[&str; 2]; 3] = [["features", "labels"], ["x", "y"], ["arr_0", "arr_1"]];

/// Extensions of archives with both arrays.
pub const ARCHIVES: &[&str] = &["npz", "safetensors"];

/// Hands the arrays of a source over.
pub fn read(reader: &mut Reader, source: &Source) -> Result<(), ReadError> {
    let path = &source.data;
    let misplaced = |what: &str| {
        let problem = format!("{what} holds the labels as well; leave the file of labels out");
        Err(place(path).error(Problem::System(problem)))
    };
    match &source.labels {
        Some(_) if path.is_dir() => misplaced("a folder"),
        Some(_) if has_extension(path, ARCHIVES) => misplaced("an archive"),
        Some(labels) => both(reader, path, labels),
        None if path.is_dir() => {
            let [features, labels] = pair(path, source.purpose)?;
            both(reader, &features, &labels)
        }
        None if has_extension(path, &["npz"]) => npz(reader, path),
        None if has_extension(path, &["safetensors"]) => tensors(reader, path),
        None => {
            let problem = "the labels are missing; name their file, or give a folder, .npz or \
                           .safetensors with both";
            Err(place(path).error(Problem::System(problem.to_owned())))
        }
    }
}

fn both(reader: &mut Reader, features: &Path, labels: &Path) -> Result<(), ReadError> {
    read_file(reader, features, Part::Features)?;
    read_file(reader, labels, Part::Labels)
}

/// The first usual pair of files that a folder has.
fn pair(folder: &Path, purpose: Purpose) -> Result<[PathBuf; 2], ReadError> {
    let prefix = match purpose {
        Purpose::Training => "train",
        Purpose::Evaluation => "t10k",
    };
    let mut names = vec![
        [format!("{prefix}-images-idx3-ubyte"), format!("{prefix}-labels-idx1-ubyte")],
        [format!("{prefix}-images.idx3-ubyte"), format!("{prefix}-labels.idx1-ubyte")],
    ];
    names.extend(NAMES[..2].iter().map(|pair| pair.map(|name| format!("{name}.npy"))));
    for pair in &names {
        let found = |name: &String| {
            let plain = folder.join(name);
            let packed = folder.join(format!("{name}.gz"));
            [plain, packed].into_iter().find(|path| path.is_file())
        };
        if let [Some(features), Some(labels)] = [found(&pair[0]), found(&pair[1])] {
            return Ok([features, labels]);
        }
    }
    let known: Vec<String> = names.iter().map(|pair| pair.join(" and ")).collect();
    let problem = format!("the folder has no {}, gzipped or not", known.join(", no "));
    Err(place(folder).error(Problem::System(problem)))
}

/// The names of an archive that are features and labels.
fn named<'a>(
    path: &Path,
    known: &(impl Iterator<Item = &'a str> + Clone),
) -> Result<[&'static str; 2], ReadError> {
    let has = |wanted: &str| known.clone().any(|name| name == wanted);
    NAMES.into_iter().find(|pair| pair.iter().all(|name| has(name))).ok_or_else(|| {
        let found: Vec<&str> = known.clone().collect();
        let problem = format!(
            "the archive needs the arrays features and labels, or x and y; it has {}",
            found.join(", ")
        );
        place(path).error(Problem::System(problem))
    })
}

fn npz(reader: &mut Reader, path: &Path) -> Result<(), ReadError> {
    let damaged = |error: &dyn ToString| {
        place(path).error(Problem::ArrayHeader(format!("no zip archive ({})", error.to_string())))
    };
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| damaged(&error))?;
    let known: Vec<String> = archive
        .file_names()
        .filter_map(|name| name.strip_suffix(".npy"))
        .map(str::to_owned)
        .collect();
    let names = named(path, &known.iter().map(String::as_str))?;
    for (array, part) in names.into_iter().zip([Part::Features, Part::Labels]) {
        let mut entry =
            archive.by_name(&format!("{array}.npy")).map_err(|error| damaged(&error))?;
        let mut piece = vec![0; PIECE];
        reader.open(&format!("{}/{array}", name(path)), part)?;
        loop {
            let count = entry.read(&mut piece).map_err(|error| failed(path, &error))?;
            if count == 0 {
                break;
            }
            reader.push(&piece[..count])?;
        }
        reader.close()?;
    }
    Ok(())
}

fn tensors(reader: &mut Reader, path: &Path) -> Result<(), ReadError> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(|error| failed(path, &error))?;
    let damaged = |problem: String| place(path).error(Problem::ArrayHeader(problem));
    let file = SafeTensors::deserialize(&bytes).map_err(|error| damaged(error.to_string()))?;
    let known = file.names();
    let names = named(path, &known.iter().map(|name| &**name))?;
    for (array, part) in names.into_iter().zip([Part::Features, Part::Labels]) {
        let tensor = file.tensor(array).map_err(|error| damaged(error.to_string()))?;
        let descr = descr(tensor.dtype())
            .ok_or_else(|| damaged(format!("the type {:?} is not known", tensor.dtype())))?;
        reader.open(&format!("{}/{array}", name(path)), part)?;
        reader.push(&numpy_header(descr, tensor.shape()))?;
        tensor.data().chunks(PIECE).try_for_each(|piece| reader.push(piece))?;
        reader.close()?;
    }
    Ok(())
}

/// NumPy's name of a type.
fn descr(dtype: Dtype) -> Option<&'static str> {
    Some(match dtype {
        Dtype::U8 => "|u1",
        Dtype::I8 => "|i1",
        Dtype::I16 => "<i2",
        Dtype::U16 => "<u2",
        Dtype::I32 => "<i4",
        Dtype::U32 => "<u4",
        Dtype::I64 => "<i8",
        Dtype::U64 => "<u8",
        Dtype::F32 => "<f4",
        Dtype::F64 => "<f8",
        _ => return None,
    })
}

/// The header of a `.npy` file: a tensor of `safetensors` goes on as one does.
fn numpy_header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let sides: String = shape.iter().map(|side| format!("{side},")).collect();
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sides})}}");
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, text.as_bytes()].concat()
}
