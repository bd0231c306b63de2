//! Names with `*` for any characters and `?` for one. Everything else stands for itself.

use std::fmt;

/// A pattern for names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob(String);

impl Glob {
    /// The pattern with that text.
    pub fn new(text: &str) -> Self {
        Self(text.to_string())
    }

    /// Whether a whole name suits. Takes time in proportion to both lengths: it goes back to the last `*` only.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut p, mut n) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while n < name.len() {
            match pattern.get(p) {
                Some('*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(&c) if c == '?' || c == name[n] => {
                    p += 1;
                    n += 1;
                }
                _ => match star {
                    Some((at, taken)) => {
                        star = Some((at, taken + 1));
                        p = at + 1;
                        n = taken + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|&c| c == '*')
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, name, want) in [
            ("conv*", "conv1", true),
            ("conv*", "my_conv1", false),
            ("*conv?", "my_conv1", true),
            ("*conv?", "my_conv12", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "a_c_b", false),
            ("[x]", "[x]", true),
            ("gr?ün", "grxün", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), want, "{pattern} {name}");
        }
        // What goes back further would not end.
        let (pattern, name) = ("*a".repeat(40) + "b", "a".repeat(2000));
        assert!(!Glob::new(&pattern).matches(&name));
    }
}
