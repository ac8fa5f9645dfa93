//! Built-in models: their layers and their names.

use super::layers::{
    Abs, AvgPool2d, Conv2d, Embedding, Flatten, GaussianDerivative, GlobalAvgPool, GroupNorm, Gru,
    LastStep, LayerNorm, Linear, Lstm, MaxPool2d, PositionEmbedding, Relu, Residual, Standardize,
    TransformerBlock,
};
use super::{Layer, Loss, ModelSpec};

/// Vocabulary of a model whose token ids are bytes.
const BYTES: u32 = 256;

impl ModelSpec {
    /// Softmax regression on MNIST, 7,850 parameters.
    pub fn softmax_regression() -> Self {
        Self::known(&[784], vec![Layer::Linear(Linear { outputs: 10 })])
    }

    /// The "2NN" of McMahan et al. 2017: 784-200-200-10 with ReLU, 199,210 parameters.
    pub fn mnist_2nn() -> Self {
        Self::known(
            &[784],
            vec![
                Layer::Linear(Linear { outputs: 200 }),
                Layer::Relu(Relu),
                Layer::Linear(Linear { outputs: 200 }),
                Layer::Relu(Relu),
                Layer::Linear(Linear { outputs: 10 }),
            ],
        )
    }

    /// The CNN of McMahan et al. 2017: two 5x5 convolutions (32, 64 channels),
    /// each with 2x2 max pooling, then 512 ReLU units, 1,663,370 parameters.
    pub fn mnist_cnn() -> Self {
        let conv = |channels| Layer::Conv2d(Conv2d { channels, kernel: 5, stride: 1, padding: 2 });
        let pool = || Layer::MaxPool2d(MaxPool2d { kernel: 2, stride: 2 });
        Self::known(
            &[1, 28, 28],
            vec![
                conv(32),
                Layer::Relu(Relu),
                pool(),
                conv(64),
                Layer::Relu(Relu),
                pool(),
                Layer::Flatten(Flatten),
                Layer::Linear(Linear { outputs: 512 }),
                Layer::Relu(Relu),
                Layer::Linear(Linear { outputs: 10 }),
            ],
        )
    }

    /// Softmax regression on the strength of edges in 4 directions and 7x7 cells
    /// of an MNIST image, 1,970 parameters.
    ///
    /// The features are fixed, in the manner of a histogram of oriented gradients
    /// (Dalal and Triggs 2005) or the first order of a scattering transform (Bruna
    /// and Mallat 2013): the fewer parameters are trained and the fewer rounds that
    /// takes, the less noise a private task needs (Tramèr and Boneh 2021).
    pub fn mnist_oriented_gradients() -> Self {
        Self::known(
            &[1, 28, 28],
            vec![
                Layer::GaussianDerivative(GaussianDerivative {
                    orientations: 4,
                    kernel: 5,
                    sigma: 1.0,
                }),
                Layer::Abs(Abs),
                Layer::AvgPool2d(AvgPool2d { kernel: 4, stride: 4 }),
                // Without this, the part that all digits share slows training down.
                Layer::Standardize(Standardize { epsilon: 0.02 }),
                Layer::Flatten(Flatten),
                Layer::Standardize(Standardize { epsilon: 1e-5 }),
                Layer::Linear(Linear { outputs: 10 }),
            ],
        )
    }

    /// Softmax regression on the strength of edges among the edges of an MNIST image: 4
    /// directions in each of 4 directions, and 7x7 cells, 7,850 parameters.
    ///
    /// The features are fixed: paths of the second order of a scattering transform (Bruna and
    /// Mallat 2013), with slopes in place of complex wavelets. They say more than
    /// [`Self::mnist_oriented_gradients`], and there are four times as many.
    pub fn mnist_scattering() -> Self {
        let slopes = GaussianDerivative { orientations: 4, kernel: 5, sigma: 1.0 };
        let order = || [slopes.into(), Abs.into(), AvgPool2d { kernel: 2, stride: 2 }.into()];
        let end = [
            Standardize { epsilon: 0.02 }.into(),
            Flatten.into(),
            Standardize { epsilon: 1e-5 }.into(),
            Linear { outputs: 10 }.into(),
        ];
        Self::known(&[1, 28, 28], order().into_iter().chain(order()).chain(end).collect())
    }

    /// LeNet-5 (LeCun et al. 1998) for images of 28 x 28 pixels as it is usual now: ReLU, 2x2
    /// max pooling, and a convolution of all 6 channels with all 16; 61,706 parameters.
    pub fn lenet() -> Self {
        let conv =
            |channels, padding| Layer::Conv2d(Conv2d { channels, kernel: 5, stride: 1, padding });
        let pool = || Layer::MaxPool2d(MaxPool2d { kernel: 2, stride: 2 });
        Self::known(
            &[1, 28, 28],
            vec![
                conv(6, 2),
                Layer::Relu(Relu),
                pool(),
                conv(16, 0),
                Layer::Relu(Relu),
                pool(),
                Layer::Flatten(Flatten),
                Layer::Linear(Linear { outputs: 120 }),
                Layer::Relu(Relu),
                Layer::Linear(Linear { outputs: 84 }),
                Layer::Relu(Relu),
                Layer::Linear(Linear { outputs: 10 }),
            ],
        )
    }

