use super::*;
use crate::types::Midpoint;
use proptest::prelude::*;

fn read(text: &str) -> Format {
    text.parse().unwrap_or_else(|e| panic!("{e}"))
}
fn refused(text: &str) -> String {
    text.parse::<Format>().map(|f| f.to_string()).expect_err(text).to_string()
}
fn fixed(signed: bool, width: u8, frac: i16, rounding: Rounding, overflow: Overflow) -> Format {
    Format::Fixed { q: Q { signed, width, frac }, rounding, overflow }
}

/// Spellings, what they mean, and how they are printed.
#[test]
fn one_grammar() {
    use Overflow::*;
    use Rounding::*;
    for (text, format, canonical) in [
        ("fixed<16,6,RND,SAT>", fixed(true, 16, 10, HalfCeil, Saturate), "fixed<16,6,RND,SAT>"),
        ("ap_fixed<16,6,AP_RND,AP_SAT,0>", fixed(true, 16, 10, HalfCeil, Saturate), "fixed<16,6,RND,SAT>"),
        ("fixed<16,6>", fixed(true, 16, 10, Floor, Wrap), "fixed<16,6>"),
        ("ap_ufixed<8,0>", fixed(false, 8, 8, Floor, Wrap), "ufixed<8,0>"),
        ("ufixed< 8 , 12 >", fixed(false, 8, -4, Floor, Wrap), "ufixed<8,12>"),
        ("fixed<8,-3,TRN_ZERO>", fixed(true, 8, 11, Down, Wrap), "fixed<8,-3,TRN_ZERO>"),
        (
            "AP_FIXED<8,4,ap_trn,ap_sat_sym>",
            fixed(true, 8, 4, Floor, SaturateSymmetric),
            "fixed<8,4,TRN,SAT_SYM>",
        ),
        ("ac_fixed<16,6,true>", fixed(true, 16, 10, Floor, Wrap), "fixed<16,6>"),
        (
            "ac_fixed<8,4,false,AC_RND_CONV,AC_SAT>",
            fixed(false, 8, 4, HalfEven, Saturate),
            "ufixed<8,4,RND_CONV,SAT>",
        ),
        ("fixed<8,4,CEIL,SAT_ZERO>", fixed(true, 8, 4, Ceil, SaturateZero), "fixed<8,4,CEIL,SAT_ZERO>"),
        ("fixed<8,4,half_up>", fixed(true, 8, 4, HalfUp, Wrap), "fixed<8,4,RND_INF>"),
        ("fixed<8,4,ROUND>", fixed(true, 8, 4, HalfEven, Wrap), "fixed<8,4,RND_CONV>"),
        ("Q2.6", fixed(true, 8, 6, HalfEven, Saturate), "fixed<8,2,RND_CONV,SAT>"),
        ("uq0.8", fixed(false, 8, 8, HalfEven, Saturate), "ufixed<8,0,RND_CONV,SAT>"),
        ("Q-1.9", fixed(true, 8, 9, HalfEven, Saturate), "fixed<8,-1,RND_CONV,SAT>"),
        ("Q2.6<TRN,WRAP>", fixed(true, 8, 6, Floor, Wrap), "fixed<8,2>"),
        ("int8", Format::affine(IntType::signed(8)), "int8"),
        (" uint4 ", Format::affine(IntType::unsigned(4)), "uint4"),
        ("int1", Format::affine(IntType::signed(1)), "int1"),
        ("uint32", Format::affine(IntType::unsigned(32)), "uint32"),
        ("ternary", Format::Ternary, "ternary"),
        ("Bipolar", Format::Bipolar, "bipolar"),
        ("float", Format::Float, "float"),
        ("float32", Format::Float, "float"),
        ("log2<4>", Format::Log2(Log2 { width: 4, midpoint: Midpoint::Linear }), "log2<4,linear>"),
        ("log2<6,LOG>", Format::Log2(Log2 { width: 6, midpoint: Midpoint::Log }), "log2<6,log>"),
    ] {
        assert_eq!(read(text), format, "{text}");
        assert_eq!(format.to_string(), canonical, "{text}");
        assert_eq!(read(canonical), format, "{canonical}");
    }
}

/// Every fixed-point and integer format prints as something that reads back.
#[test]
fn canonical_spellings_read_back() {
    for rounding in Rounding::ALL {
        for overflow in Overflow::ALL {
            for (signed, width) in [(true, 1), (true, 32), (false, 1), (false, 8), (false, 32)] {
                for frac in [-127, -1, 0, 5, 126] {
                    let format = fixed(signed, width, frac, rounding, overflow);
                    assert_eq!(read(&format.to_string()), format, "{format}");
                }
                let format = Format::Int { int: IntType { signed, width }, rounding, overflow };
                assert_eq!(read(&format.to_string()), format, "{format}");
            }
        }
    }
}

