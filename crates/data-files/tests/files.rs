//! Files and folders as data sets, and what is said of those that are none.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use fedra_data::{CsvOptions, Dataset, Features, ReadOptions, Targets};
use fedra_data_files::{Purpose, Source, column, load, parts};
use fedra_protocol::layers::{Flatten, Linear};
use fedra_protocol::{DataSpec, Loss, ModelSpec, Shape};
use flate2::Compression;
use flate2::write::GzEncoder;
use jpeg_encoder::{ColorType, Encoder};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const ARRAY: &str =
    r#"{ "kind": "array", "shape": [1, 1, 2], "dtype": "uint8", "min": 0, "max": 255 }"#;
const TABLE: &str = r#"{ "kind": "table", "target": "y", "columns": [
    { "name": "x", "type": "number" }, { "name": "y", "type": "number" } ] }"#;
const IMAGE: &str =
    r#"{ "kind": "image", "height": 2, "width": 2, "fit": "stretch", "classes": ["cat", "dog"] }"#;

fn read(json: &str, data: &Path, labels: Option<PathBuf>) -> Result<Dataset, String> {
    let spec: DataSpec = serde_json::from_str(json).unwrap();
    let layers = vec![Flatten.into(), Linear { outputs: 2 }.into()];
    let input = match spec.shape() {
        Shape::Tokens { .. } => vec![1],
        shape => shape.dims(),
    };
    let model = ModelSpec::new(&input, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let source = Source { data: data.to_owned(), labels, purpose: Purpose::Training };
    load(&source, &spec, &model, ReadOptions::default()).map_err(|error| error.to_string())
}

fn values(data: &Dataset) -> &[f32] {
    match data.features() {
        Features::Values(values) => values,
        Features::Tokens(_) => panic!("values were expected"),
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn npy(shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), data].concat()
}

const IMAGES: [u8; 20] = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 255, 51, 102];
const LABELS: [u8; 10] = [0, 0, 8, 1, 0, 0, 0, 2, 1, 0];

/// The same two examples in every form.
fn check_two(data: Result<Dataset, String>) {
    let data = data.unwrap();
    assert_eq!(values(&data), [0.0, 1.0, 0.2, 0.4]);
    assert_eq!(data.targets(), &Targets::Classes(vec![1, 0]));
}

#[test]
fn arrays_come_in_two_files_in_an_archive_or_in_a_folder_with_usual_names() {
    for (images, labels, packed) in [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", false),
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", false),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", true),
    ] {
        let at = folder();
        let bytes = |bytes: &[u8]| if packed { gzipped(bytes) } else { bytes.to_vec() };
        let (images, labels) =
            (write(&at, images, &bytes(&IMAGES)), write(&at, labels, &bytes(&LABELS)));
        check_two(read(ARRAY, at.path(), None));
        check_two(read(ARRAY, &images, Some(labels)));
    }
    let at = folder();
    let (x, y) = (npy("(2, 1, 2)", &[0, 255, 51, 102]), npy("(2,)", &[1, 0]));
    write(&at, "x.npy", &x);
    write(&at, "y.npy", &y);
    check_two(read(ARRAY, at.path(), None));
    let mut archive = ZipWriter::new(fs::File::create(at.path().join("both.npz")).unwrap());
    for (name, bytes) in [("y.npy", &y), ("x.npy", &x)] {
        archive.start_file(name, SimpleFileOptions::default()).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
    check_two(read(ARRAY, &at.path().join("both.npz"), None));
    let tensor = |shape, data| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::U8, shape, data).unwrap()
    };
    let tensors = [
        ("features", tensor(vec![2, 1, 2], &[0, 255, 51, 102][..])),
        ("labels", tensor(vec![2], &[1, 0][..])),
    ];
    let file = safetensors::serialize(tensors, None).unwrap();
    check_two(read(ARRAY, &write(&at, "both.safetensors", &file), None));
}

