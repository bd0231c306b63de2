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
