//! NumPy arrays in pickles.
//!
//! In: the calls that NumPy pickles arrays with, of version 1 and 2, protocols 0 to 5. Out: shape, type and order of an
//! array, and where its elements are. What the type means is the caller's business. Nothing for other calls.

use super::{Id, Object, Pickle};

/// An array as a pickle describes it.
#[derive(Clone, Debug)]
pub struct Array {
    /// The extents, a tuple.
    pub shape: Id,
    /// The letter code of the type, `f4`, with NumPy's mark of the byte order in front where there is one; nothing if the
    /// pickle names no type.
    pub code: Option<String>,
    /// Whether the bytes of an element are in big-endian order.
    pub big_endian: bool,
    /// Whether the first axis varies fastest.
    pub fortran: bool,
    /// The elements: binary data, or a list of things.
    pub data: Id,
}

impl Array {
    /// The letter code alone.
    pub fn letters(&self) -> &str {
        self.code.as_deref().unwrap_or_default().trim_start_matches(['|', '<', '>', '='])
    }
    /// Whether the elements are Python objects.
    pub fn is_object(&self) -> bool {
        self.letters().starts_with('O')
    }
    /// The extents, at most `most` of them.
    pub fn extents(&self, pickle: &Pickle, most: usize) -> Option<Vec<usize>> {
        let items = pickle.elements(self.shape).filter(|items| items.len() <= most)?;
        items.iter().map(|&i| usize::try_from(pickle.int(i)?).ok()).collect()
    }
}

/// The array that a call stands for; nothing if it is none.
pub fn array(pickle: &Pickle, object: &Object) -> Option<Array> {
    let (module, name) = pickle.class(object.class)?;
    let module = module.strip_prefix("numpy.core.").or(module.strip_prefix("numpy._core."))?;
    let (shape, dtype, fortran, data) = match (module, &*name) {
        ("multiarray", "_reconstruct") => {
            let state = pickle.elements(*object.states.last()?)?;
            // A version stands first, but for the oldest files.
            let state = if state.len() > 4 { state.get(1..)? } else { state };
            let [shape, dtype, fortran, data] = state.first_chunk::<4>()?;
            (*shape, *dtype, pickle.truth(*fortran).unwrap_or(false), *data)
        }
        ("numeric", "_frombuffer") => {
            let [data, dtype, shape, order] = pickle.args(object).first_chunk::<4>()?;
            (*shape, *dtype, pickle.is_text(*order, "F"), *data)
        }
        _ => return None,
    };
    let (code, order) = code(pickle, dtype).unzip();
    let first = code.as_ref().and_then(|c| c.chars().next());
    let big_endian = first == Some('>') || order.flatten() == Some('>');
    Some(Array { shape, code, big_endian, fortran, data })
}

/// The letter code of a type, `f4`, and its byte order.
fn code(pickle: &Pickle, id: Id) -> Option<(String, Option<char>)> {
    let object = pickle.object(id)?;
    let (module, name) = pickle.class(object.class)?;
    if !module.starts_with("numpy") || name != "dtype" {
        return None;
    }
    let code = pickle.name(*pickle.args(object).first()?)?.into_owned();
    let state = object.states.last().and_then(|&s| pickle.elements(s)).unwrap_or(&[]);
    let order = state.get(1).and_then(|&o| pickle.name(o)).and_then(|o| o.chars().next());
    Some((code, order))
}
