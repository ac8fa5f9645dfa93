//! Files of data: tables, texts and arrays in pieces of any length.

use fedra_data::{CsvOptions, Dataset, DecimalSign, Part, ReadError, ReadOptions, Reader};
use fedra_protocol::layers::{Embedding, Flatten, Linear};
use fedra_protocol::{DataSpec, Loss, ModelSpec, Shape};

/// A file: [kind and options, length of a piece, bytes...]. Of arrays the first half is the
/// examples, the second the labels.
pub fn data(bytes: &[u8]) {
    let [which, piece, file @ ..] = bytes else { return };
    let spec = spec(*which);
    let model = model(&spec);
    let csv = CsvOptions {
        delimiter: (which & 8 != 0).then_some(b';'),
        decimal: if which & 16 != 0 { DecimalSign::Comma } else { DecimalSign::Point },
    };
    let most = (which & 32 != 0).then_some(2);
    let options = ReadOptions { csv, most, seed: 1 };
    let whole = read(&spec, &model, options, file, usize::MAX);
    let pieces = read(&spec, &model, options, file, usize::from(*piece).max(1));
    assert_eq!(whole, pieces, "pieces are the file");
    match whole {
        Ok(data) => {
            assert!(!data.is_empty() && data.shape().len() == spec.shape().len());
            assert!(most.is_none_or(|most| data.len() <= most));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn read(
    spec: &DataSpec,
    model: &ModelSpec,
    options: ReadOptions,
    file: &[u8],
    piece: usize,
) -> Result<Dataset, ReadError> {
    let mut reader = Reader::new(spec, model.output_positions(), options);
    let half = match spec {
        DataSpec::Array(_) => file.len() / 2,
        _ => file.len(),
    };
    let (features, labels) = file.split_at(half);
    reader.open("a", Part::Features)?;
    features.chunks(piece).try_for_each(|piece| reader.push(piece))?;
    reader.close()?;
    if let DataSpec::Array(_) = spec {
        reader.open("b", Part::Labels)?;
        labels.chunks(piece).try_for_each(|piece| reader.push(piece))?;
        reader.close()?;
    }
    reader.finish()
}

/// One of a few descriptions.
fn spec(which: u8) -> DataSpec {
    let json = match which % 8 {
        0 | 1 => {
            r#"{ "kind": "table", "target": "y", "columns": [
                { "name": "a", "type": "number", "min": 0, "max": 9, "fill": 1, "flag_missing": true },
                { "name": "b", "type": "category", "values": ["x", "y"], "other": true },
                { "name": "c", "type": "boolean", "fill": false },
                { "name": "d", "type": "date", "parts": ["year", "week", "day"], "fill": "2000-01-01" },
                { "name": "y", "type": "number" } ] }"#
        }
        2 => r#"{ "kind": "text", "context": 3, "alphabet": "ab\n", "other": true }"#,
        3 => r#"{ "kind": "text", "context": 2, "stride": 5 }"#,
        4 | 5 => r#"{ "kind": "array", "shape": [2], "dtype": "uint8", "min": 0, "max": 255 }"#,
        6 => r#"{ "kind": "array", "shape": [1, 1, 2], "dtype": "float32" }"#,
        _ => r#"{ "kind": "array", "shape": [2], "dtype": "int32", "vocabulary": 7 }"#,
    };
    serde_json::from_str(json).expect("a sound description")
}

/// A model with one output an example.
fn model(spec: &DataSpec) -> ModelSpec {
    let dense = || vec![Flatten.into(), Linear { outputs: 2 }.into()];
    match spec.shape() {
        Shape::Tokens { positions, vocabulary } => {
            let layers = [vec![Embedding { width: 1 }.into()], dense()].concat();
            ModelSpec::of_tokens(positions, vocabulary, layers, Loss::SoftmaxCrossEntropy)
        }
        shape => ModelSpec::new(&shape.dims(), dense(), Loss::SoftmaxCrossEntropy),
    }
    .expect("a small model")
}