    /// A residual network of 14 layers for images of 3 x 32 x 32 values and 10 classes,
    /// 175,818 parameters.
    ///
    /// The network for CIFAR-10 of He et al. 2016, section 4.2, with n = 2: 16, 32 and 64
    /// channels. Group norm of 8 groups stands in place of batch norm, whose statistics would
    /// differ from client to client (Hsieh et al. 2020), and a convolution of kernel 1 where
    /// the shape changes.
    pub fn cifar_resnet14() -> Self {
        let conv = |channels, kernel, stride| {
            Layer::Conv2d(Conv2d { channels, kernel, stride, padding: kernel / 2 })
        };
        let norm = || Layer::GroupNorm(GroupNorm { groups: 8, epsilon: 1e-5 });
        let mut layers = vec![conv(16, 3, 1), norm(), Layer::Relu(Relu)];
        for (channels, stride) in [(16, 1), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)] {
            let block = vec![
                conv(channels, 3, stride),
                norm(),
                Layer::Relu(Relu),
                conv(channels, 3, 1),
                norm(),
            ];
            let shortcut = match stride {
                1 => vec![],
                stride => vec![conv(channels, 1, stride), norm()],
            };
            layers.push(Layer::Residual(Residual { layers: block, shortcut }));
            layers.push(Layer::Relu(Relu));
        }
        layers.push(Layer::GlobalAvgPool(GlobalAvgPool));
        layers.push(Layer::Linear(Linear { outputs: 10 }));
        Self::known(&[3, 32, 32], layers)
    }

    /// Next character of a text: one GRU of 256 units over vectors of 32 values, a class at
    /// each of 80 positions, 296,704 parameters.
    ///
    /// Token ids are the bytes of the text in UTF-8, as of every built-in model of text but
    /// [`Self::shakespeare_lstm`].
    pub fn char_gru() -> Self {
        let layers = vec![
            Embedding { width: 32 }.into(),
            Gru { units: 256 }.into(),
            Linear { outputs: BYTES }.into(),
        ];
        Self::known_of_tokens(80, BYTES, layers)
    }

    /// Next character of Shakespeare after 80 others, as in McMahan et al. 2017 and LEAF
    /// (Caldas et al. 2018): vectors of 8 values, two LSTMs of 256 units, one class an
    /// example, 819,920 parameters.
    ///
    /// The vocabulary has the 80 characters of LEAF, in an order that the application chooses.
    pub fn shakespeare_lstm() -> Self {
        let layers = vec![
            Embedding { width: 8 }.into(),
            Lstm { units: 256 }.into(),
            Lstm { units: 256 }.into(),
            LastStep.into(),
            Linear { outputs: 80 }.into(),
        ];
        Self::known_of_tokens(80, 80, layers)
    }

    /// Next byte of a text at each of 64 positions: a GPT of 3 blocks with 3 heads and a width
    /// of 48, 112,816 parameters. Sizes and name are those of minGPT (Karpathy 2020).
    pub fn gpt_nano() -> Self {
        Self::gpt(64, 3, 3, 48)
    }

    /// The same with 128 positions, 4 blocks, 4 heads and a width of 128, 875,520 parameters.
    pub fn gpt_micro() -> Self {
        Self::gpt(128, 4, 4, 128)
    }

    fn gpt(positions: u32, blocks: usize, heads: u32, width: u32) -> Self {
        let block = || Layer::from(TransformerBlock { heads, hidden: None });
        let mut layers = vec![Embedding { width }.into(), PositionEmbedding.into()];
        layers.extend((0..blocks).map(|_| block()));
        layers.push(LayerNorm { epsilon: 1e-5 }.into());
        layers.push(Linear { outputs: BYTES }.into());
        Self::known_of_tokens(positions, BYTES, layers)
    }

    fn known(input: &[u32], layers: Vec<Layer>) -> Self {
        Self::new(input, layers, Loss::SoftmaxCrossEntropy)
            .expect("the built-in models are valid; a test builds each")
    }

    fn known_of_tokens(positions: u32, vocabulary: u32, layers: Vec<Layer>) -> Self {
        Self::of_tokens(positions, vocabulary, layers, Loss::SoftmaxCrossEntropy)
            .expect("the built-in models are valid; a test builds each")
    }

    /// Names that [`ModelSpec::builtin`] knows.
    pub const BUILTIN: [&'static str; 11] = [
        "softmax-regression",
        "mnist-oriented-gradients",
        "mnist-scattering",
        "mnist-2nn",
        "mnist-cnn",
        "lenet",
        "cifar-resnet14",
        "char-gru",
        "shakespeare-lstm",
        "gpt-nano",
        "gpt-micro",
    ];

    /// A built-in model by name, or `None`.
    pub fn builtin(name: &str) -> Option<Self> {
        match name {
            "softmax-regression" => Some(Self::softmax_regression()),
            "mnist-oriented-gradients" => Some(Self::mnist_oriented_gradients()),
            "mnist-scattering" => Some(Self::mnist_scattering()),
            "mnist-2nn" => Some(Self::mnist_2nn()),
            "mnist-cnn" => Some(Self::mnist_cnn()),
            "lenet" => Some(Self::lenet()),
            "cifar-resnet14" => Some(Self::cifar_resnet14()),
            "char-gru" => Some(Self::char_gru()),
            "shakespeare-lstm" => Some(Self::shakespeare_lstm()),
            "gpt-nano" => Some(Self::gpt_nano()),
            "gpt-micro" => Some(Self::gpt_micro()),
            _ => None,
        }
    }
}
