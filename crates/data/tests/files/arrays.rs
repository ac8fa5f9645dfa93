//! Array files as examples.

use crate::reading::{read_all, spec, values};
use fedra_data::{Dataset, Features, Part, ReadError, ReadOptions, Targets};
use fedra_protocol::DataSpec;

fn images(dtype: &str) -> DataSpec {
    spec(&format!(
        r#"{{ "kind": "array", "shape": [1, 2, 2], "dtype": "{dtype}", "min": 0, "max": 2 }}"#
    ))
}

/// A file as NumPy writes it.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00".as_slice(), &length, header.as_bytes(), data].concat()
}

fn idx(code: u8, sides: &[u32], data: &[u8]) -> Vec<u8> {
    let sides: Vec<u8> = sides.iter().flat_map(|side| side.to_be_bytes()).collect();
    let dimensions = sides.len() as u8 / 4;
    [&[0, 0, code, dimensions], sides.as_slice(), data].concat()
}

fn both(spec: &DataSpec, features: &[u8], labels: &[u8]) -> Result<Dataset, ReadError> {
    let files = [("x.npy", Part::Features, features), ("y.npy", Part::Labels, labels)];
    read_all(spec, &files, ReadOptions::default())
}

const NUMBERS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 8];

#[test]
fn arrays_of_every_type_are_scaled_and_have_labels_of_any_type() {
    let expected = NUMBERS.map(|number| f32::from(number) / 2.0);
    let le = |size: usize| -> Vec<u8> {
        NUMBERS.iter().flat_map(|&n| u64::from(n).to_le_bytes()[..size].to_vec()).collect()
    };
    let floats: Vec<u8> = NUMBERS.iter().flat_map(|&n| f32::from(n).to_le_bytes()).collect();
    let doubles: Vec<u8> = NUMBERS.iter().flat_map(|&n| f64::from(n).to_le_bytes()).collect();
    let big: Vec<u8> = NUMBERS.iter().flat_map(|&n| f32::from(n).to_be_bytes()).collect();
    for (dtype, file) in [
        ("uint8", npy("|u1", "(2, 1, 2, 2)", &NUMBERS)),
        ("uint8", npy("|u1", "(2, 2, 2)", &NUMBERS)),
        ("uint8", npy("|u1", "(2, 4)", &NUMBERS)),
        ("uint8", idx(8, &[2, 2, 2], &NUMBERS)),
        ("int32", npy("<i4", "(2, 2, 2)", &le(4))),
        ("int64", npy("<i8", "(2, 2, 2)", &le(8))),
        ("float32", npy("<f4", "(2, 2, 2)", &floats)),
        ("float32", npy(">f4", "(2, 2, 2)", &big)),
        ("float32", idx(13, &[2, 2, 2], &big)),
        ("float64", npy("<f8", "(2, 2, 2)", &doubles)),
    ] {
        for labels in
            [npy("|u1", "(2,)", &[7, 3]), npy("<i2", "(2,)", &[7, 0, 3, 0]), idx(8, &[2], &[7, 3])]
        {
            let data = both(&images(dtype), &file, &labels).unwrap();
            assert_eq!(values(&data), expected, "{dtype}");
            assert_eq!(data.targets(), &Targets::Classes(vec![7, 3]));
        }
    }
    let labels = npy("<f8", "(2, 1)", &[(-1.5f64).to_le_bytes(), 2.0f64.to_le_bytes()].concat());
    let data = both(&images("uint8"), &npy("|u1", "(2, 4)", &NUMBERS), &labels).unwrap();
    assert_eq!(data.targets(), &Targets::Values { values: vec![-1.5, 2.0], width: 1 });
    let negative = npy("|i1", "(2,)", &[0xff, 0x80]);
    let data = both(&images("uint8"), &npy("|u1", "(2, 4)", &NUMBERS), &negative).unwrap();
    assert_eq!(data.targets(), &Targets::Values { values: vec![-1.0, -128.0], width: 1 });
}