#[test]
fn arrays_that_are_not_there_are_named() {
    let at = folder();
    let refused = |path: &Path, labels| read(ARRAY, path, labels).unwrap_err();
    let error = refused(at.path(), None);
    assert!(error.contains("no train-images-idx3-ubyte and train-labels-idx1-ubyte"), "{error}");
    let x = write(&at, "x.npy", &npy("(2, 1, 2)", &[0; 4]));
    assert!(refused(&x, None).contains("the labels are missing; name their file"));
    assert!(
        refused(&at.path().join("none.npy"), Some(x.clone())).contains("none.npy: cannot be read")
    );
    let zip = write(&at, "a.npz", b"PK nothing");
    assert!(refused(&zip, None).contains("no zip archive"));
    assert!(refused(&zip, Some(x.clone())).contains("leave the file of labels out"));
    let tensors = write(&at, "a.safetensors", b"nothing");
    assert!(refused(&tensors, None).contains("header of the array is damaged"));
    let cut = write(&at, "x.npy.gz", &gzipped(&npy("(2, 1, 2)", &[0; 4]))[..20]);
    assert!(refused(&cut, Some(x)).contains("x.npy.gz: cannot be read"));
    let error = read(TABLE, at.path(), Some(at.path().join("y"))).unwrap_err();
    assert!(error.contains("a file of labels is for arrays; the task has table data"), "{error}");
}

#[test]
fn tables_come_in_a_file_or_a_folder_and_may_be_gzipped() {
    let at = folder();
    write(&at, "b.csv", b"x,y\n3,4\n");
    write(&at, "Ä 1.CSV.gz", &gzipped(b"x;y\n5;6\n"));
    write(&at, "a.tsv", b"y\tx\n2\t1\n");
    write(&at, ".hidden.csv", b"nothing");
    write(&at, "notes.md", b"nothing");
    let data = read(TABLE, at.path(), None).unwrap();
    assert_eq!(values(&data), [1.0, 3.0, 5.0]);
    let one = read(TABLE, &at.path().join("b.csv"), None).unwrap();
    assert_eq!(values(&one), [3.0]);
    let error = read(TABLE, &write(&at, "größe.csv", b"x,y\n1,x\n"), None).unwrap_err();
    assert!(error.contains("größe.csv, line 2, column \"y\": \"x\" is not a number"), "{error}");
    let error = read(TABLE, folder().path(), None).unwrap_err();
    assert!(error.contains("the folder has no file with the extension csv, tsv"), "{error}");
    let error = read(TABLE, &at.path().join("none.csv"), None).unwrap_err();
    assert!(error.contains("none.csv: cannot be read"), "{error}");
}

/// The pixels of a picture whose left half has one colour and whose right half another.
fn halves(width: u16, height: u16, left: [u8; 3], right: [u8; 3]) -> Vec<u8> {
    let row = || (0..width).flat_map(|x| if x < width / 2 { left } else { right });
    (0..height).flat_map(|_| row()).collect()
}

fn png(width: u16, height: u16, color: png::ColorType, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width.into(), height.into());
    encoder.set_color(color);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
    bytes
}

fn jpeg(width: u16, height: u16, pixels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Encoder::new(&mut bytes, 95).encode(pixels, width, height, ColorType::Rgb).unwrap();
    bytes
}

/// Within what the filter mixes at an edge.
fn close(actual: &[f32], expected: &[f32]) {
    assert_eq!(actual.len(), expected.len());
    for (a, b) in actual.iter().zip(expected) {
        assert!((a - b).abs() < 0.2, "{actual:?} {expected:?}");
    }
}

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];

#[test]
fn pictures_of_every_size_come_by_folder_or_by_list() {
    let at = folder();
    let rgb = png::ColorType::Rgb;
    write(&at, "dog/b.PNG", &png(64, 32, rgb, &halves(64, 32, RED, BLUE)));
    write(&at, "cat/ä.jpeg", &jpeg(48, 48, &halves(48, 48, BLUE, RED)));
    let clear = [9, 9, 9, 0].repeat(15);
    write(&at, "cat/clear.png", &png(3, 5, png::ColorType::Rgba, &clear));
    write(&at, "cat/notes.txt", b"nothing");
    let data = read(IMAGE, at.path(), None).unwrap();
    assert_eq!(data.targets(), &Targets::Classes(vec![0, 0, 1]));
    let (red_left, red_right) = ([1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]);
    close(&values(&data)[..12], &[1.0; 12]);
    close(&values(&data)[12..24], &[red_right, [0.0; 4], red_left].concat());
    close(&values(&data)[24..], &[red_left, [0.0; 4], red_right].concat());
    let list = write(&at, "labels.csv", "label;file\ndog;dog/b.PNG\ncat;cat/ä.jpeg\n".as_bytes());
    let listed = read(IMAGE, &list, None).unwrap();
    assert_eq!(listed.targets(), &Targets::Classes(vec![1, 0]));
    assert_eq!(values(&listed)[..12], values(&data)[24..]);
}

