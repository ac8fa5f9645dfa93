//! Texts as examples.

use crate::reading::{read, spec};
use fedra_data::{Dataset, Features, Part, ReadOptions, Reader, Targets};
use fedra_protocol::layers::{Embedding, Linear};
use fedra_protocol::{DataSpec, Loss, ModelSpec};

fn ids(data: &Dataset) -> &[u32] {
    match data.features() {
        Features::Tokens(ids) => ids,
        Features::Values(_) => panic!("token ids were expected"),
    }
}

fn letters(rest: &str) -> DataSpec {
    spec(&format!(r#"{{ "kind": "text", "context": 3, "alphabet": "abcdé\n" {rest} }}"#))
}

#[test]
fn an_example_is_a_stretch_and_the_token_behind_it() {
    let data = read(&letters(""), "a.txt", "abcdéabc".as_bytes()).unwrap();
    // From 0 and from 3: abc-d, déa-b. What is left is too short.
    assert_eq!(ids(&data), [0, 1, 2, 3, 4, 0]);
    assert_eq!(data.targets(), &Targets::Classes(vec![3, 1]));
    for (stride, starts) in
        [(1, vec![0, 1, 2, 3, 4]), (2, vec![0, 2, 4]), (4, vec![0, 4]), (5, vec![0])]
    {
        let data =
            read(&letters(&format!(r#", "stride": {stride}"#)), "a.txt", "abcdéabc".as_bytes());
        let data = data.unwrap();
        let text = [0, 1, 2, 3, 4, 0, 1, 2];
        let expected: Vec<u32> = starts.iter().flat_map(|&at| text[at..at + 3].to_vec()).collect();
        assert_eq!(ids(&data), expected, "{stride}");
        let next: Vec<u32> = starts.iter().map(|&at| text[at + 3]).collect();
        assert_eq!(data.targets(), &Targets::Classes(next), "{stride}");
    }
}

#[test]
fn a_model_with_an_output_at_each_position_gets_a_target_at_each() {
    let spec = letters(r#", "stride": 4"#);
    let layers = vec![Embedding { width: 2 }.into(), Linear { outputs: 6 }.into()];
    let model = ModelSpec::of_tokens(3, 6, layers, Loss::SoftmaxCrossEntropy).unwrap();
    let mut reader = Reader::new(&spec, model.output_positions(), ReadOptions::default());
    reader.open("a.txt", Part::Features).unwrap();
    reader.push("abcdéabc".as_bytes()).unwrap();
    reader.close().unwrap();
    let data = reader.finish().unwrap();
    assert_eq!(ids(&data), [0, 1, 2, 4, 0, 1]);
    let classes = vec![1, 2, 3, 0, 1, 2];
    assert_eq!(data.targets(), &Targets::PositionClasses { classes, positions: 3 });
    assert_eq!(data.check_for(&model), Ok(()));
}

#[test]
fn line_ends_and_byte_order_marks_are_those_of_every_system() {
    let plain = read(&letters(""), "a.txt", b"ab\ncd\nab\n").unwrap();
    for text in ["ab\r\ncd\r\nab\r\n", "\u{feff}ab\ncd\nab\n"] {
        assert_eq!(read(&letters(""), "a.txt", text.as_bytes()).as_ref(), Ok(&plain), "{text:?}");
    }
    let bytes = spec(r#"{ "kind": "text", "context": 2 }"#);
    let data = read(&bytes, "a.txt", "é\r\n\r!".as_bytes()).unwrap();
    assert_eq!(
        (ids(&data), data.targets()),
        (&[0xc3, 0xa9, 10, 13][..], &Targets::Classes(vec![10, 33]))
    );
}

#[test]
fn a_character_without_a_token_is_named_with_its_line_or_gets_the_last_id() {
    let error = read(&letters(""), "ä.txt", b"ab\nab\na b").unwrap_err().to_string();
    let expected = "ä.txt, line 3: the character ' ' is not in the task's alphabet; replace it";
    assert!(error.starts_with(expected), "{error}");
    let data = read(&letters(r#", "other": true"#), "a.txt", "a€🙂b".as_bytes()).unwrap();
    assert_eq!((ids(&data), data.targets()), (&[0, 6, 6][..], &Targets::Classes(vec![1])));
    let error = read(&letters(""), "a.txt", b"ab\r").unwrap_err().to_string();
    assert!(error.contains("'\\r'"), "{error}");
}

#[test]
fn texts_that_are_no_examples_are_refused() {
    let refused = |bytes: &[u8]| read(&letters(""), "a.txt", bytes).unwrap_err().to_string();
    assert_eq!(refused(b""), "a.txt: the file is empty");
    assert_eq!(
        refused(b"abc"),
        "a.txt: the text has 3 tokens, an example needs 4; give a longer text"
    );
    assert!(refused(b"abcd\xff").contains("line 1: not UTF-8"));
    assert!(refused(b"ab\ncd\n\xc3").contains("line 3: not UTF-8"));
    assert!(refused(b"\xff\xfea\0b\0").contains("UTF-16"));
}
