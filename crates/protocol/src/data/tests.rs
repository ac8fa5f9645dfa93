//! Descriptions as they are written, their messages, and the models that they fit.

use prost::Message;

use super::*;
use crate::layers::{CategoryEmbedding, EmbeddedFeature, Embedding, Flatten, Linear};
use crate::{DecodeError, wire};

const PEOPLE: &str = r#"{
    "kind": "table",
    "target": "income",
    "columns": [
        { "name": "age", "type": "number", "mean": 40, "deviation": 10, "fill": 38.5, "flag_missing": true },
        { "name": "hours", "type": "number", "min": 0, "max": 80 },
        { "name": "job", "type": "category", "values": ["nurse", "clerk"], "other": true },
        { "name": "town", "type": "category", "values": ["a", "b", "c"], "encoding": "index" },
        { "name": "member", "type": "boolean", "fill": false },
        { "name": "since", "type": "date", "order": "dmy", "parts": ["span", "year"],
          "min": "2000-01-01", "max": "2010-01-01" },
        { "name": "income", "type": "category", "values": ["<=50K", ">50K"] }
    ]
}"#;

fn read(json: &str) -> Result<DataSpec, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// `{ "kind": "table", ... }` of one input, one target.
fn table(input: &str, target: &str) -> Result<DataSpec, String> {
    read(&format!(
        r#"{{ "kind": "table", "target": "y", "columns": [
            {{ "name": "x", {input} }}, {{ "name": "y", {target} }}
        ] }}"#
    ))
}

fn samples() -> [DataSpec; 4] {
    [
        PEOPLE,
        r#"{ "kind": "image", "height": 32, "width": 24, "fit": "contain",
             "mean": [0.5, 0.4, 0.3], "deviation": [0.2, 0.2, 0.1], "classes": ["cat", "dog"] }"#,
        r#"{ "kind": "text", "context": 80, "stride": 3, "alphabet": "äba \n", "other": true }"#,
        r#"{ "kind": "array", "shape": [28, 28], "dtype": "uint8", "min": 0, "max": 255 }"#,
    ]
    .map(|json| read(json).unwrap())
}

#[test]
fn a_description_is_the_same_after_json_and_after_its_message() {
    for data in samples() {
        let json = serde_json::to_string(&data).unwrap();
        assert_eq!(read(&json), Ok(data.clone()), "{json}");
        let message = data.encoded();
        assert_eq!(message.as_bytes().len(), data.encoded_len());
        assert_eq!(message.decode(), Ok(data));
    }
}

#[test]
fn the_wire_forms_are_what_they_were() {
    let bytes = samples().map(|data| hex::encode(data.encoded().as_bytes()));
    assert_eq!(bytes, GOLDEN, "{bytes:#?}");
}

/// One of each sample.
const GOLDEN: [&str; 4] = [
    "0ad0010a260a03616765121f0a1209000000000000444011000000000000244011000000000040434018\
     010a140a05686f757273120b0a091100000000000054400a190a036a6f621a120a056e757273650a0563\
     6c65726b100118010a130a04746f776e1a0b0a01610a01620a016310020a0c0a066d656d626572220208\
     000a1b0a0573696e63652a12080212020102188087b5c3032080f6f4d9040a190a06696e636f6d651a0f\
     0a053c3d35304b0a043e35304b10011206696e636f6d651a001a013f1a024e411a034e614e1a046e756c\
     6c",
    "124e08031020181820022a1209000000000000e03f119a9999999999c93f2a12099a9999999999d93f11\
     9a9999999999c93f2a1209333333333333d33f119a9999999999b93f32036361743203646f67",
    "1a0e085010031a06c3a46261200a2001",
    "22120a03011c1c10031a09110000000000e06f40",
];

