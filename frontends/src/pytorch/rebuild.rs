//! Tensors of PyTorch in pickles.
//!
//! In: a record. Out: a view of the storage that the record names, if it is one of the calls that PyTorch rebuilds
//! tensors with; parameters are unwrapped. Refuses by name: sparse, nested and meta tensors, wrappers of other devices,
//! conjugated and negated views, element types that graphs do not have.

use std::collections::BTreeMap;

use unfloat_ir::Shape;

use super::element::Element;
use super::legacy;
use super::numpy;
use super::pickle::{Binary, Id, Pickle, Record};
use super::problem::clip;
use super::view::{Scale, Source, View};

/// Wrappers in wrappers that are opened.
const MAX_WRAPPERS: usize = 16;

/// What is known of the tensors of a pickle.
pub(crate) struct Tensors<'p> {
    pickle: &'p Pickle,
    known: BTreeMap<Id, Option<Result<View, String>>>,
    /// Storages that are pickled whole within the pickle.
    inner: BTreeMap<Id, Result<(Source, Element), String>>,
}

/// A storage that a tensor names: where it is, the type of its elements if it has one, its own offset.
struct Storage {
    source: Source,
    element: Option<Element>,
    base: usize,
}

impl<'p> Tensors<'p> {
    pub(crate) fn new(pickle: &'p Pickle) -> Self {
        Self { pickle, known: BTreeMap::new(), inner: BTreeMap::new() }
    }
    /// The tensor that a record stands for; nothing if it stands for something else, an error if the tensor is one
    /// that cannot be read.
    pub(crate) fn describe(&mut self, id: Id) -> Option<Result<View, String>> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let found = self.open(id);
        self.known.insert(id, found.clone());
        found
    }
    fn open(&mut self, id: Id) -> Option<Result<View, String>> {
        let pickle = self.pickle;
        let object = pickle.object(id)?;
        let (mut class, mut args) = (object.class, pickle.args(object));
        if let Some(array) = numpy::array(pickle, object) {
            return Some(array);
        }
        for _ in 0..MAX_WRAPPERS {
            let (module, name) = pickle.class(class)?;
            if !module.starts_with("torch") {
                return None;
            }
            match (&*name, args) {
                (
                    "_rebuild_parameter" | "_rebuild_parameter_with_state" | "Parameter" | "Variable",
                    [data, ..],
                )
                | ("_rebuild_device_tensor_from_numpy" | "_rebuild_xla_tensor", [data, ..]) => {
                    let inner = pickle.object(*data)?;
                    if let Some(array) = numpy::array(pickle, inner) {
                        return Some(array);
                    }
                    (class, args) = (inner.class, pickle.args(inner));
                }
                ("_rebuild_from_type" | "_rebuild_from_type_v2", [function, _, inner, ..]) => {
                    (class, args) = (*function, pickle.elements(*inner).unwrap_or(&[]));
                }
                ("_rebuild_tensor" | "_rebuild_tensor_v2", [storage, offset, size, stride, rest @ ..]) => {
                    let view = self.view([*storage, *offset, *size, *stride], None);
                    return Some(view.and_then(|v| plain(pickle, v, rest.get(2))));
                }
                ("_rebuild_tensor_v3", [storage, offset, size, stride, _, _, dtype, rest @ ..]) => {
                    let view = self.view([*storage, *offset, *size, *stride], Some(*dtype));
                    return Some(view.and_then(|v| plain(pickle, v, rest.first())));
                }
                ("_rebuild_qtensor", [storage, offset, size, stride, quantizer, ..]) => {
                    return Some(self.quantized([*storage, *offset, *size, *stride], *quantizer));
                }
                (other, _) if other.starts_with("_rebuild") => {
                    return Some(Err(refused(other)));
                }
                _ => return None,
            }
        }
        Some(Err("is wrapped too often".to_string()))
    }

    /// The window that the arguments storage, offset, size and stride mean.
    fn view(&mut self, args: [Id; 4], dtype: Option<Id>) -> Result<View, String> {
        let [storage, offset, size, stride] = args;
        let pickle = self.pickle;
        let storage = self.storage(storage)?;
        let offset = pickle.int(offset).and_then(|n| usize::try_from(n).ok());
        let offset = offset.and_then(|n| n.checked_add(storage.base)).ok_or("has no offset")?;
        let shape = extents(pickle, size).map_err(|e| format!("has {e} as its shape"))?;
        let strides = extents(pickle, stride).map_err(|e| format!("has {e} as its strides"))?;
        let element = match dtype {
            Some(dtype) => {
                let (_, name) = pickle.class(dtype).ok_or("has no element type")?;
                Element::from_name(&name).ok_or_else(|| format!("is of {}, {UNSUPPORTED}", clip(&name)))?
            }
            None => storage.element.ok_or("lies in a storage without an element type")?,
        };
        Ok(View { source: storage.source, element, offset, shape, strides, big_endian: None, scale: None })
    }

    fn storage(&mut self, id: Id) -> Result<Storage, String> {
        match self.pickle.get(id) {
            Record::Persistent(key) => {
                let named = storage_key(self.pickle, *key)?;
                Ok(Storage { source: Source::Storage(named.key), element: named.element, base: named.base })
            }
            Record::Object(object)
                if self.pickle.is_class(object.class, "torch.storage", "_load_from_bytes") =>
            {
                if !self.inner.contains_key(&id) {
                    let found = self.pickled_storage(self.pickle.args(object));
                    self.inner.insert(id, found);
                }
                let found = self.inner.get(&id).cloned();
                let (source, element) = found.unwrap_or_else(|| Err("has no storage".to_string()))?;
                Ok(Storage { source, element: Some(element), base: 0 })
            }
            _ => Err("names no storage".to_string()),
        }
    }

    /// A tensor that was pickled with Python's own `pickle` carries its storage as a whole file of `torch.save`.
    fn pickled_storage(&self, args: &[Id]) -> Result<(Source, Element), String> {
        let binary = args.first().and_then(|&id| self.pickle.binary(id));
        let Some(Binary::Plain(span)) = binary else {
            return Err("lies in a storage that was pickled as text; save it with `torch.save`".to_string());
        };
        let (element, inside) = legacy::only_storage(self.pickle.slice(span))?;
        let span = super::pickle::Span { start: span.start + inside.start, len: inside.len() };
        Ok((Source::Inline(Binary::Plain(span)), element))
    }

    fn quantized(&mut self, args: [Id; 4], quantizer: Id) -> Result<View, String> {
        let pickle = self.pickle;
        let mut view = self.view(args, None)?;
        let parts = pickle.elements(quantizer).ok_or("has no quantizer")?;
        let scheme = parts.first().and_then(|&id| pickle.class(id)).ok_or("has no quantization scheme")?;
        view.scale = Some(match (&*scheme.1, parts) {
            ("per_tensor_affine", [_, scale, zero, ..]) => Scale::PerTensor {
                scale: pickle.number(*scale).ok_or("has no scale")?,
                zero: pickle.int(*zero).ok_or("has no zero point")?,
            },
            ("per_channel_affine", [_, scales, zeros, axis, ..]) => {
                let part = |view: Option<Result<View, String>>, what: &str| match view {
                    Some(Ok(view)) if view.scale.is_none() => Ok(Box::new(view)),
                    Some(Err(fault)) => Err(format!("has {what} that {fault}")),
                    _ => Err(format!("has no {what}")),
                };
                let axis = pickle.int(*axis).and_then(|n| usize::try_from(n).ok()).ok_or("has no axis")?;
                // These are plain tensors: `open` reads no further quantizer for them.
                let scales = part(self.unquantized(*scales), "scales")?;
                let zeros = part(self.unquantized(*zeros), "zero points")?;
                Scale::PerChannel { scales, zeros, axis }
            }
            (other, _) => {
                return Err(format!(
                    "is quantized as `{}`; per_tensor_affine and per_channel_affine are supported",
                    clip(other)
                ));
            }
        });
        if view.element.is_quantized() {
            Ok(view)
        } else {
            Err(format!("is quantized in a storage of {}", view.element.name()))
        }
    }

    /// A tensor that is not itself quantized, so that scales of scales of scales cannot nest.
    fn unquantized(&mut self, id: Id) -> Option<Result<View, String>> {
        let object = self.pickle.object(id)?;
        let (_, name) = self.pickle.class(object.class)?;
        if &*name == "_rebuild_qtensor" || !name.starts_with("_rebuild_tensor") {
            return None;
        }
        self.open(id)
    }
}

