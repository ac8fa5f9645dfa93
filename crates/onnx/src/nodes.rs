//! Nodes and initialisers of a graph, added layer by layer, with names that are unique.

use std::slice::Iter;

use fedra_protocol::{ModelSpec, TensorInfo};

use crate::OnnxError;
use crate::messages::{
    ATTRIBUTE_FLOAT, ATTRIBUTE_INT, ATTRIBUTE_INTS, AttributeProto, FLOAT, INT64, NodeProto,
    TensorProto,
};

/// Nodes and initialisers so far, and the layer that is being added.
pub struct Nodes<'a> {
    pub nodes: Vec<NodeProto>,
    pub initializers: Vec<TensorProto>,
    /// Trained tensors that are still to come, and their values.
    layout: Iter<'a, TensorInfo>,
    parameters: &'a [f32],
    /// Beginning of the names of the layer that is being added: `layers.{index}`.
    prefix: String,
    /// Name of the value that the layer takes.
    pub value: String,
}

impl<'a> Nodes<'a> {
    /// A graph without nodes, whose input is `input`. `parameters` has the model's length.
    pub fn new(spec: &'a ModelSpec, parameters: &'a [f32], input: &str) -> Self {
        Self {
            nodes: Vec::new(),
            initializers: Vec::new(),
            layout: spec.layout().iter(),
            parameters,
            prefix: String::new(),
            value: input.to_owned(),
        }
    }

    /// Begins the layer with this index.
    pub fn begin(&mut self, index: usize) {
        self.prefix = format!("layers.{index}");
    }

    /// Begins a layer inside of the one that is being added; returns what [`Self::leave`]
    /// takes.
    pub fn enter(&mut self, name: &str) -> String {
        let inner = self.named(name);
        std::mem::replace(&mut self.prefix, inner)
    }

    /// Goes on with the layer that `outer` is of.
    pub fn leave(&mut self, outer: String) {
        self.prefix = outer;
    }

    /// The next trained tensor of the layout as an initialiser; returns its name.
    ///
    /// # Errors
    ///
    /// [`OnnxError::NotFinite`] for the first value that is not finite.
    pub fn trained(&mut self) -> Result<String, OnnxError> {
        let (info, values) = self.next()?;
        let dims = info.shape.iter().map(|&size| size as i64).collect();
        self.initializers.push(floats(info.name.clone(), dims, values));
        Ok(info.name.clone())
    }

    /// The next trained tensor of the layout, for a caller that rearranges its values.
    ///
    /// # Errors
    ///
    /// [`OnnxError::NotFinite`] for the first value that is not finite.
    pub fn next(&mut self) -> Result<(&'a TensorInfo, &'a [f32]), OnnxError> {
        let info = self.layout.next().expect("a layer takes the tensors that its rule lists");
        let (values, rest) = self.parameters.split_at(info.len());
        self.parameters = rest;
        match values.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(OnnxError::NotFinite { tensor: info.name.clone(), index }),
            None => Ok((info, values)),
        }
    }

    /// A tensor of the layer that is not trained; returns its name.
    pub fn fixed(&mut self, name: &str, dims: &[i64], values: &[f32]) -> String {
        let name = self.named(name);
        self.initializers.push(floats(name.clone(), dims.to_vec(), values));
        name
    }

    /// A number of the layer; returns its name.
    pub fn number(&mut self, name: &str, value: f32) -> String {
        self.fixed(name, &[], &[value])
    }

    /// A shape as a list of int64; returns its name.
    pub fn shape(&mut self, name: &str, dims: &[i64]) -> String {
        self.whole_numbers(name, vec![dims.len() as i64], dims)
    }

    /// An index as a number of int64; returns its name.
    pub fn index(&mut self, name: &str, index: i64) -> String {
        self.whole_numbers(name, vec![], &[index])
    }

    fn whole_numbers(&mut self, name: &str, dims: Vec<i64>, values: &[i64]) -> String {
        let name = self.named(name);
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let tensor = TensorProto { dims, data_type: INT64, name: name.clone(), raw_data };
        self.initializers.push(tensor);
        name
    }

    /// A node within the layer; returns the name of its output.
    pub fn step(
        &mut self,
        name: &str,
        operator: &str,
        input: &[&str],
        attribute: Vec<AttributeProto>,
    ) -> String {
        let name = self.named(name);
        self.nodes.push(NodeProto {
            input: input.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: operator.to_owned(),
            attribute,
            doc_string: String::new(),
        });
        name
    }

    /// The last node of the layer, whose output the next layer takes.
    pub fn output(&mut self, operator: &str, input: &[&str], attribute: Vec<AttributeProto>) {
        self.value = self.step("output", operator, input, attribute);
    }

    fn named(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }
}

fn floats(name: String, dims: Vec<i64>, values: &[f32]) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    TensorProto { dims, data_type: FLOAT, name, raw_data }
}

/// An attribute that is a whole number.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, ATTRIBUTE_INT) }
}

/// An attribute that is a list of whole numbers.
pub fn ints(name: &str, values: &[u32]) -> AttributeProto {
    let ints = values.iter().map(|&value| i64::from(value)).collect();
    AttributeProto { ints, ..attribute(name, ATTRIBUTE_INTS) }
}

/// An attribute that is a real number.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, ATTRIBUTE_FLOAT) }
}

fn attribute(name: &str, kind: i32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind, ..AttributeProto::default() }
}
