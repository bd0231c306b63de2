//! NumPy arrays in pickles as views.
//!
//! In: the calls that NumPy pickles arrays with. Out: a view of the bytes in the pickle, or the list of things that an
//! object array holds. Refuses: element types that graphs do not have.

use unfloat_ir::Shape;
use unfloat_pickle::numpy::{self, Array};

use super::element::Element;
use super::pickle::{Id, Object, Pickle, Record};
use super::problem::clip;
use super::view::{Source, View};

/// The array that a call stands for; nothing if it is no array of numbers.
pub(crate) fn array(pickle: &Pickle, object: &Object) -> Option<Result<View, String>> {
    let array = numpy::array(pickle, object)?;
    if array.is_object() {
        return None;
    }
    Some(view(pickle, &array))
}

fn view(pickle: &Pickle, array: &Array) -> Result<View, String> {
    let code = array.code.as_deref().ok_or("has no element type")?;
    let letters = array.letters();
    let element = Element::from_numpy(letters).or_else(|| Element::from_name(letters));
    let element =
        element.ok_or_else(|| format!("is of NumPy's type `{}`, which is not supported", clip(code)))?;
    let shape = array.extents(pickle, Shape::MAX_RANK).ok_or("has no shape")?;
    let binary = pickle.binary(array.data).ok_or("has no bytes of elements")?;
    let mut view = View::plain(Source::Inline(binary), element, shape);
    view.big_endian = Some(array.big_endian);
    if array.fortran {
        view.set_fortran();
    }
    Ok(view)
}

/// The things that an object array holds, and whether it is one thing without axes.
pub(crate) fn objects<'p>(pickle: &'p Pickle, object: &Object) -> Option<(&'p [Id], bool)> {
    let array = numpy::array(pickle, object).filter(Array::is_object)?;
    let Record::List(items) = pickle.get(array.data) else { return None };
    let scalar = pickle.elements(array.shape).is_some_and(<[Id]>::is_empty);
    Some((items, scalar && items.len() == 1))
}
