//! Embedding of the categories among an example's features.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Gradients, Tensor};
use fedra_protocol::layers as spec;

use super::activation::{Activation, tensor};
use super::example_gradient::{ExampleGradient, GRADIENT, Tap, probed, without};
use super::parameters::{ParameterSum, Parameters, TrainedTensor};
use super::{LayerModule, Mode};
use crate::kernels;
use crate::network::read;

/// A table for each feature that is the number of a category.
#[derive(Module, Debug)]
pub(crate) struct CategoryEmbedding {
    /// `[categories, width]` each.
    tables: Vec<Param<Tensor<2>>>,
    /// Places of the tables' features, increasing.
    places: Vec<usize>,
}

impl LayerModule for CategoryEmbedding {
    type Spec = spec::CategoryEmbedding;

    const EXAMPLE_GRADIENT: bool = true;

    fn build(spec: &spec::CategoryEmbedding, parameters: &mut Parameters<'_>) -> Self {
        let places = spec.features.iter().map(|feature| feature.place as usize).collect();
        Self { tables: spec.features.iter().map(|_| parameters.next()).collect(), places }
    }

    fn apply(&self, input: Activation, _mode: &mut Mode<'_>) -> Activation {
        let x = input.flatten();
        let numbers = self.numbers(&x);
        Activation::Features(self.rows(x, &numbers))
    }

    fn trained(&self) -> Vec<&dyn TrainedTensor> {
        self.tables.iter().map(|table| table as &dyn TrainedTensor).collect()
    }

    fn tap(&self, input: Activation, _mode: &mut Mode<'_>) -> (Activation, Option<Box<dyn Tap>>) {
        let x = input.flatten();
        let numbers = self.numbers(&x);
        let (output, probe) = probed(self.rows(x, &numbers));
        let tap = CategoryTap { layer: self.clone(), numbers, probe };
        (Activation::Features(output), Some(Box::new(tap)))
    }
}

impl CategoryEmbedding {
    /// The categories of the examples `x: [batch, features]`, table by table.
    fn numbers(&self, x: &Tensor<2>) -> Vec<Vec<u32>> {
        let ([_, features], values) = (x.dims(), read(x.clone()));
        let column = |&place: &usize| values.iter().skip(place).step_by(features);
        self.places.iter().map(|place| column(place).map(|&value| value as u32).collect()).collect()
    }

    /// `x` with rows of the tables in the places of their features.
    fn rows(&self, x: Tensor<2>, numbers: &[Vec<u32>]) -> Tensor<2> {
        let [_, features] = x.dims();
        let (mut parts, mut next) = (Vec::new(), 0);
        for ((table, &place), numbers) in self.tables.iter().zip(&self.places).zip(numbers) {
            if next < place {
                parts.push(x.clone().narrow(1, next, place - next));
            }
            parts.push(kernels::rows(table.val(), numbers));
            next = place + 1;
        }
        if next < features {
            parts.push(x.narrow(1, next, features - next));
        }
        Tensor::cat(parts, 1)
    }
}

/// The examples' categories, and the probe at the output.
struct CategoryTap {
    layer: CategoryEmbedding,
    numbers: Vec<Vec<u32>>,
    probe: Tensor<2>,
}

impl Tap for CategoryTap {
    fn gradient(self: Box<Self>, gradients: &Gradients) -> Box<dyn ExampleGradient> {
        let Self { layer, numbers, probe } = *self;
        let output = probe.grad(gradients).expect(GRADIENT);
        // Place of a row in the output: each table before it has made one feature its width.
        let mut added = 0;
        let rows = layer.tables.iter().zip(&layer.places).map(|(table, place)| {
            let [_, width] = table.dims();
            let rows = output.clone().narrow(1, place + added, width);
            added += width - 1;
            rows
        });
        let rows = rows.collect();
        Box::new(CategoryGradient { tables: layer.tables, numbers, rows })
    }
}

/// Of each table `rows: [batch, width]`, the gradient of the row that an example has taken.
struct CategoryGradient {
    tables: Vec<Param<Tensor<2>>>,
    numbers: Vec<Vec<u32>>,
    rows: Vec<Tensor<2>>,
}

impl ExampleGradient for CategoryGradient {
    fn squared_norms(&self) -> Tensor<2> {
        Tensor::cat(self.rows.clone(), 1).square().sum_dim(1)
    }

    fn sum(self: Box<Self>, scale: &Tensor<2>, spoiled: &Tensor<2, Bool>) -> Vec<ParameterSum> {
        let Self { tables, numbers, rows } = *self;
        let tables = tables.iter().zip(rows).zip(&numbers);
        let sum = |((table, rows), numbers): ((&Param<Tensor<2>>, Tensor<2>), &Vec<u32>)| {
            let (dims, device) = (table.dims(), rows.device());
            let rows = without(rows, spoiled.clone()) * scale.clone();
            let sum = kernels::sum_of_rows(&read(rows), numbers, dims);
            ParameterSum::of(table, tensor(sum, &dims, &device))
        };
        tables.map(sum).collect()
    }
}
