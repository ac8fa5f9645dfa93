//! A model specification as JSON, as it stands in a model file and comes from
//! the HTTP API.

use fedra_protocol::limits::MAX_PARAMETERS;
use fedra_protocol::{Init, ModelSpec, TensorInfo};

/// JSON that may be a model specification.
pub fn model_spec(data: &[u8]) {
    let Ok(spec) = serde_json::from_slice::<ModelSpec>(data) else { return };
    let (parameters, frozen) = (spec.parameters(), spec.frozen_parameters());
    assert!(parameters >= 1 && (parameters + frozen) as u64 <= MAX_PARAMETERS);
    assert_eq!(spec.unfrozen().parameters(), parameters + frozen);
    assert_eq!(spec.layout().iter().map(TensorInfo::len).sum::<usize>(), parameters);
    // Initialisation divides by it.
    assert!(spec.layout().iter().all(|tensor| tensor.init != Init::Uniform { fan_in: 0 }));
    assert!(spec.fixed_layers() <= spec.layers().len());
    assert!(spec.output_len() > 0 && !spec.input().is_empty());
    assert_eq!(spec.output_positions() * spec.output_width(), spec.output_len());
    let json = serde_json::to_vec(&spec).expect("a checked model is plain data");
    let again: ModelSpec = serde_json::from_slice(&json).expect("what was written can be read");
    assert_eq!(again, spec);
}