#[test]
fn a_photograph_is_turned_as_its_camera_was_held() {
    let at = folder();
    let plain = jpeg(16, 16, &halves(16, 16, RED, BLUE));
    // Orientation 6: the camera's left is the picture's top.
    #[rustfmt::skip]
    let exif = [
        0xff, 0xe1, 0, 34, b'E', b'x', b'i', b'f', 0, 0, b'M', b'M', 0, 42, 0, 0, 0, 8,
        0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0,
    ];
    write(&at, "cat/photo.jpg", &[&plain[..2], &exif, &plain[2..]].concat());
    let data = read(IMAGE, at.path(), None).unwrap();
    close(&values(&data)[..4], &[1.0, 1.0, 0.0, 0.0]);
}

#[test]
fn every_kind_of_png_is_one_picture() {
    let grey = |json: &str| json.replace("\"height\"", "\"channels\": 1, \"height\"");
    let read_one = |bytes: &[u8]| {
        let at = folder();
        write(&at, "cat/a.png", bytes);
        values(&read(&grey(IMAGE), at.path(), None).unwrap()).to_vec()
    };
    let expected = read_one(&png(2, 2, png::ColorType::Grayscale, &[0, 255, 255, 0]));
    assert_eq!(expected, [0.0, 1.0, 1.0, 0.0]);
    let rgb = [[0; 3], [255; 3], [255; 3], [0; 3]].concat();
    assert_eq!(read_one(&png(2, 2, png::ColorType::Rgb, &rgb)), expected);
    let alpha = [0, 255, 255, 255, 255, 255, 0, 255];
    assert_eq!(read_one(&png(2, 2, png::ColorType::GrayscaleAlpha, &alpha)), expected);
    let encoded = |color, depth, pixels: &[u8], palette: Option<Vec<u8>>| {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 2);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if let Some(palette) = palette {
            encoder.set_palette(palette);
        }
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        bytes
    };
    let deep = [0, 0, 255, 255, 255, 255, 0, 0];
    let deep = encoded(png::ColorType::Grayscale, png::BitDepth::Sixteen, &deep, None);
    assert_eq!(read_one(&deep), expected);
    let palette = Some(vec![255, 255, 255, 0, 0, 0]);
    let listed =
        encoded(png::ColorType::Indexed, png::BitDepth::One, &[0b1000_0000, 0b0100_0000], palette);
    assert_eq!(read_one(&listed), expected);
}

#[test]
fn pictures_that_are_none_or_have_no_class_are_named() {
    let refused = |at: &TempDir| read(IMAGE, at.path(), None).unwrap_err();
    let at = folder();
    assert!(refused(&at).contains("needs a folder of PNG or JPEG files for each class"));
    write(&at, "cat/broken.png", b"\x89PNG\r\n\x1a\n and no more");
    let error = refused(&at);
    assert!(error.contains("broken.png: the picture cannot be decoded: "), "{error}");
    let at = folder();
    write(&at, "cat/empty.jpg", b"");
    let error = refused(&at);
    assert!(
        error.contains("empty.jpg: the picture cannot be decoded: the file is empty"),
        "{error}"
    );
    let at = folder();
    write(&at, "cat/a.jpg", b"GIF89a");
    assert!(refused(&at).contains("it is neither PNG nor JPEG; convert it"));
    let at = folder();
    let whole = jpeg(16, 16, &halves(16, 16, RED, BLUE));
    write(&at, "cat/cut.jpg", &whole[..100]);
    assert!(refused(&at).contains("cut.jpg: the picture cannot be decoded: "));
    write(&at, "cat/cut.jpg", &whole[..whole.len() - 2]);
    assert!(refused(&at).contains("cut.jpg: the picture cannot be decoded: the file ends"));
    let at = folder();
    let dog = png(4, 4, png::ColorType::Rgb, &halves(4, 4, RED, BLUE));
    write(&at, "dogs/a.png", &dog);
    let error = refused(&at);
    let message =
        "dogs/a.png: \"dogs\" is not a category; the task knows \"cat\", \"dog\". Is it \"dog\"?";
    assert!(error.contains(message), "{error}");
    let list = write(&at, "list.csv", b"file,label\ndogs/a.png,dog\ndogs/a.png,bird\n");
    let error = read(IMAGE, &list, None).unwrap_err();
    assert!(error.contains("list.csv, line 3: \"bird\" is not a category"), "{error}");
    let list = write(&at, "list.csv", b"file,label\nnone.png,dog\n");
    assert!(read(IMAGE, &list, None).unwrap_err().contains("none.png: cannot be read"));
    let list = write(&at, "list.csv", b"name,label\n");
    assert!(read(IMAGE, &list, None).unwrap_err().contains("the header has no \"file\""));
    let list = write(&at, "list.csv", b"");
    assert!(read(IMAGE, &list, None).unwrap_err().contains("list.csv: the file is empty"));
}

