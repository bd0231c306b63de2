//! What a user can type.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A compiler that takes a trained neural network, removes the floats, and proves every step.
#[derive(Parser, Debug)]
#[command(name = "unfloat", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Exit status: 0 done, 1 the outputs differ or a check failed, 2 an error.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Import a model, run the passes, emit and verify.
    Convert(Convert),
    /// Run a model in the native executor, or an artefact as it was emitted.
    Run(Run),
    /// Compare two of: model, .uir, artefact directory; or one with given outputs. A directory of Verilog alone runs its own
    /// testbench.
    Verify(Verify),
    /// Prove that emitted Verilog modules of look-up tables are their tables, for every input.
    Prove(Prove),
    /// Write the parameters of a checkpoint or a model as data: MATLAB, text, NumPy, memory images.
    Export(Export),
    /// Measure a classifier on a dataset in its own files: top-1, top-k, per class, confusion, mistakes.
    Eval(Eval),
    /// Datasets as files that other tools read.
    #[command(subcommand)]
    Data(DataCommand),
    /// Show layers, types, shapes, parameters, multiply-accumulates.
    Inspect(Inspect),
    /// List every float that hides in a model, and every width that is not proved; exit status 1 if there is any.
    Audit(Audit),
    /// Write a recipe for --recipe that lists every layer of a model.
    Recipe(RecipeArgs),
    /// Run passes on a .uir graph.
    Opt(Opt),
    /// List the passes, or show one's documentation.
    Passes {
        /// The pass to show.
        name: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// How a model file is to be read.
#[derive(Args, Debug, Clone, Default)]
pub struct Import {
    /// Weights in a file of their own, when MODEL is an architecture (JSON).
    #[arg(long, value_name = "FILE")]
    pub weights: Option<PathBuf>,
    /// The backend that a Keras file was trained on, when the file does not say (Keras 1).
    #[arg(long, value_name = "BACKEND")]
    pub keras_backend: Option<KerasBackend>,
    /// What the weights of a Keras file with Larq's quantizers are: those that the optimizer sees, or, when it was saved
    /// under `quantized_scope(True)`, those that the layers compute with (default: latent, with a warning where it
    /// matters).
    #[arg(long, value_name = "WHICH")]
    pub larq_weights: Option<LarqWeightsArg>,
    /// A TOML file that says which layers the custom classes of a Keras file are.
    #[arg(long, value_name = "FILE.toml")]
    pub layer_map: Option<PathBuf>,
    /// Which axis of an ONNX model's inputs counts samples: the first (0), or none, when the graph is one sample
    /// (default: the first where every node keeps it apart).
    #[arg(long, value_name = "AXIS")]
    pub batch: Option<BatchArg>,
    /// The extent of an axis that an ONNX model names and leaves open. May be given several times.
    #[arg(long, value_name = "NAME=N", value_parser = named::<usize>)]
    pub dim: Vec<(String, usize)>,
    /// A constant in place of an ONNX model's input. May be given several times.
    #[arg(long, value_name = "INPUT=FILE.npy", value_parser = named::<PathBuf>)]
    pub constant: Vec<(String, PathBuf)>,
    /// What is computed with the tensors of a checkpoint: the layers in TOML, as docs/pytorch-architecture.md describes.
    #[arg(long, value_name = "FILE.toml")]
    pub arch: Option<PathBuf>,
    /// Which part of a checkpoint is the model, `state_dict` or `nets[0]`, when it holds several; `.` for everything.
    #[arg(long, value_name = "PATH")]
    pub key: Option<String>,
}

/// Whether, and how, floats become integers. A float model stays float unless one of the first two is given.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Quantization")]
pub struct Quantization {
    /// Quantize: int8, int4, …; w4a8 (weights of 4 bits, activations of 8); a format for everything, "fixed<16,6>"; or
    /// words for weights, activations and biases, "wternary a8", "wlog2<4> afixed<16,6>". Where fixed<W,I> names no
    /// modes it rounds half to even and saturates (RND_CONV,SAT), not as a bare ap_fixed, which cuts and wraps; modes
    /// that are spelled out are taken literally.
    #[arg(long, value_name = "SPEC")]
    pub quantize: Option<String>,
    /// Quantize by a recipe (TOML, see docs/quantization.md; `unfloat recipe MODEL` writes one to start from).
    #[arg(long, value_name = "FILE.toml", conflicts_with = "quantize")]
    pub recipe: Option<PathBuf>,
    /// The format of the model's inputs, "ufixed<8,0>" or int8: alone it quantizes nothing else, which is enough for a
    /// network whose weights and signs are binary already; with --quantize or a recipe it takes the place of their format.
    #[arg(long, value_name = "FORMAT")]
    pub input_format: Option<String>,
    /// The sign of 0 in the layers of a binary network whose source gives 0 there, as torch does: exact keeps it, a third
    /// value that takes more than one bit; plus makes +1 of it, and of weights that are 0 behind such signs, and counts on
    /// the samples of --evaluate or --calibrate what that changes.
    #[arg(long, value_name = "SIGN", value_enum, default_value = "exact")]
    pub sign_zero: SignZero,
    /// Samples to find ranges from: .npz with input_0, … (several are taken one after another), or one .npy per input.
    /// Needed for all formats but fixed<W,I>.
    #[arg(long, value_name = "DATA", num_args = 1..)]
    pub calibrate: Vec<PathBuf>,
    /// How ranges are found: minmax, percentile=P, mse or kl (default: minmax).
    #[arg(long, value_name = "METHOD")]
    pub calibrate_method: Option<String>,
}

impl Quantization {
    /// Whether anything is to be quantized.
    pub fn asks(&self) -> bool {
        self.quantize.is_some()
            || self.recipe.is_some()
            || self.input_format.is_some()
            || self.sign_zero == SignZero::Plus
    }
}

/// The sign of 0.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SignZero {
    /// What the source says.
    #[default]
    Exact,
    /// +1.
    Plus,
}

