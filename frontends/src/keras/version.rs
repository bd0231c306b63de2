//! Which Keras wrote the file, and on which backend: two facts that change what the numbers in it mean.

/// Major and minor number of the Keras that wrote a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KerasVersion {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

impl KerasVersion {
    /// Reads `2.2.4-tf`, `3.15.1`, `1.2`; `None` when the text does not begin with a number.
    pub fn parse(text: &str) -> Option<KerasVersion> {
        let mut parts = text.trim().split('.').map(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        Some(KerasVersion {
            major: parts.next()??,
            minor: parts.next().flatten().unwrap_or(0),
            patch: parts.next().flatten().unwrap_or(0),
        })
    }
}

/// The three generations whose files differ in spelling and in meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Generation {
    /// Keras 1.x.
    Keras1,
    /// Keras 2.x, `tf.keras` and `tf_keras`.
    Keras2,
    /// Keras 3.x.
    Keras3,
}

/// The library that Keras computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Theano: kernels are stored for true convolution, `same` padding is symmetric.
    Theano,
    /// TensorFlow, and with it CNTK, JAX, PyTorch and NumPy, which follow its conventions.
    TensorFlow,
}

impl Backend {
    /// Reads the `backend` attribute of a file; `None` for a name that no Keras writes.
    pub fn parse(text: &str) -> Option<Backend> {
        match text {
            "theano" => Some(Backend::Theano),
            "tensorflow" | "cntk" | "jax" | "torch" | "numpy" | "openvino" => Some(Backend::TensorFlow),
            _ => None,
        }
    }
}

/// What a container says about its writer; a missing fact stays missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// `keras_version` as written.
    pub keras_version: Option<String>,
    /// `backend` as written.
    pub backend: Option<String>,
}

impl Metadata {
    /// The facts of `self`, and those of `other` where `self` has none.
    pub fn or(self, other: &Metadata) -> Metadata {
        Metadata {
            keras_version: self.keras_version.or_else(|| other.keras_version.clone()),
            backend: self.backend.or_else(|| other.backend.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_spelling_are_read() {
        let read = |text| KerasVersion::parse(text).map(|v| (v.major, v.minor, v.patch));
        assert_eq!(read("2.2.4-tf"), Some((2, 2, 4)));
        assert_eq!(read("3.15.1"), Some((3, 15, 1)));
        assert_eq!(read("1.2"), Some((1, 2, 0)));
        assert_eq!(read("2.4.0rc1"), Some((2, 4, 0)));
        assert_eq!(read("unknown"), None);
        assert_eq!(read(""), None);
        assert_eq!(read("99999999999.1"), None);
    }

    #[test]
    fn only_theano_is_theano() {
        assert_eq!(Backend::parse("theano"), Some(Backend::Theano));
        assert_eq!(Backend::parse("jax"), Some(Backend::TensorFlow));
        assert_eq!(Backend::parse("plaidml"), None);
    }
}
