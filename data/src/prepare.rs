//! Samples to a model's input.
//!
//! **In:** a sample, and the type of the model's one input. **Out:** its elements in the model's own order of axes, in
//! single precision `(pixel / 255 − mean) / deviation`, each step rounded, as torchvision's `ToTensor` and `Normalize`
//! compute it; or, for an input of integers, the pixels as they are. Grey images serve a model of three channels, the same
//! in each, and images of three equal channels one of a single channel. **Refuses:** other sizes (nothing is scaled or
//! cut), numbers that the input's type does not have.
//!
//! Without a scale from the user pixels are divided by 255 where the input is of floats; numbers of an archive, and pixels
//! for an input of integers, are taken as they are.

use crate::{Sample, Values};
use unfloat_ir::{Data, Diagnostic, Layout, Location, TensorType};

/// How pixels become numbers. What is not given is not done, but for the scale.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Normalisation {
    /// What elements are multiplied or divided by.
    pub scale: Option<Scale>,
    /// What is subtracted, after the scale: one number, or one per channel.
    pub mean: Vec<f32>,
    /// What is divided by, at last: one number, or one per channel.
    pub deviation: Vec<f32>,
    /// Which order the channels of images have in a model whose input has one axis.
    pub flat: Option<Layout>,
}

/// A factor, or its inverse: dividing by 255 and multiplying by 1/255 round differently.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scale {
    /// `x · s`
    Times(f32),
    /// `x / s`
    Over(f32),
}

impl Scale {
    /// `0.5`, or `1/255`.
    pub fn parse(text: &str) -> Option<Self> {
        let number = |t: &str| t.trim().parse::<f32>().ok().filter(|n| n.is_finite() && *n > 0.0);
        match text.split_once('/') {
            Some((one, n)) if number(one) == Some(1.0) => number(n).map(Scale::Over),
            Some(_) => None,
            None => number(text).map(Scale::Times),
        }
    }
    fn apply(self, x: f32) -> f32 {
        match self {
            Scale::Times(s) => x * s,
            Scale::Over(s) => x / s,
        }
    }
}

/// Turns samples into elements of an input.
pub struct Preparer {
    input: TensorType,
    normal: Normalisation,
    /// The plan for samples of the last shape that was met.
    plan: Option<Plan>,
}

/// Where each element of the input comes from.
struct Plan {
    shape: Vec<usize>,
    layout: Option<Layout>,
    /// Positions in the sample.
    from: Vec<usize>,
    /// The channel of each element.
    channel: Vec<usize>,
    /// Positions that must hold the same number: channels of an image that becomes grey.
    equal: Vec<[usize; 3]>,
}

fn fault(place: &str, text: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Location { place: place.to_string(), ..Location::default() }, text)
}

impl Preparer {
    /// For an input of that type.
    ///
    /// # Errors
    /// When mean or deviation are no numbers, or not as many as the input has channels; all of it at once.
    pub fn new(input: TensorType, normal: Normalisation) -> Result<Self, Vec<Diagnostic>> {
        let mut found = Vec::new();
        let channels = channel_axis(&input).map_or(1, |axis| input.shape[axis]);
        // Where the channels lie in one axis, each image tells how many there are.
        let is_flat = input.rank() == 1;
        for (what, values) in [("--mean", &normal.mean), ("--std", &normal.deviation)] {
            if values.len() > 1 && values.len() != channels && !is_flat {
                let text = format!(
                    "{} numbers, and the model's input {input} has {channels} channels",
                    values.len()
                );
                found.push(fault(what, text));
            }
            let is_bad = |v: &&f32| !v.is_finite() || (what == "--std" && **v <= 0.0);
            if let Some(bad) = values.iter().find(is_bad) {
                found.push(fault(what, format!("{bad} cannot be used")));
            }
        }
        if found.is_empty() { Ok(Self { input, normal, plan: None }) } else { Err(found) }
    }

