//! CSV files as examples, and the mistakes that they have in the world.

use crate::reading::{read, read_all, spec, values};
use fedra_data::{CsvOptions, Dataset, DecimalSign, Part, Problem, ReadOptions, Targets};
use fedra_protocol::DataSpec;

/// A number, a category with other values, a boolean, a date; the target is a category.
fn people() -> DataSpec {
    spec(
        r#"{ "kind": "table", "target": "income", "columns": [
            { "name": "age", "type": "number", "mean": 40, "deviation": 10, "fill": 50, "flag_missing": true },
            { "name": "job", "type": "category", "values": ["nurse", "clerk"], "other": true },
            { "name": "town", "type": "category", "values": ["Äs", "Bo"], "encoding": "index" },
            { "name": "member", "type": "boolean" },
            { "name": "since", "type": "date", "parts": ["span"], "min": "2000-01-01", "max": "2000-01-11" },
            { "name": "income", "type": "category", "values": ["low", "high"] }
        ] }"#,
    )
}

const HEADER: &str = "age,job,town,member,since,income\n";

/// A number and a number.
fn line() -> DataSpec {
    spec(
        r#"{ "kind": "table", "target": "y", "columns": [
            { "name": "x", "type": "number" }, { "name": "y", "type": "number", "min": 0, "max": 10 }
        ] }"#,
    )
}

fn problem(data: Result<Dataset, fedra_data::ReadError>) -> String {
    data.unwrap_err().to_string()
}

/// The message for rows below the header.
fn refused(rows: &str) -> String {
    problem(read(&people(), "people.csv", format!("{HEADER}{rows}").as_bytes()))
}

#[test]
fn a_row_becomes_features_and_a_target() {
    let rows =
        "50,nurse,Äs,yes,2000-01-06,low\n,doctor,Bo,F,2000-01-01,high\n30,?,Bo,1,2000-01-11,low\n";
    let data = read(&people(), "people.csv", format!("{HEADER}{rows}").as_bytes()).unwrap();
    #[rustfmt::skip]
    let expected = [
        1.0, 0.0,  1.0, 0.0, 0.0,  0.0,  1.0,  0.5,
        1.0, 1.0,  0.0, 0.0, 1.0,  1.0,  0.0,  0.0,
        -1.0, 0.0,  0.0, 0.0, 1.0,  1.0,  1.0,  1.0,
    ];
    assert_eq!(values(&data), expected);
    assert_eq!(data.targets(), &Targets::Classes(vec![0, 1, 0]));
}

#[test]
fn the_same_rows_in_other_forms_of_csv_are_the_same() {
    let plain = read(&line(), "a.csv", b"x,y\n1,2\n3,4\n").unwrap();
    assert_eq!(values(&plain), [1.0, 3.0]);
    assert_eq!(plain.targets(), &Targets::Values { values: vec![0.2, 0.4], width: 1 });
    for (form, text) in [
        ("no line's end at the end", "x,y\n1,2\n3,4"),
        ("Windows line ends", "x,y\r\n1,2\r\n3,4\r\n"),
        ("old line ends", "x,y\r1,2\r3,4\r"),
        ("byte-order mark", "\u{feff}x,y\n1,2\n3,4\n"),
        ("byte-order mark and quotes", "\u{feff}\"x\",\"y\"\r\n1,2\r\n3,4\r\n"),
        ("semicolons", "x;y\n1;2\n3;4\n"),
        ("tabs", "x\ty\n1\t2\n3\t4\n"),
        ("bars", "x|y\n1|2\n3|4\n"),
        ("spaces", " x , y \n 1 , 2 \n3 ,4\n"),
        ("quotes", "\"x\",\"y\"\n\"1\",\"2\"\n3,\"4\"\n"),
        ("empty lines", "\n\nx,y\n\n1,2\n\n3,4\n\n"),
        ("a blank line behind a byte-order mark", "\u{feff} \r\nx,y\n1,2\n3,4\n"),
        ("another order and more columns", "z,y,name,x\n9,2,\"a,b\",1\n9,4,\"c\nd\",3\n"),
        ("exponents and signs", "x,y\n+1,2e0\n3.0,40E-1\n"),
    ] {
        assert_eq!(read(&line(), "a.csv", text.as_bytes()).as_ref(), Ok(&plain), "{form}");
    }
    let csv = CsvOptions { delimiter: Some(b';'), decimal: DecimalSign::Comma };
    let options = ReadOptions { csv, ..ReadOptions::default() };
    let comma =
        |text: &str| read_all(&line(), &[("a.csv", Part::Features, text.as_bytes())], options);
    let decimals = comma("x;y\n1,5;2\n-0,25;4,0\n").unwrap();
    assert_eq!(values(&decimals), [1.5, -0.25]);
    // A thousands' separator is none of a number.
    assert!(problem(comma("x;y\n1.000,5;2\n")).contains("\"1.000,5\" is not a number"));
    let quoted = read(&line(), "a.csv", b"note,x,y\n\"a \"\"b\"\"\r\nc\",1,2\nd,3,4\n");
    assert_eq!(quoted, Ok(plain), "quoted line ends and quotation marks");
}

