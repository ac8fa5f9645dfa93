//! File formats of models.

use std::fmt;
use std::str::FromStr;

/// File format in which a model is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ModelFormat {
    /// The tensors, as clients fetch them and as the server keeps them.
    #[default]
    Safetensors,
    /// Tensors and operators, for other runtimes.
    Onnx,
    /// The tensors as PyTorch names and orients them, in a safetensors file.
    Pytorch,
}

impl ModelFormat {
    /// The formats as they are named in a query and on the command line.
    pub const NAMES: [&str; 3] = ["safetensors", "onnx", "pytorch"];

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Onnx => "onnx",
            Self::Pytorch => "pytorch",
        }
    }

    /// End of the names of files, without its dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Onnx => "onnx",
            Self::Pytorch => "pytorch.safetensors",
        }
    }
}

/// Name of no format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownFormat;

impl fmt::Display for UnknownFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the formats of a model are {}", ModelFormat::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownFormat {}

impl FromStr for ModelFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "safetensors" => Ok(Self::Safetensors),
            "onnx" => Ok(Self::Onnx),
            "pytorch" => Ok(Self::Pytorch),
            _ => Err(UnknownFormat),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_format() {
        for name in ModelFormat::NAMES {
            assert_eq!(name.parse().map(ModelFormat::name), Ok(name));
        }
        let error = "ONNX".parse::<ModelFormat>().unwrap_err();
        assert_eq!(error.to_string(), "the formats of a model are safetensors, onnx, pytorch");
    }
}
