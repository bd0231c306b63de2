//! Number formats as recipes and `--quantize` write them.
//!
//! In comes text, out goes a [`Format`] or why it is none. The grammar is [`Format`]'s, with one difference: where
//! `fixed<W,I>` (`ap_fixed`, `ac_fixed`) names no rounding it rounds half to even, and where it names no overflow it
//! saturates. `ap_fixed`'s own defaults, which cut and wrap, are a trap on a trained network: a single sum beyond the
//! range changes its sign. What is spelled out is taken literally.

use unfloat_ir::types::FormatError;
use unfloat_ir::{Format, Overflow, Rounding};

/// Reads a format.
pub fn read(text: &str) -> Result<Format, FormatError> {
    let format: Format = text.parse()?;
    let Format::Fixed { q, rounding, overflow } = format else { return Ok(format) };
    let name = text.trim().to_ascii_lowercase();
    // `Qm.n` rounds half to even and saturates by its own definition.
    let own = match () {
        () if name.starts_with("ac_") => 3,
        () if name.contains("fixed") => 2,
        () => return Ok(format),
    };
    let arguments = name.matches(',').count() + 1;
    Ok(match arguments.saturating_sub(own) {
        0 => Format::Fixed { q, rounding: Rounding::HalfEven, overflow: Overflow::Saturate },
        1 => Format::Fixed { q, rounding, overflow: Overflow::Saturate },
        _ => Format::Fixed { q, rounding, overflow },
    })
}

/// A format of weights: refused are unsigned ones, and integers that hold nothing but 0 and −1.
pub fn weights(text: &str) -> Result<Format, String> {
    let format = read(text).map_err(|e| e.to_string())?;
    match format {
        Format::Int { int, .. } if !int.signed => {
            Err(format!("weights have a sign, `{format}` has none; take int{}", int.width))
        }
        Format::Int { int, .. } if int.width < 2 => {
            Err("one bit with a sign holds 0 and −1; take bipolar for −1 and +1".to_string())
        }
        Format::Fixed { q, .. } if !q.signed => {
            Err(format!("weights have a sign, `{format}` has none; take fixed"))
        }
        _ => Ok(format),
    }
}

/// A format of what layers pass on.
pub fn activation(text: &str) -> Result<Format, String> {
    let format = read(text).map_err(|e| e.to_string())?;
    match format {
        Format::Bipolar | Format::Log2(_) => {
            Err(format!("what layers pass on is no `{format}`; take ternary, intN, uintN or fixed<W,I>"))
        }
        Format::Int { int, .. } if int.signed && int.width < 2 => {
            Err("one bit with a sign holds 0 and −1; take int2, uint1 or ternary".to_string())
        }
        Format::Int { int, .. } if int.width > 24 => {
            Err("integers of more than 24 bits hold no single-precision number better; take at most int24"
                .to_string())
        }
        _ => Ok(format),
    }
}

/// A format of biases that are on a grid of their own.
pub fn bias(text: &str) -> Result<Format, String> {
    let format = read(text).map_err(|e| e.to_string())?;
    match format {
        Format::Float | Format::Fixed { .. } => Ok(format),
        _ => Err(format!(
            "a bias is added to sums, so its grid is theirs (`accumulator`), fixed<W,I> or float, not `{format}`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_point_saturates_unless_it_is_told_to_wrap() {
        for (text, want) in [
            ("fixed<16,6>", "fixed<16,6,RND_CONV,SAT>"),
            ("ap_ufixed<8, 0>", "ufixed<8,0,RND_CONV,SAT>"),
            ("ac_fixed<8,3,true>", "fixed<8,3,RND_CONV,SAT>"),
            ("fixed<16,6,TRN>", "fixed<16,6,TRN,SAT>"),
            ("fixed<16,6,TRN,WRAP>", "fixed<16,6>"),
            ("ac_fixed<8,3,true,AC_TRN,AC_WRAP>", "fixed<8,3>"),
            ("Q2.6", "fixed<8,2,RND_CONV,SAT>"),
            ("int8", "int8"),
        ] {
            assert_eq!(read(text).unwrap().to_string(), want, "{text}");
        }
        assert!(read("fixed<16>").is_err());
    }

    #[test]
    fn some_formats_suit_one_role_only() {
        assert!(weights("bipolar").is_ok() && activation("bipolar").is_err());
        assert!(weights("uint8").is_err() && activation("uint8").is_ok());
        assert!(weights("int1").is_err() && activation("int1").is_err() && activation("uint1").is_ok());
        assert!(weights("log2<4>").is_ok() && activation("log2<4>").is_err());
    }
}
