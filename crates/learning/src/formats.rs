//! Files of models, one format a file.

pub mod pytorch;
pub mod safetensors;