#[test]
fn what_a_format_says() {
    let q = read("Q2.6");
    assert_eq!((q.bits(), q.lsb()), (8, Some(1.0 / 64.0)));
    assert_eq!((q.elem(), q.modes()), (ElemType::signed(8), Some((Rounding::HalfEven, Overflow::Saturate))));
    let log2 = read("log2<4>");
    assert_eq!((log2.bits(), log2.lsb(), log2.elem()), (4, None, ElemType::signed(8)));
    assert_eq!(read("log2<6>").elem(), ElemType::signed(32));
    assert_eq!((read("ternary").bits(), read("bipolar").bits(), read("float").bits()), (2, 1, 32));
    assert_eq!((read("bipolar").elem(), read("ternary").elem()), (ElemType::Bipolar, ElemType::Ternary));
    assert!(read("float").is_float() && read("float").elem().is_float() && read("float").modes().is_none());
}

#[test]
fn errors_say_what_was_expected_where() {
    for (text, parts) in [
        ("", vec!["column 1: expected fixed<W,I>", "found nothing"]),
        ("fix<8,4>", vec!["column 1: expected fixed<W,I>", "found `fix`"]),
        ("fixed", vec!["column 6: expected <width, integer bits", "found 0 arguments"]),
        ("fixed<8>", vec!["column 8: expected <width, integer bits", "found 1 argument"]),
        ("fixed<8,4", vec!["column 10: expected `>` at the end"]),
        ("fixed<8,4> x", vec!["column 12: expected nothing behind `>`, found `x`"]),
        ("fixed<33,4>", vec!["column 7: expected the width in bits, sign included, 1 to 32, found `33`"]),
        (
            "fixed<8,500>",
            vec!["column 9: expected the integer bits, sign included, -118 to 135, found `500`"],
        ),
        ("fixed<16,6,RNDX>", vec!["column 12: expected a rounding mode (RND,", "found `RNDX`"]),
        ("fixed<16,6,RND,CLIP>", vec!["column 16: expected an overflow mode (WRAP, SAT,", "found `CLIP`"]),
        (
            "ap_fixed<16,6,AP_RND,AP_WRAP_SM>",
            vec!["column 22: sign-magnitude wrapping (`AP_WRAP_SM`)", "not supported"],
        ),
        ("ap_fixed<16,6,AP_RND,AP_WRAP,2>", vec!["column 30: expected 0 saturation bits, found `2`"]),
        ("ac_fixed<16,6,AC_RND>", vec!["column 15: expected whether it is signed, true or false"]),
        // All at once.
        ("fixed<0,x,RNDX,CLIP,1>", vec!["column 7", "column 9", "column 11", "column 16", "column 21"]),
        ("int33", vec!["column 4: expected the width in bits, as in int8, 1 to 32, found `33`"]),
        ("int", vec!["column 4: expected the width in bits"]),
        ("int8<RND,SAT,0>", vec!["column 14: expected <rounding, overflow>", "found 3 arguments"]),
        ("Q2", vec!["column 1: expected fixed<W,I>", "found `Q2`"]),
        ("Q2.x", vec!["column 1: expected Qm.n"]),
        ("Q20.20", vec!["column 1: expected 1 to 32 bits", "found 40, 20 fractional"]),
        ("Q-199.200", vec!["at most 126 of them fractional"]),
        ("ternary<2>", vec!["column 9: expected `ternary` alone, found 1 argument"]),
        ("log2", vec!["expected log2<B> or log2<B,midpoint>"]),
        ("log2<7>", vec!["column 6: expected the width in bits, sign included, 2 to 6, found `7`"]),
        ("log2<4,mid>", vec!["column 8: expected the midpoint, `linear` or `log`, found `mid`"]),
        ("ü<8,4>", vec!["found `ü`"]),
        ("fixed<ü,4,ü>", vec!["column 7", "column 11"]),
    ] {
        let error = refused(text);
        for part in parts {
            assert!(error.contains(part), "{text}: no `{part}` in: {error}");
        }
    }
    let long = refused(&"ö".repeat(10_000));
    assert!(long.starts_with(&format!("`{}…`", "ö".repeat(80))));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,30}|(ap_|ac_)?u?(fixed|int|log2|Q)[0-9.<,>A-Z_ -]{0,24}") {
        if let Ok(format) = text.parse::<Format>() {
            prop_assert_eq!(read(&format.to_string()), format);
        }
    }
}