const UNSUPPORTED: &str = "which is not supported; save it as float32";

/// Why a tensor of another kind is not read.
fn refused(rebuild: &str) -> String {
    let kind = match rebuild {
        "_rebuild_sparse_tensor" | "_rebuild_sparse_csr_tensor" => {
            return "is sparse; save it after `.to_dense()`".to_string();
        }
        "_rebuild_nested_tensor" => "nested tensors",
        "_rebuild_meta_tensor_no_storage" => {
            return "is on the device `meta`: the file has its shape and no values".to_string();
        }
        "_rebuild_wrapper_subclass" => "wrapper subclasses",
        other => return format!("is rebuilt by `{}`, which is not known", clip(other)),
    };
    format!("is one of PyTorch's {kind}, which are not supported; save a plain tensor")
}

/// A view without flags that would change its values.
fn plain(pickle: &Pickle, view: View, metadata: Option<&Id>) -> Result<View, String> {
    let pairs = match metadata.map(|&id| pickle.get(id)) {
        Some(Record::Dict(pairs)) => pairs.as_slice(),
        Some(Record::Object(object)) => object.pairs.as_slice(),
        _ => &[],
    };
    for (key, value) in pairs.iter().take(16) {
        let flag = pickle.name(*key).unwrap_or_default();
        if matches!(&*flag, "conj" | "neg") && pickle.truth(*value) != Some(false) {
            return Err(format!("is a view with the flag `{flag}`; save it after `.resolve_{flag}()`"));
        }
    }
    if view.element.is_quantized() {
        return Err(format!("is of {} without a scale", view.element.name()));
    }
    Ok(view)
}

