//! Names of files and variables from the names of tensors, which can hold anything.
//!
//! In: keys, each once. Out: for each key a name that every file system takes, or that MATLAB takes for a variable, no two
//! of them alike. Keys that are such names keep them, whatever the others are called; the others get a number where they
//! would clash. The same keys in the same order get the same names.

use std::collections::BTreeSet;

/// The longest stem of a file, and MATLAB's longest variable name (`namelengthmax`).
const LONGEST_STEM: usize = 120;
const LONGEST_VARIABLE: usize = 63;

/// What Windows takes for devices, whatever the extension.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// MATLAB's and Octave's keywords.
const KEYWORDS: &str = "break case catch classdef continue do else elseif end end_try_catch end_unwind_protect \
    endclassdef endenumeration endevents endfor endfunction endif endmethods endparfor endproperties endspmd endswitch \
    endwhile enumeration events for function global if methods otherwise parfor persistent properties return spmd \
    switch try until unwind_protect unwind_protect_cleanup while";

/// Names of files without their extension. File systems that do not tell capitals from small letters get different ones
/// too. `reserved` is taken.
pub(super) fn file_stems(keys: &[&str], reserved: &str) -> Vec<String> {
    assign(keys, Some(reserved), LONGEST_STEM, stem, |name| name.to_ascii_lowercase())
}

/// Names of variables.
pub(super) fn variables(keys: &[&str]) -> Vec<String> {
    assign(keys, None, LONGEST_VARIABLE, variable, str::to_string)
}

/// A name like the key that a file can have.
fn stem(key: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let mut name: String = key.chars().map(|c| if safe(c) { c } else { '_' }).collect();
    if name.is_empty() || name.starts_with(['.', '-']) {
        name.insert(0, '_');
    }
    let first = name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let port = first.strip_prefix("com").or(first.strip_prefix("lpt"));
    if DEVICES.contains(&first.as_str()) || port.is_some_and(|n| n.len() == 1 && n != "0") {
        name.insert(0, '_');
    }
    name
}

/// A name like the key that a variable can have.
fn variable(key: &str) -> String {
    let mut name: String = key.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || KEYWORDS.split(' ').any(|k| k == name) {
        name.insert_str(0, "x_");
    }
    name
}

fn assign(
    keys: &[&str],
    reserved: Option<&str>,
    longest: usize,
    make: impl Fn(&str) -> String,
    fold: impl Fn(&str) -> String,
) -> Vec<String> {
    let mut taken: BTreeSet<String> = reserved.iter().map(|r| fold(r)).collect();
    let wanted: Vec<String> = keys.iter().map(|key| make(key)).collect();
    let good = |key: &str, name: &str| key == name && name.len() <= longest;
    // First those that are good as they are.
    let kept: Vec<bool> =
        keys.iter().zip(&wanted).map(|(key, name)| good(key, name) && taken.insert(fold(name))).collect();
    let rest = |(name, kept): (String, bool)| {
        if kept {
            return name;
        }
        // All of it is ASCII.
        let cut = |end: &str| format!("{}{end}", &name[..name.len().min(longest - end.len())]);
        let numbered = (2u32..).map(|n| cut(&format!("_{n}")));
        let free = std::iter::once(cut("")).chain(numbered).find(|name| taken.insert(fold(name)));
        free.unwrap_or(name)
    };
    wanted.into_iter().zip(kept).map(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_stay_and_others_make_room() {
        let keys = [
            "a/b",
            "a_b",
            "features.0.weight",
            "../up",
            "größe",
            "",
            "net",
            "A_B",
            ".hidden",
            "con",
            "com1.x",
        ];
        let want = [
            "a_b_2",
            "a_b",
            "features.0.weight",
            "_.._up",
            "gr__e",
            "_",
            "net_2",
            "A_B_3",
            "_.hidden",
            "_con",
            "_com1.x",
        ];
        assert_eq!(file_stems(&keys, "net"), want);
    }

    #[test]
    fn variables_are_identifiers() {
        let keys = ["features.0.weight", "features_0_weight", "0.weight", "end", "_x", "A", "a"];
        let want = ["features_0_weight_2", "features_0_weight", "x_0_weight", "x_end", "x__x", "A", "a"];
        assert_eq!(variables(&keys), want);
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let keys = ["a".repeat(300), format!("{}b", "a".repeat(299))];
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        for (names, longest) in [(file_stems(&keys, ""), LONGEST_STEM), (variables(&keys), LONGEST_VARIABLE)]
        {
            assert!(names[0] != names[1] && names.iter().all(|n| n.len() == longest), "{names:?}");
        }
    }
}
