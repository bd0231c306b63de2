//! `--quantize SPEC`: the short form of a recipe.
//!
//! | spec | means |
//! |---|---|
//! | `int8`, `int4`, … | weights and activations of that many bits, biases on the accumulator's grid |
//! | `fixed<16,6>`, `Q4.12`, … | weights, biases and activations in that format |
//! | `w4a8` | weights of 4 bits, activations of 8 |
//! | `wternary a8`, `wlog2<4> afixed<16,6>` | `w` and a format or a number of bits for weights, `a` for activations, and, if need be, `b` for biases, parted by blanks |
//!
//! Refused: formats that cannot be both (`ternary` alone, `uint8`), words that are none of these.

use super::{Accumulator, Bias, Formats, Method, Recipe, format};
use unfloat_ir::Format;

/// What every refusal advises.
pub const FORMS: &str = "int8, w4a8, \"fixed<16,6>\", or words for weights, activations and biases: \"wternary a8\", \
                         \"wlog2<4> a8 bfixed<16,6>\"";

/// Reads a spec; the error says everything that is wrong with it.
pub fn parse(text: &str) -> Result<Recipe, String> {
    let formats = match format::read(text) {
        Ok(format) => uniform(format, text)?,
        Err(why) => {
            let words = words(text);
            if words.is_empty() {
                return Err(if text.contains(['<', '.']) { why.to_string() } else { unknown(text) });
            }
            by_words(text, &words)?
        }
    };
    Ok(Recipe {
        source: text.trim().to_string(),
        formats,
        input: None,
        stochastic: None,
        method: Method::MinMax,
        rules: Vec::new(),
    })
}

/// `--input-format FORMAT`: the format of the inputs.
pub fn input(text: &str) -> Result<Format, String> {
    match format::activation(text)? {
        Format::Float => Err("`float` changes nothing; leave it out".to_string()),
        format => Ok(format),
    }
}

/// A recipe that quantizes the inputs and nothing else: what a network of quantized weights and signs wants.
pub fn inputs_alone(text: &str) -> Result<Recipe, String> {
    Ok(Recipe { source: text.trim().to_string(), input: Some(input(text)?), ..nothing() })
}

/// A recipe that quantizes nothing.
pub fn nothing() -> Recipe {
    let float = Format::Float;
    let (bias, accumulator) = (Bias::Format(float), Accumulator::Auto);
    let formats = Formats { weights: float, bias, activation: float, accumulator };
    Recipe {
        source: String::new(),
        formats,
        input: None,
        stochastic: None,
        method: Method::MinMax,
        rules: Vec::new(),
    }
}

fn unknown(text: &str) -> String {
    format!("expected {FORMS}; found `{text}`")
}

/// One format for everything.
fn uniform(format: Format, text: &str) -> Result<Formats, String> {
    let bias = match format {
        Format::Int { .. } => Bias::Accumulator,
        Format::Fixed { .. } => Bias::Format(format),
        Format::Float => return Err("`float` changes nothing; leave --quantize out".to_string()),
        _ => {
            return Err(format!(
                "`{format}` says what weights are, and nothing of activations: \"w{format} a8\", for example"
            ));
        }
    };
    let weights = format::weights(text)?;
    Ok(Formats { weights, bias, activation: format::activation(text)?, accumulator: Accumulator::Auto })
}

/// `w4a8` as two words; words that begin with `w`, `a` or `b`; none for anything else.
fn words(text: &str) -> Vec<String> {
    let text = text.trim();
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if let Some((w, a)) = text.strip_prefix(['w', 'W']).and_then(|rest| rest.split_once(['a', 'A']))
        && digits(w)
        && digits(a)
    {
        return vec![format!("w{w}"), format!("a{a}")];
    }
    // A blank within angles parts no words.
    let mut words = vec![String::new()];
    let mut depth = 0usize;
    for c in text.chars() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match words.last_mut() {
            Some(word) if !(c.is_whitespace() && depth == 0) => word.push(c),
            _ => words.push(String::new()),
        }
    }
    words.retain(|w| !w.is_empty());
    if words.iter().all(|w| w.starts_with(['w', 'W', 'a', 'A', 'b', 'B'])) { words } else { Vec::new() }
}