/// Extents or strides.
fn extents(pickle: &Pickle, id: Id) -> Result<Vec<usize>, String> {
    let items = pickle.elements(id).ok_or("no list of numbers")?;
    if items.len() > Shape::MAX_RANK {
        return Err(format!("{} numbers (at most {} are supported)", items.len(), Shape::MAX_RANK));
    }
    let number = |&id: &Id| pickle.int(id).and_then(|n| usize::try_from(n).ok());
    items.iter().map(number).collect::<Option<_>>().ok_or_else(|| "something other than extents".to_string())
}

/// What a persistent number says of a storage.
pub(crate) struct StorageKey {
    /// The key, of the whole storage where this is a part of one.
    pub(crate) key: String,
    /// The type of its elements; nothing for storages of bytes.
    pub(crate) element: Option<Element>,
    /// Where a part begins, in elements.
    pub(crate) base: usize,
}

/// Reads `("storage", class, key, location, elements)`, with `(key, offset, elements)` behind it in old files.
pub(crate) fn storage_key(pickle: &Pickle, id: Id) -> Result<StorageKey, String> {
    let parts = pickle.elements(id).ok_or("lies in something that is no storage")?;
    let [kind, class, key, _, _, rest @ ..] = parts else {
        return Err("lies in something that is no storage".to_string());
    };
    if !pickle.is_text(*kind, "storage") {
        return Err("lies in something that is no storage".to_string());
    }
    let key = pickle.name(*key).ok_or("lies in a storage without a key")?.into_owned();
    let class = pickle.class(*class).ok_or("lies in a storage without a class")?;
    let element = match &*class.1 {
        "UntypedStorage" | "_UntypedStorage" => None,
        name => match Element::from_storage(name) {
            Some(element) => Some(element),
            None => {
                let name = name.strip_suffix("Storage").unwrap_or(name);
                return Err(format!("is of {}, {UNSUPPORTED}", clip(name)));
            }
        },
    };
    let base = match rest.first().and_then(|&view| pickle.elements(view)) {
        Some([_, offset, ..]) => {
            let offset = pickle.int(*offset).and_then(|n| usize::try_from(n).ok());
            offset.ok_or("lies in a part of a storage without an offset")?
        }
        _ => 0,
    };
    Ok(StorageKey { key, element, base })
}
