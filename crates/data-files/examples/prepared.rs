//! A data set as a model sees it: for the end-to-end tests, which compare it with the same
//! files in a browser.
//!
//! `cargo run -p fedra-data-files --example prepared -- DESCRIPTION.json PATH OUT` reads the
//! file or folder PATH as the JSON of `[task.data]` describes it, and writes the features to
//! OUT, as little-endian float32.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use fedra_data::{Features, ReadOptions};
use fedra_data_files::{Purpose, Source, load};
use fedra_protocol::layers::{Flatten, Linear};
use fedra_protocol::{DataSpec, Loss, ModelSpec};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), Box<dyn Error>> {
    let paths: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [description, data, out] = <[PathBuf; 3]>::try_from(paths)
        .map_err(|_| "give the description, the file or folder to read, and the file to write")?;
    let spec: DataSpec = serde_json::from_str(&fs::read_to_string(description)?)?;
    // Of a model only its outputs matter to the reader: here one class an example.
    let layers = vec![Flatten.into(), Linear { outputs: 2 }.into()];
    let model = ModelSpec::new(&spec.shape().dims(), layers, Loss::SoftmaxCrossEntropy)?;
    let source = Source { data, labels: None, purpose: Purpose::Training };
    let prepared = load(&source, &spec, &model, ReadOptions::default())?;
    let Features::Values(values) = prepared.features() else {
        return Err("token ids are not written".into());
    };
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(out, bytes)?;
    Ok(())
}