/// What the weights of a file by Larq are.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LarqWeightsArg {
    /// Those that the optimizer sees.
    Latent,
    /// Those that the layers compute with.
    Quantized,
}

/// The axis that counts samples.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchArg {
    /// The first.
    #[value(name = "0")]
    First,
    /// None.
    None,
}

/// `NAME=VALUE`. Names may hold an equals sign; values don't.
fn named<T: std::str::FromStr>(text: &str) -> Result<(String, T), String>
where
    T::Err: std::fmt::Display,
{
    let (name, value) = text.rsplit_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_string(), value.parse().map_err(|e| format!("`{value}`: {e}"))?))
}

/// What a classifier gives.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Its own outputs.
    Scores,
    /// Its outputs without a softmax at the end.
    Logits,
    /// The place of the greatest score.
    Class,
}

/// A backend of Keras: Theano stores convolution kernels mirrored.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum KerasBackend {
    /// TensorFlow.
    Tensorflow,
    /// Theano.
    Theano,
}

/// Arguments of `convert`.
#[derive(Args, Debug)]
pub struct Convert {
    /// The model: .onnx, .h5, .keras, .json with --weights, a checkpoint with --arch, or .uir.
    pub model: PathBuf,
    /// The directory to make.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// The name of the C++ header and namespace (default: the model's file name).
    #[arg(long)]
    pub name: Option<String>,
    /// What to emit, separated by commas: cpp, verilog, qcdq, qonnx, uir, and formats of parameters as in `export`: mat, txt,
    /// npy, mem, memb, coe, mif.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "cpp")]
    pub emit: Vec<String>,
    /// Compile what was emitted and compare it with the native executor; with a file also compare both with the
    /// outputs in it (.npz with input_0 …, output_0 …) or take its samples (.npy).
    #[arg(long, value_name = "DATA", num_args = 0..=1)]
    pub check: Option<Option<PathBuf>>,
    /// The largest relative difference that counts as equal in checks.
    #[arg(long, value_name = "X", default_value_t = crate::compare::TOLERANCE)]
    pub tolerance: f64,
    /// Verilog: the device, `generic` (plain Verilog) or `xilinx` (primitives).
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Verilog: clock cycles from input to output: a number, `per-layer`, or `auto`, a register behind every step.
    #[arg(long, value_name = "N")]
    pub latency: Option<String>,
    /// An option of a backend, `verilog.style=vector` or `cpp.weights=text`. May be given several times.
    #[arg(long, value_name = "BACKEND.NAME=VALUE")]
    pub option: Vec<String>,
    /// What the model gives: its scores, or the class alone (the place of the greatest score, without a softmax).
    #[arg(long, value_name = "HEAD", default_value = "scores")]
    pub head: Head,
    /// With quantization: samples on which the report compares the quantized model with the float one (default: those of
    /// --calibrate).
    #[arg(long, value_name = "DATA")]
    pub evaluate: Option<PathBuf>,
    /// With quantization: the classes of the samples in --evaluate, or, without that, in --calibrate, as an .npy of
    /// integers. The report then tells the accuracy before and after.
    #[arg(long, value_name = "FILE.npy")]
    pub labels: Option<PathBuf>,
    /// With --labels: fail when quantization costs more points of accuracy (per cent of the samples) than this.
    #[arg(long, value_name = "POINTS", requires = "labels")]
    pub max_drop: Option<f64>,
    /// Replace DIR even if unfloat did not make it.
    #[arg(long)]
    pub force: bool,
    /// Do not check the passes' claims. The certificate says so.
    #[arg(long)]
    pub no_validate: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub quantization: Quantization,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct Export {
    /// A checkpoint (.pt, .pth, .pth.tar, .safetensors, .npz, a folder of .npy), which needs no architecture, or a model,
    /// whose graph is lowered first.
    pub model: PathBuf,
    /// The directory to make.
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Formats, separated by commas, each in a folder of its name: mat, txt, npy, mem, memb, coe, mif.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "mat,txt")]
    pub emit: Vec<String>,
    /// The name of the file with all tensors (default: the model's file name).
    #[arg(long)]
    pub name: Option<String>,
    /// Replace DIR even if unfloat did not make it.
    #[arg(long)]
    pub force: bool,
    /// Print the manifest, and not `key,shape` lines.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub quantization: Quantization,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}

