//! Compiles `proto/fedra.proto` to Rust without an installed `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/fedra.proto"], ["proto"])?;
    prost_build::Config::new()
        .bytes(["."])
        // It has a token, which nothing may print.
        .skip_debug([".fedra.v1.CheckIn"])
        .compile_fds(descriptors)?;
    Ok(())
}