    /// Appends a sample's elements to `data`, which has the input's kind of elements.
    ///
    /// # Errors
    /// When the sample does not suit the input.
    pub fn append(&mut self, sample: &Sample<'_>, data: &mut Data) -> Result<(), Diagnostic> {
        let fits = |p: &Plan| p.shape == sample.shape && p.layout == sample.layout;
        let plan = match self.plan.take().filter(fits) {
            Some(plan) => plan,
            None => plan(&self.input, sample, self.normal.flat).map_err(|e| fault(&sample.name, e))?,
        };
        let channels = plan.channel.iter().max().map_or(0, |c| c + 1);
        for (what, values) in [("--mean", &self.normal.mean), ("--std", &self.normal.deviation)] {
            if values.len() > 1 && values.len() != channels {
                return Err(fault(what, format!("{} numbers for {channels} channels", values.len())));
            }
        }
        let raw: Vec<f32> = match &sample.values {
            Values::Bytes(bytes) => bytes.iter().map(|&b| b.into()).collect(),
            Values::Numbers(numbers) => numbers.clone(),
        };
        if plan.from.iter().any(|&at| at >= raw.len()) {
            return Err(fault(
                &sample.name,
                format!("{} elements for the shape {:?}", raw.len(), sample.shape),
            ));
        }
        if plan.equal.iter().any(|[r, g, b]| raw[*r] != raw[*g] || raw[*r] != raw[*b]) {
            let text = format!("is in colour, and the model's input {} has one channel", self.input);
            return Err(fault(&sample.name, text));
        }
        let is_bytes = matches!(sample.values, Values::Bytes(_));
        let default = (is_bytes && self.input.elem.is_float()).then_some(Scale::Over(255.0));
        let scale = self.normal.scale.or(default);
        let of = |values: &[f32], c: usize| {
            if values.len() == 1 { Some(values[0]) } else { values.get(c).copied() }
        };
        let elements = plan.from.iter().zip(&plan.channel).map(|(&at, &c)| {
            let mut x = scale.map_or(raw[at], |s| s.apply(raw[at]));
            x = of(&self.normal.mean, c).map_or(x, |mean| x - mean);
            of(&self.normal.deviation, c).map_or(x, |deviation| x / deviation)
        });
        let done = push(&self.input, elements, data).map_err(|e| fault(&sample.name, e));
        self.plan = Some(plan);
        done
    }
}

/// Appends elements of the input's type.
fn push(input: &TensorType, elements: impl Iterator<Item = f32>, data: &mut Data) -> Result<(), String> {
    if let Data::F32(floats) = data {
        floats.extend(elements);
        return Ok(());
    }
    for x in elements {
        let code = x as i64;
        if x.fract() != 0.0 || !x.is_finite() || !input.elem.has_code(code) {
            return Err(format!("would be {x} for the model's input, which is {}", input.elem));
        }
        match data {
            Data::F32(_) => {}
            Data::I8(v) => v.extend(i8::try_from(code)),
            Data::I16(v) => v.extend(i16::try_from(code)),
            Data::I32(v) => v.extend(i32::try_from(code)),
            Data::I64(v) => v.push(code),
        }
    }
    Ok(())
}

/// The axis that counts channels, if there is one.
fn channel_axis(input: &TensorType) -> Option<usize> {
    input.layout.as_str().find('c').filter(|_| input.rank() > 1)
}

