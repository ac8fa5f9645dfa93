//! Model files that say which model they hold, and files that are refused for it.

use std::collections::HashMap;

use ::safetensors::tensor::{Dtype, TensorView};
use fedra_protocol::ModelSpec;

use crate::init_parameters;
use crate::safetensors::{self, ModelFileError};

/// A file with one tensor and this metadata.
fn file_with(metadata: Option<(&str, &str)>) -> Vec<u8> {
    let tensor = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let metadata = metadata.map(|(key, text)| HashMap::from([(key.into(), text.into())]));
    ::safetensors::serialize([("a", tensor)], metadata).unwrap()
}

fn refusal(file: &[u8]) -> String {
    super::read_model(file).expect_err("it is no model file").to_string()
}

#[test]
fn a_model_file_says_which_model_it_is() {
    for name in ModelSpec::BUILTIN {
        let spec = ModelSpec::builtin(name).unwrap();
        let parameters = init_parameters(&spec, 1);
        let file = safetensors::write(&spec, &parameters).unwrap();
        assert_eq!(super::read_model(&file).unwrap(), (spec, parameters));
    }
}

#[test]
fn a_file_that_describes_no_model_is_refused_with_the_reason() {
    assert!(refusal(&file_with(None)).contains("no metadata `fedra`"));
    assert!(refusal(&file_with(Some(("format", "pt")))).contains("no metadata `fedra`"));
    let refused = |json| refusal(&file_with(Some(("fedra", json))));
    assert!(refused("{").contains("does not describe a model"));
    assert!(refused("[]").contains("does not describe a model"));
    let layer = r#"{"input":[2],"layers":[{"type":"attention","heads":4}],"loss":"x"}"#;
    let words = refused(layer);
    assert!(words.contains(r#"a layer "attention""#) && words.contains("newer version"), "{words}");
    let loss = r#"{"input":[2],"layers":[{"type":"linear","outputs":1}],"loss":"hinge"}"#;
    let words = refused(loss);
    assert!(words.contains(r#"the loss "hinge""#) && words.contains("newer version"), "{words}");
    let misfit = r#"{"input":[0],"layers":[],"loss":"mean_squared_error"}"#;
    assert!(refused(misfit).contains("the input shape"), "{}", refused(misfit));
}

#[test]
fn a_short_file_does_not_ask_for_the_memory_of_a_large_model() {
    // 2^26 parameters, of which the file has none: named before they are allocated.
    let json = r#"{"input":[65535],"layers":[{"type":"linear","outputs":1023}],
                   "loss":"mean_squared_error"}"#;
    let error = super::read_model(&file_with(Some(("fedra", json))));
    assert!(matches!(error, Err(ModelFileError::Tensor { .. })), "{error:?}");
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let spec = ModelSpec::softmax_regression();
    let file = safetensors::write(&spec, &init_parameters(&spec, 1)).unwrap();
    for length in [0, 7, 8, 100, file.len() / 2, file.len() - 1] {
        let error = super::read_model(&file[..length]);
        assert!(matches!(error, Err(ModelFileError::Format(_))), "{length}: {error:?}");
    }
}