#[test]
fn columns_become_features_and_the_target_is_none() {
    let DataSpec::Table(people) = &samples()[0] else { panic!("a table") };
    let widths: Vec<_> =
        people.inputs().map(|column| (column.name.as_str(), column.content.width())).collect();
    let expected = [("age", 2), ("hours", 1), ("job", 3), ("town", 1), ("member", 1), ("since", 3)];
    assert_eq!(widths, expected);
    let names = people.feature_names();
    assert_eq!(names.len(), 11);
    assert_eq!(names[1..4], ["age (missing)", "hours", "job = nurse"]);
    assert_eq!(names[5..9], ["job (other)", "town", "member", "since (span)"]);
    assert_eq!(names[9..], ["since (year, sine)", "since (year, cosine)"]);
    assert_eq!(
        samples().map(|data| data.shape().dims()),
        [vec![11], vec![3, 32, 24], vec![80], vec![1, 28, 28]]
    );
    let targets = samples().map(|data| data.targets());
    let expected =
        [TargetKind::Classes(2), TargetKind::Classes(2), TargetKind::NextToken(6), TargetKind::Any];
    assert_eq!(targets, expected);
    assert!(people.is_missing("?") && people.is_missing("") && !people.is_missing("0"));
    let Content::Number { scaling, .. } = people.columns()[1].content else { panic!("a number") };
    assert_eq!(scaling.apply(20.0), 0.25);
}

