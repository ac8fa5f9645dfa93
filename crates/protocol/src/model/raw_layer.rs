//! A layer as it is written in a config file and in the metadata of a model file: its own
//! fields, and `trainable = false` beside them if it is frozen.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::Layer;
use super::layers::UnknownLayer;
use crate::wire::{self, layer::Kind};

/// A layer of a model, and true if it is trained.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RawLayer {
    #[serde(flatten)]
    pub layer: Layer,
    #[serde(skip_serializing_if = "is_true")]
    pub trainable: bool,
}

fn is_true(trainable: &bool) -> bool {
    *trainable
}

impl<'de> Deserialize<'de> for RawLayer {
    // By hand: serde's `flatten` would add to the client's module, which reads models alone.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LayerVisitor)
    }
}

impl From<RawLayer> for wire::Layer {
    fn from(RawLayer { layer, trainable }: RawLayer) -> Self {
        let layer = Self::from(layer);
        if trainable { layer } else { Self { kind: Some(Kind::Frozen(Box::new(layer))) } }
    }
}

impl TryFrom<wire::Layer> for RawLayer {
    type Error = UnknownLayer;

    fn try_from(layer: wire::Layer) -> Result<Self, UnknownLayer> {
        Ok(match layer.kind {
            Some(Kind::Frozen(layer)) => Self { layer: (*layer).try_into()?, trainable: false },
            _ => Self { layer: layer.try_into()?, trainable: true },
        })
    }
}

struct LayerVisitor;

impl<'de> Visitor<'de> for LayerVisitor {
    type Value = RawLayer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a layer with its type")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawLayer, A::Error> {
        let mut trainable = true;
        let own = OwnFields { map, trainable: &mut trainable };
        let layer = Layer::deserialize(MapAccessDeserializer::new(own))?;
        Ok(RawLayer { layer, trainable })
    }
}

/// The fields of the layer itself.
struct OwnFields<'a, A> {
    map: A,
    trainable: &'a mut bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for OwnFields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.map.next_key::<String>()? {
            if key != Layer::SETTINGS[0] {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            *self.trainable = self.map.next_value()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
