//! The little that the importer needs from a file of named arrays.
//!
//! In: paths such as `model_weights/dense_1`. Out: attribute strings, member names, shapes and numbers.
//! The trait keeps the HDF5 library exchangeable and lets tests use a store in memory.

/// Why a read failed: text for the user, without the file's name.
pub(crate) type ReadError = String;

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    /// Name within the group.
    pub name: String,
    /// True for a group, false for an array.
    pub is_group: bool,
}

/// Numbers of an array that follow each other in row-major order: a box that has extent 1 along its first axes, any
/// extent along one, and the whole extent along the others.
pub(crate) struct Part<'a> {
    /// Index of the first number, along each axis of the array.
    pub start: &'a [usize],
    /// Extents of the box.
    pub extents: &'a [usize],
    /// The numbers of the box.
    pub values: &'a [f32],
}

impl Part<'_> {
    /// The first number that is NaN or infinite, with its index in the array.
    pub fn non_finite(&self) -> Option<(Vec<usize>, f32)> {
        let at = self.values.iter().position(|value| !value.is_finite())?;
        let inside = unravel(at, self.extents);
        let index = self.start.iter().zip(inside).map(|(start, inside)| start + inside).collect();
        Some((index, self.values.get(at).copied()?))
    }
}

/// Read access to groups, string attributes and arrays. Paths are relative to the root; `""` is the root.
pub(crate) trait Store {
    /// True when `path` is a group.
    fn has_group(&self, path: &str) -> bool;

    /// The strings of attribute `name` of group `path`: one for a scalar, none for an empty list of any element type
    /// (Keras writes an empty `weight_names` as float64), `None` when there is no such attribute.
    fn strings(&self, path: &str, name: &str) -> Result<Option<Vec<String>>, ReadError>;

    /// Members of group `path`, sorted by name.
    fn members(&self, path: &str) -> Result<Vec<Member>, ReadError>;

    /// Dimensions of array `path`.
    fn shape(&self, path: &str) -> Result<Vec<usize>, ReadError>;

    /// Numbers of array `path` in row-major order, as f32. Floats of 16, 32 and 64 bits and integers are converted.
    fn read(&self, path: &str) -> Result<Vec<f32>, ReadError>;

    /// The numbers that [`Store::read`] gives, in parts in row-major order, for those who have another place for them:
    /// a large array need not be in memory twice. What parts there are is the store's choice.
    fn read_parts(&self, path: &str, take: &mut dyn FnMut(Part<'_>)) -> Result<(), ReadError> {
        read_whole(self, path, take)
    }
}

/// Reads an array in one part.
pub(crate) fn read_whole<S: Store + ?Sized>(
    store: &S,
    path: &str,
    take: &mut dyn FnMut(Part<'_>),
) -> Result<(), ReadError> {
    let extents = store.shape(path)?;
    let values = store.read(path)?;
    take(Part { start: &vec![0; extents.len()], extents: &extents, values: &values });
    Ok(())
}

/// Reads a list attribute that Keras may have split into `name0`, `name1`, … because it exceeded 64 kB.
pub(crate) fn chunked_strings(
    store: &dyn Store,
    path: &str,
    name: &str,
) -> Result<Option<Vec<String>>, ReadError> {
    if let Some(list) = store.strings(path, name)? {
        return Ok(Some(list));
    }
    let mut whole: Option<Vec<String>> = None;
    for part in 0usize.. {
        let Some(list) = store.strings(path, &format!("{name}{part}"))? else {
            break;
        };
        whole.get_or_insert_default().extend(list);
    }
    Ok(whole)
}

/// The only string of an attribute; `None` when the attribute is missing or is a list.
pub(crate) fn scalar_string(store: &dyn Store, path: &str, name: &str) -> Result<Option<String>, ReadError> {
    Ok(store.strings(path, name)?.and_then(|mut list| if list.len() == 1 { list.pop() } else { None }))
}

/// Joins group and member into a path.
pub(crate) fn join(group: &str, member: &str) -> String {
    if group.is_empty() { member.to_owned() } else { format!("{group}/{member}") }
}

/// Index along each axis of element `at` in row-major order.
pub(crate) fn unravel(mut at: usize, shape: &[usize]) -> Vec<usize> {
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&dim| {
            let here = at.checked_rem(dim).unwrap_or(0);
            at = at.checked_div(dim).unwrap_or(0);
            here
        })
        .collect();
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_becomes_an_index() {
        assert_eq!(unravel(7, &[2, 2, 3]), [1, 0, 1]);
        assert_eq!(unravel(0, &[]), [0; 0]);
    }

    #[test]
    fn a_number_that_is_not_finite_is_found_by_its_index_in_the_array() {
        let values = [1.0, 2.0, 3.0, f32::NAN, f32::INFINITY, 0.0];
        let part = Part { start: &[4, 1, 0], extents: &[1, 2, 3], values: &values };
        let (index, value) = part.non_finite().unwrap();
        assert!(index == [4, 2, 0] && value.is_nan());
        assert_eq!(Part { start: &[0], extents: &[3], values: &values[..3] }.non_finite(), None);
    }
}