#[test]
fn several_files_are_one_data_set() {
    let files: [(&str, Part, &[u8]); 2] =
        [("a.csv", Part::Features, b"x,y\n1,2\n"), ("b.csv", Part::Features, b"y;x\n4;3\n")];
    let data = read_all(&line(), &files, ReadOptions::default()).unwrap();
    assert_eq!(values(&data), [1.0, 3.0]);
}

#[test]
fn a_mistake_is_named_with_file_line_column_and_remedy() {
    let good = "50,nurse,Bo,yes,2000-01-06,low\n";
    for (rows, message) in [
        (
            "old,nurse,Bo,yes,2000-01-06,low\n",
            r#"people.csv, line 2, column "age": "old" is not a number"#,
        ),
        (
            "\"3,5\",nurse,Bo,yes,2000-01-06,low\n",
            r#"people.csv, line 2, column "age": "3,5" is not a number; if the comma is a decimal comma, say so: decimal = ",""#,
        ),
        ("inf,nurse,Bo,yes,2000-01-06,low\n", r#"column "age": "inf" is not a number"#),
        (
            "50,nurse,Boo,yes,2000-01-06,low\n",
            r#"people.csv, line 2, column "town": "Boo" is not a category; the task knows "Äs", "Bo". Is it "Bo"?"#,
        ),
        (
            "50,nurse,,yes,2000-01-06,low\n",
            r#"column "town": the value is missing; fill it in, or leave the row out; the operator may set other = true for the column"#,
        ),
        (
            "50,nurse,Bo,perhaps,2000-01-06,low\n",
            r#"column "member": "perhaps" is neither true nor false; write true or false"#,
        ),
        (
            "50,nurse,Bo,,2000-01-06,low\n",
            r#"column "member": the value is missing; fill it in, or leave the row out; the operator may set fill for the column"#,
        ),
        (
            "50,nurse,Bo,yes,06.01.2000,low\n",
            r#"column "since": "06.01.2000" is not a date; the task has dates like 2026-11-29"#,
        ),
        (
            "50,nurse,Bo,yes,2000-01-06,\n",
            r#"column "income": the value is missing; fill it in, or leave the row out"#,
        ),
        (
            "50,nurse,Bo,yes,2000-01-06,middle\n",
            r#"column "income": "middle" is not a category; the task knows "low", "high""#,
        ),
        (
            "50,nurse,Bo,yes\n",
            "people.csv, line 2: the row has 4 fields, the header has 6; fill the row up",
        ),
        (
            "50,nurse,Bo,yes,2000-01-06,low,7\n",
            "the row has 7 fields, the header has 6; a field with a delimiter in it belongs in quotation marks",
        ),
        (
            "50,\"nurse,Bo,yes,2000-01-06,low\n50,a\n",
            "people.csv, line 2: the row has 2 fields, the header has 6; a quotation mark that opens here may not be closed",
        ),
    ] {
        let error = refused(rows);
        assert!(error.contains(message), "{rows}{error}");
    }
    // Lines are counted as an editor does.
    let bad = "x,nurse,Bo,yes,2000-01-06,low\n";
    for (before, line) in [
        (good.to_owned(), 3),
        (good.repeat(100), 102),
        (format!("\n\n{good}\n"), 6),
        (format!("50,\"a\nb\nc\",Bo,yes,2000-01-06,low\n{good}"), 6),
        (good.repeat(3).replace('\n', "\r\n"), 5),
    ] {
        let error = refused(&format!("{before}{bad}"));
        assert!(
            error.starts_with(&format!("people.csv, line {line}, column \"age\"")),
            "{before:?} {error}"
        );
    }
}

#[test]
fn a_header_that_lacks_columns_is_refused_with_what_is_there() {
    let refused = |text: &str| problem(read(&line(), "a.csv", text.as_bytes()));
    assert_eq!(
        refused("a,X \n1,2\n"),
        r#"a.csv, line 1: the header has no "x", "y"; it has "a", "X". Rename "X" to "x", if it is the same"#
    );
    assert!(refused("1,2\n3,4\n").contains(r#"has no "x", "y"; it has "1", "2""#), "no header");
    assert!(refused("x,y,x\n1,2,3\n").contains("the column \"x\" twice"));
    let names = (0..200).map(|i| format!("c{i}")).collect::<Vec<_>>().join(",");
    assert!(refused(&format!("{names}\n")).contains("\"c11\" and 188 more"));
}

#[test]
fn files_that_hold_no_table_are_refused() {
    let refused = |bytes: &[u8]| problem(read(&line(), "größe 📏.csv", bytes));
    assert_eq!(refused(b""), "größe 📏.csv: the file is empty");
    assert_eq!(refused(b" \n\n"), "größe 📏.csv: the file is empty");
    assert_eq!(refused(b"\xef\xbb\xbf"), "größe 📏.csv: the file is empty");
    assert_eq!(
        refused(b"x,y\n"),
        "größe 📏.csv: the file has a header and no rows; add rows below it"
    );
    assert_eq!(
        refused(b"x,y"),
        "größe 📏.csv: the file has a header and no rows; add rows below it"
    );
    assert!(refused(b"\xff\xfex\0,\0y\0\n\0").contains("the file is UTF-16; save it as UTF-8"));
    assert!(
        refused(b"x,y\n1,\xe4\n")
            .contains("line 2, column \"y\": not UTF-8; save the file as UTF-8")
    );
    let zip = [b"PK\x03\x04".as_slice(), &[0x80; 3000]].concat();
    assert!(refused(&zip).contains("not UTF-8"));
    let open = format!("x,y\n1,\"{}", "2\n".repeat(1 << 20));
    let mut reader = fedra_data::Reader::new(&line(), 1, ReadOptions::default());
    reader.open("a.csv", Part::Features).unwrap();
    let error = reader.push(open.as_bytes()).unwrap_err();
    assert_eq!(error.place.line, Some(2));
    assert!(matches!(*error.problem, Problem::LongRow(_)), "{error}");
}

#[test]
fn a_file_larger_than_memory_is_read_with_a_limit_of_examples() {
    let options = ReadOptions { most: Some(100), ..ReadOptions::default() };
    let mut reader = fedra_data::Reader::new(&line(), 1, options);
    reader.open("large.csv", Part::Features).unwrap();
    reader.push(b"x,y\n").unwrap();
    let piece = (0..1000).map(|i| format!("{i},{}\n", i % 7)).collect::<String>();
    for _ in 0..2000 {
        reader.push(piece.as_bytes()).unwrap();
    }
    reader.close().unwrap();
    assert_eq!(reader.examples(), 2_000_000);
    let data = reader.finish().unwrap();
    assert_eq!(data.len(), 100);
    let Targets::Values { values: targets, .. } = data.targets() else { panic!("values") };
    for (x, y) in values(&data).iter().zip(targets) {
        assert!((x % 7.0 - y * 10.0).abs() < 1e-5, "{x} {y}");
    }
}
