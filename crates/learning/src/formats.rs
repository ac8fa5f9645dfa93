//! Files of models, one format a file.

pub mod initial;
pub mod pytorch;
pub mod safetensors;