#[test]
fn token_ids_are_whole_numbers_of_the_vocabulary() {
    let spec = spec(r#"{ "kind": "array", "shape": [2], "dtype": "uint8", "vocabulary": 5 }"#);
    let labels = npy("|u1", "(2,)", &[0, 1]);
    let data = both(&spec, &npy("|u1", "(2, 2)", &[0, 4, 1, 2]), &labels).unwrap();
    assert_eq!(data.features(), &Features::Tokens(vec![0, 4, 1, 2]));
    let error = both(&spec, &npy("|u1", "(2, 2)", &[0, 5, 1, 2]), &labels).unwrap_err();
    assert!(
        error.to_string().contains("5 is not a token id; ids are whole numbers from 0 to below 5")
    );
}

#[test]
fn arrays_of_another_kind_are_refused_with_the_remedy() {
    let labels = npy("|u1", "(2,)", &[0, 1]);
    let refused =
        |features: &[u8]| both(&images("float32"), features, &labels).unwrap_err().to_string();
    let fortran =
        String::from_utf8_lossy(&npy("<f4", "(2, 4)", &[])).replace("False", "True ").into_bytes();
    // The magic number is no UTF-8.
    let fortran = [b"\x93NUMPY".as_slice(), &fortran[fortran.len() - 122..]].concat();
    for (file, message) in [
        (
            npy("<f8", "(2, 4)", &[0; 64]),
            "x.npy: the numbers are float64, the task takes float32; save array.astype(\"float32\")",
        ),
        (
            npy("<f2", "(2, 4)", &[0; 16]),
            "x.npy: the header of the array is damaged: the type \"<f2\" is not known",
        ),
        (
            npy("<f4", "(2, 5)", &[0; 40]),
            "x.npy: the examples have the shape [5], the task takes [1, 2, 2]",
        ),
        (npy("<f4", "(2, 2, 1, 2)", &[0; 32]), "the shape [2, 1, 2], the task takes [1, 2, 2]"),
        (
            npy("<f4", "(2, 4)", &[0; 31]),
            "x.npy: the header promises 32 bytes of numbers, the file has 31",
        ),
        (npy("<f4", "(2, 4)", &[0; 40]), "the header promises 32 bytes of numbers, the file has"),
        (npy("<f4", "(0, 4)", &[]), "x.npy: the data set is empty"),
        (npy("<f4", "()", &[0; 4]), "x.npy: the data set is empty"),
        (npy("<f4", "(2, x)", &[]), "its shape is none"),
        (npy("<f4", "(2, 99999999999999999999)", &[]), "its shape is none"),
        (fortran, "x.npy: the array is in Fortran order; save numpy.ascontiguousarray(array)"),
        (b"\x93NUMPY\x09\x00".to_vec(), "version 9 is not known"),
        (b"\x93NUMPY\x01\x00\x40".to_vec(), "the file ends in it"),
        (b"PK\x03\x04 a zip file".to_vec(), "x.npy: not an array file; give .npy, .npz, or IDX"),
        (b"x,y\n1,2\n".to_vec(), "not an array file"),
        (Vec::new(), "x.npy: the file is empty"),
    ] {
        let error = refused(&file);
        assert!(error.contains(message), "{message}: {error}");
    }
    let nan = npy("<f4", "(1, 4)", &[f32::NAN.to_le_bytes(); 4].concat());
    assert!(refused(&nan).contains("finite"), "{}", refused(&nan));
    let error =
        both(&images("uint8"), &npy("|u1", "(2, 4)", &NUMBERS), &npy("|u1", "(3,)", &[0; 3]));
    assert!(error.unwrap_err().to_string().contains("3"), "labels of other examples");
    let alone = read_all(
        &images("uint8"),
        &[("x.npy", Part::Features, &npy("|u1", "(2, 4)", &NUMBERS))],
        ReadOptions::default(),
    );
    assert!(alone.is_err());
}
