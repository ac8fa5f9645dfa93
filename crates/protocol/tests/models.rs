//! Model specifications: sizes from the literature, and what is not a model.

use fedra_protocol::{Layer, Loss, ModelSpec, ModelSpecError};

#[test]
fn the_built_in_models_have_the_published_sizes() {
    // McMahan et al. 2017, section 3.
    assert_eq!(ModelSpec::mnist_2nn().parameters(), 199_210);
    assert_eq!(ModelSpec::mnist_cnn().parameters(), 1_663_370);
    assert_eq!(ModelSpec::softmax_regression().parameters(), 7_850);
    for name in ModelSpec::BUILTIN {
        let spec = ModelSpec::builtin(name).unwrap();
        assert_eq!(spec.output_len(), 10);
        assert_eq!(spec.input().len(), 784);
    }
    assert_eq!(ModelSpec::builtin("no-such-model"), None);
}

#[test]
fn a_specification_reads_like_a_config_file() {
    let json = r#"{"input":[1,28,28],"layers":[
        {"type":"conv2d","channels":4,"kernel":3},{"type":"relu"},{"type":"max_pool2d","kernel":2,"stride":2},
        {"type":"flatten"},{"type":"layer_norm"},{"type":"dropout","probability":0.1},
        {"type":"linear","outputs":10}],"loss":"softmax_cross_entropy"}"#;
    let spec: ModelSpec = serde_json::from_str(json).unwrap();
    let names: Vec<&str> = spec.layout().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "layers.0.weight",
            "layers.0.bias",
            "layers.4.gamma",
            "layers.4.beta",
            "layers.6.weight",
            "layers.6.bias"
        ]
    );
    assert_eq!(spec.layout()[4].shape, [4 * 13 * 13, 10]);
    let again: ModelSpec = serde_json::from_value(serde_json::to_value(&spec).unwrap()).unwrap();
    assert_eq!(again, spec);
}

#[test]
fn mistakes_in_a_specification_are_explained() {
    use Loss::{MeanSquaredError, SoftmaxCrossEntropy};
    let linear = |outputs| Layer::Linear { outputs };
    let pool = |kernel, stride| Layer::MaxPool2d { kernel, stride };
    let conv = |padding| Layer::Conv2d { channels: 1, kernel: 3, stride: 1, padding };
    let cases: Vec<(&[u32], Vec<Layer>, Loss, &str)> = vec![
        (&[], vec![linear(2)], SoftmaxCrossEntropy, "input shape"),
        (&[0], vec![linear(2)], SoftmaxCrossEntropy, "input shape"),
        (&[28, 28], vec![linear(2)], SoftmaxCrossEntropy, "input shape"),
        (&[4], vec![], SoftmaxCrossEntropy, "1 to 128 layers"),
        (&[4], vec![Layer::Relu; 129], SoftmaxCrossEntropy, "1 to 128 layers"),
        (&[4], vec![linear(0)], MeanSquaredError, "outputs must be at least 1"),
        (&[4], vec![linear(1)], SoftmaxCrossEntropy, "at least 2 outputs"),
        (&[4], vec![Layer::Relu], MeanSquaredError, "no trainable parameter"),
        (&[1, 8, 8], vec![linear(2)], MeanSquaredError, "flatten"),
        (&[4], vec![conv(0)], MeanSquaredError, "takes an image"),
        (&[1, 8, 8], vec![conv(1)], MeanSquaredError, "ends in an image"),
        (&[1, 8, 8], vec![conv(3)], MeanSquaredError, "padding 3 must be smaller"),
        (&[1, 8, 8], vec![pool(9, 1)], MeanSquaredError, "larger than the image"),
        (&[1, 8, 8], vec![pool(2, 0)], MeanSquaredError, "stride must be at least 1"),
        (&[4], vec![Layer::Dropout { probability: 1.0 }], MeanSquaredError, "below 1"),
        (&[4], vec![Layer::LayerNorm { epsilon: 0.0 }], MeanSquaredError, "epsilon"),
        (&[60_000_000], vec![linear(2)], MeanSquaredError, "more than 67108864 parameters"),
        (&[4], vec![linear(u32::MAX), linear(u32::MAX)], MeanSquaredError, "too large"),
    ];
    for (input, layers, loss, expected) in cases {
        let error = ModelSpec::new(input, layers, loss).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
    let third = ModelSpec::new(&[4], vec![linear(3), Layer::Relu, conv(0)], MeanSquaredError);
    assert!(matches!(third, Err(ModelSpecError::Layer { index: 2, layer: "conv2d", .. })));
    let unknown =
        r#"{"input":[4],"layers":[{"type":"lineal","outputs":2}],"loss":"mean_squared_error"}"#;
    assert!(serde_json::from_str::<ModelSpec>(unknown).is_err());
}