/// Arguments of `eval`.
#[derive(Args, Debug)]
pub struct Eval {
    /// A model, a .uir, or an artefact directory, with one input and one output of scores.
    pub model: PathBuf,
    /// The dataset: CIFAR-10 or CIFAR-100 (binary or Python; folder or file), IDX (.gz or not; folder or file of images),
    /// .npz with x and y, or a folder of images named LABEL_INDEX.bmp or LABEL/… (see docs/data.md).
    #[arg(long, value_name = "DATA")]
    pub data: PathBuf,
    /// The part of a dataset that has both (default: test).
    #[arg(long, value_name = "PART")]
    pub split: Option<SplitArg>,
    /// Take the 20 groups of CIFAR-100 for classes.
    #[arg(long)]
    pub coarse: bool,
    /// What pixels are multiplied by: 1/255, or a number (default: 1/255 for pixels where the input is of floats, else 1).
    #[arg(long, value_name = "S")]
    pub scale: Option<String>,
    /// What is then subtracted: one number, or one per channel, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', allow_hyphen_values = true)]
    pub mean: Vec<f32>,
    /// What is then divided by: one number, or one per channel, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub std: Vec<f32>,
    /// The order in which a model with a flat input takes images of several channels.
    #[arg(long, value_name = "ORDER")]
    pub flat: Option<Flat>,
    /// How many places count as found (default: 5, or the number of classes if there are fewer).
    #[arg(long, value_name = "K")]
    pub top: Option<usize>,
    /// Threads over samples (default: one per core).
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Print one JSON document. All of it but `elapsed_seconds` is the same each time.
    #[arg(long)]
    pub json: bool,
    /// Write a page with the confusion matrix and the worst mistakes.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub quantization: Quantization,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}

/// A part of a dataset.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitArg {
    /// What models are trained on.
    Train,
    /// What they are tested on.
    Test,
}

/// The order of the elements of an image in one axis.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flat {
    /// Channels last, as Keras flattens.
    Hwc,
    /// Channels first, as PyTorch does.
    Chw,
}

/// The commands of `data`.
#[derive(Subcommand, Debug)]
pub enum DataCommand {
    /// Write the images of a dataset as LABEL_INDEX.bmp.
    Export(DataExport),
}

