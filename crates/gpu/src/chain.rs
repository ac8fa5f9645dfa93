//! Element-wise layers as WGSL: the function of a value, and its slope.

use crate::shader::{Access, Element, Shader};
use crate::text::{float, wgsl};

/// Scale of the integer that dropout's probability becomes.
const DROPOUT_BITS: u32 = 24;

/// One element-wise layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Relu,
    Tanh,
    Sigmoid,
    Gelu,
    Abs,
    Elu {
        alpha: f32,
    },
    /// The hash takes in `layer`, so that the masks of two layers differ.
    Dropout {
        probability: f32,
        layer: u32,
    },
}

/// Element-wise layers in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Chain(Vec<Unit>);

impl Chain {
    pub fn push(&mut self, unit: Unit) {
        self.0.push(unit);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_relu(&self) -> bool {
        self.0 == [Unit::Relu]
    }

    /// True if the slope does not follow from the result.
    pub fn needs_made(&self) -> bool {
        !self.is_empty() && !self.is_relu()
    }

    fn draws(&self) -> bool {
        self.0.iter().any(|unit| matches!(unit, Unit::Dropout { .. }))
    }

    /// Declares `act(value, number of the quad)`.
    pub fn declare_act(&self, shader: &mut Shader, order: usize) {
        let mut body = String::from("var t=z;");
        for unit in &self.0 {
            body += &wgsl!("t=$F;", F = unit.value("t"));
        }
        self.declare(shader, order, "act", &(body + "return t;"));
    }

    /// Declares `slope(value before the chain, number of the quad)`.
    pub fn declare_slope(&self, shader: &mut Shader, order: usize) {
        let mut body = String::from("var t=z;var s=vec4<f32>(1.0);");
        for unit in &self.0 {
            body += &wgsl!("s*=$D;t=$F;", D = unit.slope("t"), F = unit.value("t"));
        }
        self.declare(shader, order, "slope", &(body + "return s;"));
    }

    fn declare(&self, shader: &mut Shader, order: usize, name: &str, body: &str) {
        if self.draws() {
            shader.bind("ord", order, Access::Read, Element::U32);
            shader.function(DROPOUT);
        }
        for (unit, function) in [(Unit::Tanh, TANH), (Unit::Gelu, GELU), (Unit::Sigmoid, SIGMOID)] {
            if self.0.contains(&unit) {
                shader.function(function);
            }
        }
        shader.function(&wgsl!("fn $N(z:vec4<f32>,e:u32)->vec4<f32>{$B}\n", N = name, B = body));
    }

    /// True if 0 does not stay 0.
    pub fn moves_zero(&self) -> bool {
        self.0.contains(&Unit::Sigmoid)
    }
}

impl Unit {
    fn value(self, t: &str) -> String {
        match self {
            Self::Relu => wgsl!("max($T,vec4<f32>())", T = t),
            Self::Tanh => wgsl!("tanh_of($T)", T = t),
            Self::Sigmoid => wgsl!("sigmoid_of($T)", T = t),
            Self::Gelu => wgsl!("$T*normal_below($T)", T = t),
            Self::Abs => wgsl!("abs($T)", T = t),
            Self::Elu { alpha } => wgsl!(
                "select($A*(exp(min($T,vec4<f32>()))-1.0),$T,$T>vec4<f32>())",
                A = float(alpha),
                T = t
            ),
            Self::Dropout { probability, layer } => {
                wgsl!("$T*$K", T = t, K = keep(probability, layer))
            }
        }
    }

    fn slope(self, t: &str) -> String {
        match self {
            Self::Relu => wgsl!("select(vec4<f32>(),vec4<f32>(1.0),$T>vec4<f32>())", T = t),
            Self::Tanh => wgsl!("(1.0-tanh_of($T)*tanh_of($T))", T = t),
            Self::Sigmoid => wgsl!("sigmoid_of($T)*sigmoid_of(-$T)", T = t),
            Self::Gelu => wgsl!("(normal_below($T)+$T*normal_density($T))", T = t),
            Self::Abs => wgsl!("sign($T)", T = t),
            Self::Elu { alpha } => wgsl!(
                "select($A*exp(min($T,vec4<f32>())),vec4<f32>(1.0),$T>vec4<f32>())",
                A = float(alpha),
                T = t
            ),
            Self::Dropout { probability, layer } => keep(probability, layer),
        }
    }
}

/// Expression of the mask of a quad: 0, or the scale that keeps the mean.
fn keep(probability: f32, layer: u32) -> String {
    wgsl!(
        "keep(e,$LAYERu,$THRESHOLDu,$SCALE)",
        LAYER = layer,
        THRESHOLD = (probability * (1 << DROPOUT_BITS) as f32) as u32,
        SCALE = float(1.0 / (1.0 - probability)),
    )
}

/// Mask by the hash `pcg4d` of Jarzynski and Olano 2020, "Hash Functions for GPU Rendering".
const DROPOUT: &str = "fn keep(e:u32,layer:u32,threshold:u32,scale:f32)->vec4<f32>{
 if(ord[3]==0u){return vec4<f32>(1.0);}
 var v=vec4<u32>(e,layer,ord[1],ord[2])*1664525u+1013904223u;
 for(var round=0u;round<2u;round++){
  v.x+=v.y*v.w;v.y+=v.z*v.x;v.z+=v.x*v.y;v.w+=v.y*v.z;
  if(round==0u){v=v^(v>>vec4<u32>(16u));}}
 return select(vec4<f32>(),vec4<f32>(scale),(v>>vec4<u32>(8u))>=vec4<u32>(threshold));}
";

/// Hyperbolic tangent. The exponential is of a negative number, so that it cannot overflow.
/// Near 0, where the difference of two numbers near 1 would lose digits, it is the series.
const TANH: &str = "fn tanh_of(x:vec4<f32>)->vec4<f32>{
 let t=exp(-2.0*abs(x));let far=sign(x)*(1.0-t)/(1.0+t);
 let u=x*x;let near=x*(1.0+u*(-0.33333333333+u*(0.13333333333-u*0.05396825397)));
 return select(far,near,abs(x)<vec4<f32>(0.1));}
";

const SIGMOID: &str = "fn sigmoid_of(x:vec4<f32>)->vec4<f32>{
 let t=exp(-abs(x));return select(t,vec4<f32>(1.0),x>=vec4<f32>())/(1.0+t);}
";

/// Distribution function of the normal distribution by formula 7.1.26 of Abramowitz and
/// Stegun 1964, with an error of at most 1e-7.
const GELU: &str = "fn normal_below(x:vec4<f32>)->vec4<f32>{
 let a=abs(x)*0.70710678118;let t=1.0/(1.0+0.3275911*a);
 let p=t*(0.254829592+t*(-0.284496736+t*(1.421413741+t*(-1.453152027+t*1.061405429))));
 let tail=0.5*p*exp(-a*a);
 return select(tail,1.0-tail,x>=vec4<f32>());}
fn normal_density(x:vec4<f32>)->vec4<f32>{return 0.39894228040*exp(-0.5*x*x);}
";
