//! NumPy arrays in pickles.
//!
//! In: the calls that NumPy pickles arrays with, of version 1 and 2, protocols 0 to 5. Out: a view of the bytes in the
//! pickle, or the list of things that an object array holds. Refuses: element types that graphs do not have.

use unfloat_ir::Shape;

use super::element::Element;
use super::pickle::{Id, Object, Pickle, Record};
use super::problem::clip;
use super::view::{Source, View};

/// What an array says of itself: shape, type, whether the first axis varies fastest, elements.
struct Parts {
    shape: Id,
    dtype: Id,
    fortran: bool,
    data: Id,
}

fn parts(pickle: &Pickle, object: &Object) -> Option<Parts> {
    let (module, name) = pickle.class(object.class)?;
    let module = module.strip_prefix("numpy.core.").or(module.strip_prefix("numpy._core."))?;
    match (module, &*name) {
        ("multiarray", "_reconstruct") => {
            let state = pickle.elements(*object.states.last()?)?;
            // A version stands first, but for the oldest files.
            let state = if state.len() > 4 { state.get(1..)? } else { state };
            let [shape, dtype, fortran, data] = state.first_chunk::<4>()?;
            Some(Parts {
                shape: *shape,
                dtype: *dtype,
                fortran: pickle.truth(*fortran).unwrap_or(false),
                data: *data,
            })
        }
        ("numeric", "_frombuffer") => {
            let [data, dtype, shape, order] = pickle.args(object).first_chunk::<4>()?;
            let fortran = pickle.is_text(*order, "F");
            Some(Parts { shape: *shape, dtype: *dtype, fortran, data: *data })
        }
        _ => None,
    }
}

/// The array that a call stands for; nothing if it is no array of numbers.
pub(crate) fn array(pickle: &Pickle, object: &Object) -> Option<Result<View, String>> {
    let parts = parts(pickle, object)?;
    if is_object(pickle, parts.dtype) {
        return None;
    }
    Some(view(pickle, &parts))
}

fn view(pickle: &Pickle, parts: &Parts) -> Result<View, String> {
    let (element, big_endian) = dtype(pickle, parts.dtype)?;
    let shape = shape(pickle, parts.shape).ok_or("has no shape")?;
    let binary = pickle.binary(parts.data).ok_or("has no bytes of elements")?;
    let mut view = View::plain(Source::Inline(binary), element, shape);
    view.big_endian = Some(big_endian);
    if parts.fortran {
        view.set_fortran();
    }
    Ok(view)
}

fn shape(pickle: &Pickle, id: Id) -> Option<Vec<usize>> {
    let items = pickle.elements(id)?;
    if items.len() > Shape::MAX_RANK {
        return None;
    }
    items.iter().map(|&i| usize::try_from(pickle.int(i)?).ok()).collect()
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

fn is_object(pickle: &Pickle, dtype: Id) -> bool {
    code(pickle, dtype)
        .is_some_and(|(code, _)| code.trim_start_matches(['|', '<', '>', '=']).starts_with('O'))
}

/// The type of elements, and whether their bytes are in big-endian order.
fn dtype(pickle: &Pickle, id: Id) -> Result<(Element, bool), String> {
    let (code, order) = code(pickle, id).ok_or("has no element type")?;
    let first = code.chars().next();
    let plain = code.trim_start_matches(['|', '<', '>', '=']);
    let element = Element::from_numpy(plain).or_else(|| Element::from_name(plain));
    let element =
        element.ok_or_else(|| format!("is of NumPy's type `{}`, which is not supported", clip(&code)))?;
    Ok((element, first == Some('>') || order == Some('>')))
}

/// The things that an object array holds, and whether it is one thing without axes.
pub(crate) fn objects<'p>(pickle: &'p Pickle, object: &Object) -> Option<(&'p [Id], bool)> {
    let parts = parts(pickle, object)?;
    if !is_object(pickle, parts.dtype) {
        return None;
    }
    let Record::List(items) = pickle.get(parts.data) else { return None };
    let scalar = pickle.elements(parts.shape).is_some_and(<[Id]>::is_empty);
    Some((items, scalar && items.len() == 1))
}