/// Arguments of `data export`.
#[derive(Args, Debug)]
pub struct DataExport {
    /// The dataset: CIFAR-10 or CIFAR-100, IDX, or .npz.
    pub source: PathBuf,
    /// The directory to make; with train and test in it if the dataset has both and --split chooses none.
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// The kind of image.
    #[arg(long, value_name = "KIND", default_value = "bmp")]
    pub format: ImageKind,
    /// The part of a dataset that has both.
    #[arg(long, value_name = "PART")]
    pub split: Option<SplitArg>,
    /// Take the 20 groups of CIFAR-100 for classes.
    #[arg(long)]
    pub coarse: bool,
}

/// A kind of image file.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// Windows bitmap.
    Bmp,
    /// PNG.
    Png,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// A model, a .uir, or an artefact directory.
    pub model: PathBuf,
    /// Samples: one .npy per input in the model's order, or one .npz with input_0, input_1, ….
    #[arg(long, value_name = "FILE", required = true)]
    pub input: Vec<PathBuf>,
    /// Where to write: one .npy per output, in the model's order.
    #[arg(long, value_name = "FILE", required = true)]
    pub output: Vec<PathBuf>,
    /// Threads over samples (default: one per core).
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Use the reference evaluator: slow, and as exact as can be.
    #[arg(long)]
    pub reference: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub quantization: Quantization,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}

/// Arguments of `prove`.
#[derive(Args, Debug)]
pub struct Prove {
    /// A directory that `convert --emit verilog` made.
    pub dir: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// A model, a .uir, or an artefact directory.
    pub left: PathBuf,
    /// What to compare it with (may be left out when --expect is given).
    pub right: Option<PathBuf>,
    /// Samples: .npy per input, or one .npz (default: 16 pseudo-random ones).
    #[arg(long, value_name = "FILE")]
    pub input: Vec<PathBuf>,
    /// Outputs that both must give: .npy per output, or one .npz with output_0, ….
    #[arg(long, value_name = "FILE")]
    pub expect: Vec<PathBuf>,
    /// The largest difference that counts as equal, relative to the greatest element of a sample's output (at
    /// least 1).
    #[arg(long, value_name = "X", default_value_t = crate::compare::TOLERANCE)]
    pub tolerance: f64,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub quantization: Quantization,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}

/// Arguments of `inspect`.
#[derive(Args, Debug)]
pub struct Inspect {
    /// A model, a .uir, or a checkpoint: .pt, .pth, .safetensors, .npz, a folder of .npy.
    pub model: PathBuf,
    /// Show the graph after the passes up to this stage (imported, canonical, folded).
    #[arg(long, value_name = "STAGE", default_value = "imported")]
    pub stage: String,
    /// Print one constant of the graph or tensor of the checkpoint, or save it with --output.
    #[arg(long, value_name = "NAME")]
    pub tensor: Option<String>,
    /// With --tensor: the .npy to write.
    #[arg(long, value_name = "FILE", requires = "tensor")]
    pub output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, conflicts_with = "dot")]
    pub json: bool,
    /// Print the graph for Graphviz.
    #[arg(long)]
    pub dot: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub quantization: Quantization,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}

/// Arguments of `audit`.
#[derive(Args, Debug)]
pub struct Audit {
    /// A model or a .uir.
    pub model: PathBuf,
    /// Do not count zero padding on maps of -1 and +1: what is emitted here has exact sums with its third value.
    #[arg(long)]
    pub allow_zero_padding: bool,
    /// What the model gives, as in `convert`.
    #[arg(long, value_enum, default_value = "scores")]
    pub head: Head,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub quantization: Quantization,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}

/// Arguments of `recipe`.
#[derive(Args, Debug)]
pub struct RecipeArgs {
    /// A model or a .uir.
    pub model: PathBuf,
    /// The recipe to write (default: standard output).
    #[arg(short, long, value_name = "FILE.toml")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}

/// Arguments of `opt`.
#[derive(Args, Debug)]
pub struct Opt {
    /// The graph, a .uir or a model.
    pub model: PathBuf,
    /// Passes in order, `name` or `name{option=value}`, separated by commas; or a pipeline's name.
    #[arg(short, long, value_name = "LIST")]
    pub passes: String,
    /// The .uir to write (default: standard output, with constants of any size inside).
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Do not check the passes' claims.
    #[arg(long)]
    pub no_validate: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub import: Import,
}