#[test]
fn characters_have_the_ids_of_their_places() {
    let DataSpec::Text(text) = &samples()[2] else { panic!("text") };
    assert_eq!(['ä', 'b', 'a', ' ', '\n', 'x'].map(|c| text.id(c)), [0, 1, 2, 3, 4, 5].map(Some));
    let text = read(r#"{ "kind": "text", "context": 4, "alphabet": "ab" }"#).unwrap();
    let DataSpec::Text(text) = text else { panic!("text") };
    assert_eq!((text.id('b'), text.id('c'), text.stride()), (Some(1), None, 4));
}

#[test]
fn a_mistake_in_a_table_names_its_column_and_the_remedy() {
    let number = r#""type": "number""#;
    for (input, target, part) in [
        (
            r#""type": "number", "values": ["a"]"#,
            number,
            "column \"x\": values is a key of a category",
        ),
        (r#""type": "category""#, number, "column \"x\": a category needs the list of its values"),
        (r#""type": "category", "values": []"#, number, "column \"x\": values: 1 to"),
        (r#""type": "category", "values": ["a", "a"]"#, number, "\"a\" is there twice"),
        (r#""type": "category", "values": ["a"], "fill": "a""#, number, "fill is a key of"),
        (r#""type": "number", "mean": 3"#, number, "give mean and deviation together"),
        (r#""type": "number", "mean": 3, "deviation": 0"#, number, "deviation above 0"),
        (r#""type": "number", "min": 3, "max": 3"#, number, "max above min"),
        (r#""type": "number", "mean": 1, "deviation": 1, "min": 0, "max": 1"#, number, "not both"),
        (r#""type": "number", "min": "a", "max": 3"#, number, "min must be a number"),
        (r#""type": "number", "flag_missing": true"#, number, "give fill"),
        (r#""type": "boolean", "fill": 1"#, number, "fill must be true or false"),
        (r#""type": "date""#, number, "a date needs parts"),
        (r#""type": "date", "parts": []"#, number, "parts must name one or more"),
        (r#""type": "date", "parts": ["day", "day"]"#, number, "each once"),
        (r#""type": "date", "parts": ["span"]"#, number, "needs the dates min and max"),
        (
            r#""type": "date", "parts": ["span"], "min": "1.1.2000", "max": "2001-01-01""#,
            number,
            "min must be a date such as",
        ),
        (
            r#""type": "date", "parts": ["span"], "min": "2001-01-01", "max": "2000-01-01""#,
            number,
            "max must be above min",
        ),
        (r#""type": "number", "scale": 3"#, number, "unknown field `scale`"),
        (r#""type": "text""#, number, "unknown variant `text`"),
        (
            number,
            r#""type": "number", "fill": 0"#,
            "column \"y\": a missing target cannot be filled in",
        ),
        (number, r#""type": "date", "parts": ["day"]"#, "column \"y\": a date cannot be a target"),
        (
            number,
            r#""type": "category", "values": ["a"]"#,
            "column \"y\": a target needs at least 2",
        ),
    ] {
        let error = table(input, target).unwrap_err();
        assert!(error.contains(part), "{input} {target}: {error}");
    }
    let error = read(
        r#"{ "kind": "table", "target": "z", "columns": [{ "name": "x", "type": "number" }] }"#,
    );
    let error = error.unwrap_err();
    assert!(error.contains("no column is called \"z\"; the columns are x"), "{error}");
    let error = read(
        r#"{ "kind": "table", "target": "x", "columns": [{ "name": "x", "type": "number" }] }"#,
    );
    assert!(error.unwrap_err().contains("every column is a target"));
    let several = r#"{ "kind": "table", "target": ["x", "y"], "columns": [
        { "name": "w", "type": "number" }, { "name": "x", "type": "number" }, { "name": "y", "type": "boolean" }
    ] }"#;
    assert!(read(several).unwrap_err().contains("column \"y\": several targets are all numbers"));
}

#[test]
fn a_mistake_elsewhere_names_its_key() {
    for (json, part) in [
        (
            r#"{ "kind": "image", "height": 2, "width": 2, "channels": 4, "classes": ["a", "b"] }"#,
            "channels: 1 is brightness",
        ),
        (r#"{ "kind": "image", "height": 0, "width": 2, "classes": ["a", "b"] }"#, "height: "),
        (r#"{ "kind": "image", "height": 2, "width": 2, "classes": ["a"] }"#, "classes: 2 to"),
        (
            r#"{ "kind": "image", "height": 2, "width": 2, "mean": [0.5], "classes": ["a", "b"] }"#,
            "mean: give as many",
        ),
        (
            r#"{ "kind": "image", "height": 2, "width": 2, "mean": [1, 1], "deviation": [1, 1], "classes": ["a", "b"] }"#,
            "one number, or 3",
        ),
        (r#"{ "kind": "text", "context": 0 }"#, "context: "),
        (r#"{ "kind": "text", "context": 4, "stride": 0 }"#, "stride: "),
        (r#"{ "kind": "text", "context": 4, "alphabet": "abca" }"#, "alphabet: 'a' is there twice"),
        (r#"{ "kind": "text", "context": 4, "alphabet": "" }"#, "alphabet: 1 to"),
        (r#"{ "kind": "text", "context": 4, "alphabet": "a" }"#, "alphabet: two tokens"),
        (r#"{ "kind": "text", "context": 4, "other": true }"#, "other: every byte has a token"),
        (r#"{ "kind": "array", "shape": [], "dtype": "uint8" }"#, "shape: must be"),
        (r#"{ "kind": "array", "shape": [4], "dtype": "float16" }"#, "unknown variant `float16`"),
        (
            r#"{ "kind": "array", "shape": [4], "dtype": "float32", "vocabulary": 9 }"#,
            "dtype: token ids are whole",
        ),
        (
            r#"{ "kind": "array", "shape": [4, 4], "dtype": "uint8", "vocabulary": 9 }"#,
            "shape: token ids",
        ),
        (r#"{ "kind": "sound" }"#, "unknown variant `sound`"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains(part), "{json}: {error}");
    }
}

#[test]
fn messages_that_describe_no_data_are_refused() {
    let encoded = |data: wire::DataSpec| EncodedDataSpec::new(data.encode_to_vec().into());
    let refused = |data| encoded(data).and_then(|data| data.decode()).unwrap_err();
    assert!(matches!(refused(wire::DataSpec { kind: None }), DecodeError::Unsupported { .. }));
    let sample = |at: usize| wire::DataSpec::from(samples()[at].clone());
    let mut image = sample(1);
    if let Some(wire::data_spec::Kind::Image(image)) = &mut image.kind {
        image.fit = 9;
    }
    assert!(matches!(refused(image), DecodeError::Unsupported { .. }));
    let mut array = sample(3);
    if let Some(wire::data_spec::Kind::Array(array)) = &mut array.kind {
        array.scaling = Some(wire::Scaling { offset: f64::NAN, divisor: 1.0 });
    }
    assert!(refused(array).to_string().contains("data.scaling"));
    let mut table = sample(0);
    if let Some(wire::data_spec::Kind::Table(table)) = &mut table.kind {
        table.missing = vec!["x".repeat(200); 3000];
    }
    assert!(matches!(refused(table), DecodeError::OverLimit { field: "task.data", .. }));
}

#[test]
fn a_model_that_the_data_do_not_fit_is_refused_with_what_to_change() {
    let [people, image, text, _] = samples();
    let dense = |input: &[u32], outputs, loss| {
        ModelSpec::new(input, vec![Flatten.into(), Linear { outputs }.into()], loss).unwrap()
    };
    let (softmax, square) = (Loss::SoftmaxCrossEntropy, Loss::MeanSquaredError);
    assert_eq!(people.check_for(&dense(&[11], 2, softmax)), Ok(()));
    assert_eq!(image.check_for(&dense(&[3, 32, 24], 2, softmax)), Ok(()));
    let refused =
        |data: &DataSpec, model: &ModelSpec| data.check_for(model).unwrap_err().to_string();
    for (data, model, part) in [
        (
            &people,
            dense(&[12], 2, softmax),
            "the data give 11 features, the model takes 12 features; give the model the input [11]",
        ),
        (&people, dense(&[11], 3, softmax), "end the model with linear, outputs = 2"),
        (&people, dense(&[11], 2, square), "loss = \"softmax_cross_entropy\""),
        (&image, dense(&[3, 24, 32], 2, softmax), "images [3, 32, 24]"),
        (&text, dense(&[80], 6, softmax), "with elements = \"token_ids\" and vocabulary = 6"),
    ] {
        let error = refused(data, &model);
        assert!(error.contains(part), "{error}");
    }
    let language = |outputs| {
        let layers = vec![Embedding { width: 2 }.into(), Linear { outputs }.into()];
        ModelSpec::of_tokens(80, 6, layers, softmax).unwrap()
    };
    assert_eq!(text.check_for(&language(6)), Ok(()));
    assert!(refused(&text, &language(7)).contains("outputs = 6"));
    let layers = vec![Embedding { width: 2 }.into(), Flatten.into(), Linear { outputs: 6 }.into()];
    let last = ModelSpec::of_tokens(80, 6, layers, softmax).unwrap();
    assert_eq!(text.check_for(&last), Ok(()), "the token after the last one");
    let values = table(r#""type": "number""#, r#""type": "number""#).unwrap();
    assert_eq!(values.check_for(&dense(&[1], 1, square)), Ok(()));
    assert!(refused(&values, &dense(&[1], 2, softmax)).contains("mean_squared_error"));
}

#[test]
fn a_model_embeds_the_columns_that_are_places_of_categories_and_as_many_as_there_are() {
    let [people, _, _, array] = samples();
    let embeds = |input: u32, place, categories| {
        let feature = EmbeddedFeature { place, categories, width: 2 };
        let layers = vec![
            CategoryEmbedding { features: vec![feature] }.into(),
            Linear { outputs: 2 }.into(),
        ];
        ModelSpec::new(&[input], layers, Loss::SoftmaxCrossEntropy).unwrap()
    };
    // The town's place among three, and a member's no or yes.
    assert_eq!(people.check_for(&embeds(11, 6, 3)), Ok(()));
    assert_eq!(people.check_for(&embeds(11, 7, 2)), Ok(()));
    for (place, categories, expected) in [
        (6, 4, "column \"town\": it has 3 categories, the model has vectors for 4; give place 6"),
        (7, 3, "column \"member\": it has 2 categories"),
        (4, 2, "column \"job\": the model embeds its feature 4, which is no number of a category"),
        (2, 9, "column \"hours\": the model embeds its feature 2"),
        (10, 9, "column \"since\": the model embeds its feature 10"),
    ] {
        let error = people.check_for(&embeds(11, place, categories)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error} should say {expected}");
    }
    // Nothing is known of an array's features.
    assert_eq!(array.check_for(&embeds(784, 6, 3)), Ok(()));
}
