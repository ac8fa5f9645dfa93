//! Reading of given bytes in pieces of several lengths, which must not matter.

use fedra_data::{Dataset, Features, Part, ReadError, ReadOptions, Reader};
use fedra_protocol::layers::{Embedding, Flatten, Linear};
use fedra_protocol::{DataSpec, Loss, ModelSpec, Shape};

/// The description in a task's config, as JSON.
pub fn spec(json: &str) -> DataSpec {
    serde_json::from_str(json).unwrap()
}

/// A model of the data's shape with one output for an example.
pub fn model(spec: &DataSpec) -> ModelSpec {
    let last = vec![Flatten.into(), Linear { outputs: 2 }.into()];
    match spec.shape() {
        Shape::Tokens { positions, vocabulary } => {
            let layers = [vec![Embedding { width: 1 }.into()], last].concat();
            ModelSpec::of_tokens(positions, vocabulary, layers, Loss::SoftmaxCrossEntropy)
        }
        shape => ModelSpec::new(&shape.dims(), last, Loss::SoftmaxCrossEntropy),
    }
    .unwrap()
}

/// Files with their names and parts, as one data set.
pub fn read_all(
    spec: &DataSpec,
    files: &[(&str, Part, &[u8])],
    options: ReadOptions,
) -> Result<Dataset, ReadError> {
    let read = |piece: usize| {
        let mut reader = Reader::new(spec, model(spec).output_positions(), options);
        for (name, part, bytes) in files {
            reader.open(name, *part)?;
            bytes.chunks(piece).try_for_each(|piece| reader.push(piece))?;
            reader.close()?;
        }
        reader.finish()
    };
    let whole = read(usize::MAX);
    for piece in [1, 2, 7, 64] {
        assert_eq!(read(piece), whole, "in pieces of {piece} bytes");
    }
    whole
}

/// One file.
pub fn read(spec: &DataSpec, name: &str, bytes: &[u8]) -> Result<Dataset, ReadError> {
    read_all(spec, &[(name, Part::Features, bytes)], ReadOptions::default())
}

/// Values of a data set, row by row.
pub fn values(data: &Dataset) -> &[f32] {
    match data.features() {
        Features::Values(values) => values,
        Features::Tokens(_) => panic!("values were expected"),
    }
}
