//! Files of models, one format a file.

pub mod safetensors;