fn by_words(text: &str, words: &[String]) -> Result<Formats, String> {
    let (mut weights, mut activation, mut bias) = (None, None, None);
    let mut faults = Vec::new();
    for word in words {
        let (role, spelled) = word.split_at(1);
        let spelled = match spelled.bytes().all(|b| b.is_ascii_digit()) {
            true => format!("int{spelled}"),
            false => spelled.to_string(),
        };
        let mut keep = |slot: &mut Option<Format>, read: Result<Format, String>| match read {
            Ok(_) if slot.is_some() => faults.push(format!("`{role}` stands twice")),
            Ok(format) => *slot = Some(format),
            Err(why) => faults.push(format!("`{word}`: {why}")),
        };
        match role {
            "w" | "W" => keep(&mut weights, format::weights(&spelled)),
            "a" | "A" => keep(&mut activation, format::activation(&spelled)),
            _ => keep(&mut bias, format::bias(&spelled)),
        }
    }
    for (missing, role) in
        [(weights.is_none(), "weights (`w8`)"), (activation.is_none(), "activations (`a8`)")]
    {
        if missing && faults.is_empty() {
            faults.push(format!("`{text}` says nothing of {role}"));
        }
    }
    match (weights, activation) {
        (Some(weights), Some(activation)) if faults.is_empty() => Ok(Formats {
            weights,
            activation,
            bias: bias.map_or(Bias::Accumulator, Bias::Format),
            accumulator: Accumulator::Auto,
        }),
        _ => Err(format!("{}; expected {FORMS}", faults.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let f = parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).formats;
        format!("{} | {} | {}", f.weights, f.bias, f.activation)
    }

    #[test]
    fn all_forms() {
        assert_eq!(shown("int8"), "int8 | accumulator | int8");
        assert_eq!(shown("w4a8"), "int4 | accumulator | int8");
        assert_eq!(shown("W2 A16"), "int2 | accumulator | int16");
        let fixed = "fixed<16,6,RND_CONV,SAT>";
        assert_eq!(shown("fixed<16,6>"), format!("{fixed} | {fixed} | {fixed}"));
        assert_eq!(shown("ap_fixed<16,6>"), format!("{fixed} | {fixed} | {fixed}"));
        assert_eq!(shown("wternary a8"), "ternary | accumulator | int8");
        assert_eq!(shown("wbipolar auint4"), "bipolar | accumulator | uint4");
        assert_eq!(
            shown("wlog2<4, log> afixed<16, 6> bfixed<16,6>"),
            format!("log2<4,log> | {fixed} | {fixed}")
        );
    }

    #[test]
    fn inputs_have_a_format_of_their_own() {
        let recipe = inputs_alone("ufixed<8,0>").unwrap();
        assert_eq!(recipe.input.unwrap().to_string(), "ufixed<8,0,RND_CONV,SAT>");
        assert!(recipe.formats.weights.is_float() && recipe.formats.activation.is_float());
        assert!(inputs_alone("float").unwrap_err().contains("leave it out"));
        assert!(input("bipolar").unwrap_err().contains("what layers pass on"));
    }

    #[test]
    fn what_is_refused_says_what_to_write() {
        for (text, want) in [
            ("ternary", "\"wternary a8\""),
            ("uint8", "take int8"),
            ("float", "leave --quantize out"),
            ("w4", "says nothing of activations"),
            ("w4 a8 a9", "`a` stands twice"),
            ("wuint4 abipolar", "weights have a sign"),
            ("wuint4 abipolar", "what layers pass on"),
            ("eight bits", "expected int8"),
            ("fixed<16>", "column"),
            ("", "expected int8"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(want), "{text}: {why}");
        }
    }
}