fn column_of(json: &str, data: &Path, name: &str) -> Result<Vec<String>, String> {
    let spec: DataSpec = serde_json::from_str(json).unwrap();
    let mut values = Vec::new();
    let take = |value: &str| values.push(value.to_owned());
    column(data, &spec, name, CsvOptions::default(), take).map_err(|error| error.to_string())?;
    Ok(values)
}

#[test]
fn a_column_has_a_value_for_each_example_in_their_order() {
    let folder = folder();
    write(&folder, "tables/b.csv", b"y;who;x\n1;bert;0.5\n2;;0.25\n");
    write(&folder, "tables/a.csv.gz", &gzipped(b"who,x,y\n\"anna, b\",1,2\n"));
    let tables = folder.path().join("tables");
    let who = column_of(TABLE, &tables, "who").unwrap();
    assert_eq!(who, ["anna, b", "bert", ""]);
    assert_eq!(read(TABLE, &tables, None).unwrap().len(), who.len());
    assert_eq!(column_of(TABLE, &tables, "x").unwrap(), ["1", "0.5", "0.25"]);
    let list = write(&folder, "list.csv", b"file,label,writer\na.png,cat,7\nb.png,dog,8\n");
    assert_eq!(column_of(IMAGE, &list, "writer").unwrap(), ["7", "8"]);
    let told = column_of(TABLE, &tables, "whom").unwrap_err();
    assert!(
        told.contains("a.csv.gz, line 1") && told.contains("Rename \"who\" to \"whom\""),
        "{told}"
    );
    for (json, data) in [(ARRAY, list.as_path()), (IMAGE, tables.as_path())] {
        let told = column_of(json, data, "who").unwrap_err();
        assert!(told.contains("only a table, or a CSV file that lists pictures"), "{told}");
    }
}

#[test]
fn the_parts_of_a_folder_are_its_folders_and_whole_files() {
    let folder = folder();
    for name in
        ["b.csv", "a.tsv.gz", "c.npz", "notes.md", ".hidden.csv", "d/x.csv", "e.safetensors"]
    {
        write(&folder, name, b"");
    }
    let of = |json: &str| {
        let spec: DataSpec = serde_json::from_str(json).unwrap();
        let parts = parts(folder.path(), &spec).unwrap();
        let names =
            parts.iter().map(|part| part.file_name().unwrap().to_string_lossy().into_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(of(TABLE), ["a.tsv.gz", "b.csv", "d"]);
    assert_eq!(of(ARRAY), ["c.npz", "d", "e.safetensors"]);
    let spec: DataSpec = serde_json::from_str(TABLE).unwrap();
    let told = parts(&folder.path().join("d/nowhere"), &spec).unwrap_err().to_string();
    assert!(told.contains("nowhere"), "{told}");
    fs::remove_file(folder.path().join("d/x.csv")).unwrap();
    let told = parts(&folder.path().join("d"), &spec).unwrap_err().to_string();
    assert!(told.contains("no file with the extension csv, tsv"), "{told}");
}