/// How samples of that shape lie in the input.
fn plan(input: &TensorType, sample: &Sample<'_>, flat: Option<Layout>) -> Result<Plan, String> {
    let wrong = || {
        let axes = sample.layout.map_or(String::new(), |l| format!(" {l}"));
        format!("has the shape {:?}{axes}, and the model's input is {input}", sample.shape)
    };
    let (shape, want) = (sample.shape.as_slice(), input.shape.dims());
    let count: usize = shape.iter().product();
    let mut plan = Plan {
        shape: sample.shape.clone(),
        layout: sample.layout,
        from: (0..count).collect(),
        channel: vec![0; count],
        equal: Vec::new(),
    };
    let Some(layout) = sample.layout.or_else(|| guess(shape, input)) else {
        // Nothing is known of the axes: the model's own order, or as many elements in one axis.
        let same = shape == want || (want == [count] && shape.len() < 3);
        let channels = channel_axis(input).map(|axis| (input.shape[axis], input.shape.strides()[axis]));
        if let Some((extent, step)) = channels {
            plan.channel = (0..count).map(|i| i / step % extent).collect();
        }
        return if same { Ok(plan) } else { Err(wrong()) };
    };
    let at = |letter| layout.as_str().find(letter).map(|axis| (shape[axis], strides(shape)[axis]));
    let (Some((h, hs)), Some((w, ws)), Some((c, cs))) = (at('h'), at('w'), at('c')) else {
        return Err(wrong());
    };
    let (order, channels) = order(input, [h, w, c], flat).ok_or_else(wrong)??;
    let extent = |letter| match letter {
        'h' => h,
        'w' => w,
        _ => channels,
    };
    let [a, b, d] = order;
    plan.from.clear();
    plan.channel.clear();
    let step = |letter| match letter {
        'h' => hs,
        'w' => ws,
        // All channels of the model are the one of a grey image.
        _ if c == 1 => 0,
        _ => cs,
    };
    for i in 0..extent(a) {
        for j in 0..extent(b) {
            for k in 0..extent(d) {
                let index = [(a, i), (b, j), (d, k)];
                plan.from.push(index.iter().map(|&(letter, n)| n * step(letter)).sum());
                plan.channel.push(index.iter().find(|(letter, _)| *letter == 'c').map_or(0, |(_, n)| *n));
            }
        }
    }
    if c == 3 && channels == 1 {
        plan.equal = plan.from.iter().map(|&at| [at, at + cs, at + 2 * cs]).collect();
    }
    Ok(plan)
}

fn strides(shape: &[usize]) -> Vec<usize> {
    unfloat_ir::Shape::from(shape).strides()
}

/// The axes of an array that does not say them, when they are those of an image in the other order than the model's.
fn guess(shape: &[usize], input: &TensorType) -> Option<Layout> {
    let is_image = shape.len() == 3 && input.rank() == 3 && shape != input.shape.dims();
    match input.layout.as_str() {
        "hwc" if is_image => Layout::new("chw"),
        "chw" if is_image => Layout::new("hwc"),
        _ => None,
    }
}

/// In which order the model has the axes of an image, and how many channels; nothing if it takes no such image, an error
/// if the user must say the order.
#[allow(clippy::type_complexity)]
fn order(
    input: &TensorType,
    [h, w, c]: [usize; 3],
    flat: Option<Layout>,
) -> Option<Result<([char; 3], usize), String>> {
    const HWC: [char; 3] = ['h', 'w', 'c'];
    const CHW: [char; 3] = ['c', 'h', 'w'];
    let takes = |channels: usize| channels == c || (c == 1 && channels == 3) || (c == 3 && channels == 1);
    let want = input.shape.dims();
    match *want {
        [n] => {
            // 3 channels for a grey image would be a guess here, one for three a loss.
            if n != h * w * c {
                return None;
            }
            let order = match flat.map(|l| l == Layout::channels_first(2)) {
                Some(true) => CHW,
                Some(false) => HWC,
                None if c == 1 => HWC,
                None => {
                    return Some(Err(
                        "has several channels, and the model's input one axis: say --flat hwc or --flat chw"
                            .to_string(),
                    ));
                }
            };
            Some(Ok((order, c)))
        }
        [a, b] => ([a, b] == [h, w] && takes(1)).then_some(Ok((HWC, 1))),
        [a, b, d] => {
            let first = [b, d] == [h, w] && takes(a);
            let last = [a, b] == [h, w] && takes(d);
            match (input.layout.as_str(), first, last) {
                ("chw", true, _) | (_, true, false) if input.layout.as_str() != "hwc" => Some(Ok((CHW, a))),
                ("hwc", _, true) | (_, false, true) if input.layout.as_str() != "chw" => Some(Ok((HWC, d))),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
