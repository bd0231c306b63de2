//! [`Store`] over an HDF5 file in memory.
//!
//! In: the bytes of an HDF5 file, or a part of a larger buffer (a `.keras` archive keeps its weights uncompressed).
//! Out: strings, shapes, numbers. Refuses: arrays that the file is too short to hold, compressed arrays that expand
//! beyond [`MAX_EXPANSION`], string lists larger than the file, element types other than numbers.
//! Cyclic groups do no harm: nothing here walks the tree, callers ask for paths that the architecture names.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use hdf5_reader::group::Group;
use hdf5_reader::messages::attribute::AttributeMessage;
use hdf5_reader::messages::dataspace::DataspaceType;
use hdf5_reader::{
    ByteOrder, Dataset, Datatype, Hdf5File, OpenOptions, SliceInfo, SliceInfoElem, StringSize, VarLenKind,
};

use super::store::{Member, Part, ReadError, Store, read_whole, unravel};

/// Largest ratio between the numbers of all compressed arrays that are read and the file that holds them.
/// Trained weights compress by 1.1 to 3; ternary ones stored as floats by about 20.
pub(crate) const MAX_EXPANSION: u64 = 64;

/// Most numbers of a part of an array. Smaller parts are slower to read, larger ones do not stay in the cache while
/// they are put in another order.
const PART: usize = 1 << 15;

/// Bytes of a file, or of a part of it, shared without a copy.
pub(crate) struct SharedBytes {
    bytes: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl SharedBytes {
    /// The part `range` of `bytes`; a range outside of it gives an empty slice.
    pub fn new(bytes: Arc<Vec<u8>>, range: Range<usize>) -> SharedBytes {
        SharedBytes { bytes, range }
    }

    /// All of `bytes`.
    pub fn whole(bytes: Arc<Vec<u8>>) -> SharedBytes {
        let range = 0..bytes.len();
        SharedBytes { bytes, range }
    }
}

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(self.range.clone()).unwrap_or_default()
    }
}

/// An open HDF5 file.
pub(crate) struct Hdf5Store {
    file: Hdf5File,
    /// Bytes of the file.
    len: u64,
    /// Bytes of numbers that reads may still produce.
    contiguous_left: Cell<u64>,
    chunked_left: Cell<u64>,
    /// Bytes of attribute strings that reads may still produce.
    strings_left: Cell<u64>,
    /// The group whose attributes were read last: a list split into many parts is many attributes of one group.
    attributes: RefCell<Option<(String, Rc<Attributes>)>>,
}

/// Attributes of one group, undecoded.
struct Attributes {
    group: Group,
    by_name: BTreeMap<String, AttributeMessage>,
}

impl Hdf5Store {
    /// Opens the file; the bytes are not copied.
    pub fn open(bytes: SharedBytes) -> Result<Hdf5Store, ReadError> {
        let len = bytes.as_ref().len() as u64;
        let most = usize::try_from(len.saturating_mul(MAX_EXPANSION)).unwrap_or(usize::MAX);
        let options = OpenOptions::default()
            .with_chunk_cache_bytes(0)
            .with_max_chunk_bytes(most)
            .with_max_read_bytes(most)
            .with_max_object_header_bytes(usize::try_from(len).unwrap_or(usize::MAX));
        let file = Hdf5File::from_owner(bytes, options).map_err(|e| e.to_string())?;
        file.root_group().map_err(|e| e.to_string())?;
        Ok(Hdf5Store {
            file,
            len,
            // Hard links may name an array twice, so the sum gets some air over the file's own size.
            contiguous_left: Cell::new(len.saturating_mul(2)),
            chunked_left: Cell::new(len.saturating_mul(MAX_EXPANSION)),
            strings_left: Cell::new(len.saturating_mul(4)),
            attributes: RefCell::default(),
        })
    }

    fn group(&self, path: &str) -> Result<Group, ReadError> {
        self.file.group(path).map_err(|e| e.to_string())
    }

    fn attributes_of(&self, path: &str) -> Result<Rc<Attributes>, ReadError> {
        if let Some((last, attributes)) = self.attributes.borrow().as_ref()
            && last == path
        {
            return Ok(Rc::clone(attributes));
        }
        let group = self.group(path)?;
        let raw = group.raw_attributes().map_err(|e| e.to_string())?;
        let by_name = raw.into_iter().map(|raw| (raw.name().to_owned(), raw.into_parts().0)).collect();
        let attributes = Rc::new(Attributes { group, by_name });
        *self.attributes.borrow_mut() = Some((path.to_owned(), Rc::clone(&attributes)));
        Ok(attributes)
    }

    fn dataset(&self, path: &str) -> Result<Dataset, ReadError> {
        self.file.dataset(path).map_err(|e| e.to_string())
    }

    /// Checks that the file can hold the numbers of an array and takes their bytes from the budget. Gives their count.
    fn charge(&self, dataset: &Dataset) -> Result<usize, ReadError> {
        let count = dataset.num_elements().map_err(|e| e.to_string())?;
        let bytes = dataset.raw_byte_len().map_err(|e| e.to_string())?;
        let bytes = (bytes as u64).max(count);
        let chunked = dataset.chunks().is_some();
        if !chunked && bytes > self.len {
            return Err(format!("the array needs {bytes} bytes and the whole file has {}", self.len));
        }
        let left = if chunked { &self.chunked_left } else { &self.contiguous_left };
        match left.get().checked_sub(bytes) {
            Some(rest) => {
                left.set(rest);
                usize::try_from(count).map_err(|e| e.to_string())
            }
            None if chunked => {
                Err(format!("compressed arrays expand to more than {MAX_EXPANSION} times the file"))
            }
            None => Err("the arrays together need more bytes than the file has".to_owned()),
        }
    }

    fn attribute_strings(
        &self,
        group: &Group,
        attribute: &AttributeMessage,
    ) -> Result<Vec<String>, ReadError> {
        let count = match attribute.dataspace.dataspace_type {
            DataspaceType::Null => 0,
            _ => attribute.dataspace.num_elements().map_err(|e| e.to_string())?,
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let width = match &attribute.datatype {
            Datatype::String { size: StringSize::Fixed(width), .. } => *width as usize,
            Datatype::String { size: StringSize::Variable, .. }
            | Datatype::VarLen { kind: VarLenKind::String, .. } => 8 + usize::from(group.offset_size()),
            _ => return Err("expected text, found another element type".to_owned()),
        };
        let variable = !matches!(&attribute.datatype, Datatype::String { size: StringSize::Fixed(_), .. });
        let held = attribute.raw_data.len() as u64;
        if width == 0 || count.checked_mul(width as u64).is_none_or(|needed| needed > held) {
            return Err(format!("the list of {count} strings is cut short"));
        }
        let mut strings = Vec::new();
        for raw in attribute.raw_data.chunks_exact(width).take(usize::try_from(count).unwrap_or(usize::MAX)) {
            if variable {
                let bytes = self
                    .charge_string(raw)
                    .and_then(|()| group.resolve_vlen_reference_bytes(raw, 1).map_err(|e| e.to_string()))?;
                strings.push(decode_text(&bytes)?);
            } else {
                strings.push(decode_text(raw)?);
            }
        }
        Ok(strings)
    }

    /// A reference of a few bytes can stand for megabytes in the heap, and a thousand references can name the same
    /// ones, so their lengths count against the size of the file.
    fn charge_string(&self, reference: &[u8]) -> Result<(), ReadError> {
        let length = reference.first_chunk::<4>().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
        let rest = self.strings_left.get().checked_sub(length);
        self.strings_left.set(rest.ok_or("the strings together are longer than the file")?);
        Ok(())
    }
}

/// Text of an attribute: padding removed.
fn decode_text(bytes: &[u8]) -> Result<String, ReadError> {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    let text = bytes.get(..end).unwrap_or_default();
    String::from_utf8(text.to_vec()).map_err(|_| "text is not UTF-8".to_owned())
}

impl Store for Hdf5Store {
    fn has_group(&self, path: &str) -> bool {
        self.file.group(path).is_ok()
    }

    fn strings(&self, path: &str, name: &str) -> Result<Option<Vec<String>>, ReadError> {
        let attributes = self.attributes_of(path)?;
        match attributes.by_name.get(name) {
            Some(attribute) => self
                .attribute_strings(&attributes.group, attribute)
                .map(Some)
                .map_err(|e| format!("attribute '{name}': {e}")),
            None => Ok(None),
        }
    }

    fn members(&self, path: &str) -> Result<Vec<Member>, ReadError> {
        let (groups, arrays) = self.group(path)?.member_names().map_err(|e| e.to_string())?;
        let mut members: Vec<Member> =
            groups.into_iter().map(|name| Member { name, is_group: true }).collect();
        members.extend(arrays.into_iter().map(|name| Member { name, is_group: false }));
        members.sort();
        Ok(members)
    }

    fn shape(&self, path: &str) -> Result<Vec<usize>, ReadError> {
        let dataset = self.dataset(path)?;
        let dims = dataset.shape().iter().map(|&d| usize::try_from(d));
        dims.collect::<Result<_, _>>().map_err(|_| "a dimension exceeds the address space".to_owned())
    }

    fn read(&self, path: &str) -> Result<Vec<f32>, ReadError> {
        let dataset = self.dataset(path)?;
        let count = self.charge(&dataset)?;
        if is_native(dataset.dtype()) {
            let mut values = vec![0f32; count];
            dataset.read_into(&mut values).map_err(|e| e.to_string())?;
            return Ok(values);
        }
        let raw = dataset.read_raw_bytes().map_err(|e| e.to_string())?;
        decode_numbers(&raw, dataset.dtype())
    }

    fn read_parts(&self, path: &str, take: &mut dyn FnMut(Part<'_>)) -> Result<(), ReadError> {
        let dataset = self.dataset(path)?;
        let shape = self.shape(path)?;
        // A chunk can lie in many parts and would be expanded for each of them.
        let whole = dataset.chunks().is_some() || !is_native(dataset.dtype());
        let count = shape.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim));
        if whole || count.is_none_or(|count| count <= PART) {
            return read_whole(self, path, take);
        }
        self.charge(&dataset)?;
        for (start, extents) in parts(&shape, PART) {
            let range = |(&start, &extent): (&usize, &usize)| {
                let end = (start as u64).saturating_add(extent as u64);
                SliceInfoElem::Slice { start: start as u64, end, step: 1 }
            };
            let selections = start.iter().zip(&extents).map(range).collect();
            let part = dataset
                .read_slice::<f32>(&SliceInfo { selections })
                .map_err(|e| e.with_context(dataset.name()).to_string())?;
            let values = part.as_slice().ok_or("the numbers of an array are out of order")?;
            take(Part { start: &start, extents: &extents, values });
        }
        Ok(())
    }
}

/// True for numbers that need no conversion.
fn is_native(datatype: &Datatype) -> bool {
    let native = if cfg!(target_endian = "little") { ByteOrder::LittleEndian } else { ByteOrder::BigEndian };
    matches!(datatype, Datatype::FloatingPoint { size: 4, byte_order } if *byte_order == native)
}

/// Starts and extents of the parts of an array, of at most `most` numbers each, in row-major order.
fn parts(shape: &[usize], most: usize) -> impl Iterator<Item = (Vec<usize>, Vec<usize>)> {
    // Trailing axes are whole as far as they fit, the axis before them is cut into `rows` and a remainder.
    let size = |axis: usize| shape.iter().skip(axis).product::<usize>();
    let cut = (0..shape.len()).find(|axis| size(axis + 1) <= most).unwrap_or(0);
    let dim = shape.get(cut).copied().unwrap_or(1);
    let inner = size(cut + 1);
    let rows = most.checked_div(inner).unwrap_or(1).max(1);
    let outer: usize = shape.iter().take(cut).product();
    (0..outer).flat_map(move |number| {
        (0..dim).step_by(rows).map(move |row| {
            let start = unravel((number * dim + row) * inner, shape);
            let extent = |(axis, &whole): (usize, &usize)| match axis.cmp(&cut) {
                Ordering::Less => 1,
                Ordering::Equal => rows.min(dim - row),
                Ordering::Greater => whole,
            };
            (start, shape.iter().enumerate().map(extent).collect())
        })
    })
}

/// Converts numbers of any HDF5 type to f32.
fn decode_numbers(raw: &[u8], datatype: &Datatype) -> Result<Vec<f32>, ReadError> {
    /// Applies `$of` to every `$n` bytes, in little-endian order.
    macro_rules! convert {
        ($n:literal, $order:expr, $of:expr) => {
            raw.as_chunks::<$n>()
                .0
                .iter()
                .map(|chunk| {
                    let mut bytes = *chunk;
                    if *$order == ByteOrder::BigEndian {
                        bytes.reverse();
                    }
                    $of(bytes)
                })
                .collect()
        };
    }
    // A double beyond the range of f32 becomes infinite here and is reported with the other non-finite weights.
    Ok(match datatype {
        Datatype::FloatingPoint { size: 2, byte_order } => {
            convert!(2, byte_order, |b| half::f16::from_le_bytes(b).to_f32())
        }
        Datatype::FloatingPoint { size: 4, byte_order } => convert!(4, byte_order, f32::from_le_bytes),
        Datatype::FloatingPoint { size: 8, byte_order } => {
            convert!(8, byte_order, |b| f64::from_le_bytes(b) as f32)
        }
        Datatype::FixedPoint { size: 1, signed: true, byte_order } => {
            convert!(1, byte_order, |b| f32::from(i8::from_le_bytes(b)))
        }
        Datatype::FixedPoint { size: 1, signed: false, byte_order } => {
            convert!(1, byte_order, |b| f32::from(u8::from_le_bytes(b)))
        }
        Datatype::FixedPoint { size: 2, signed: true, byte_order } => {
            convert!(2, byte_order, |b| f32::from(i16::from_le_bytes(b)))
        }
        Datatype::FixedPoint { size: 2, signed: false, byte_order } => {
            convert!(2, byte_order, |b| f32::from(u16::from_le_bytes(b)))
        }
        Datatype::FixedPoint { size: 4, signed: true, byte_order } => {
            convert!(4, byte_order, |b| i32::from_le_bytes(b) as f32)
        }
        Datatype::FixedPoint { size: 4, signed: false, byte_order } => {
            convert!(4, byte_order, |b| u32::from_le_bytes(b) as f32)
        }
        Datatype::FixedPoint { size: 8, signed: true, byte_order } => {
            convert!(8, byte_order, |b| i64::from_le_bytes(b) as f32)
        }
        Datatype::FixedPoint { size: 8, signed: false, byte_order } => {
            convert!(8, byte_order, |b| u64::from_le_bytes(b) as f32)
        }
        _ => return Err("expected numbers (floats of 16, 32 or 64 bits, or integers)".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_and_order_become_f32() {
        let float = |size, byte_order| Datatype::FloatingPoint { size, byte_order };
        let int = |size, signed, byte_order| Datatype::FixedPoint { size, signed, byte_order };
        let (little, big) = (ByteOrder::LittleEndian, ByteOrder::BigEndian);
        let cases: Vec<(Vec<u8>, Datatype)> = vec![
            (vec![0x00, 0xbe], float(2, little)),
            (vec![0xbe, 0x00], float(2, big)),
            ((-1.5f32).to_be_bytes().to_vec(), float(4, big)),
            ((-1.5f64).to_le_bytes().to_vec(), float(8, little)),
            ((-1.5f64).to_be_bytes().to_vec(), float(8, big)),
        ];
        for (raw, datatype) in cases {
            assert_eq!(decode_numbers(&raw, &datatype), Ok(vec![-1.5]), "{datatype:?}");
        }
        assert_eq!(decode_numbers(&[0xff, 0x02], &int(1, true, little)), Ok(vec![-1.0, 2.0]));
        assert_eq!(decode_numbers(&[0xff, 0x02], &int(2, false, big)), Ok(vec![65282.0]));
        assert_eq!(decode_numbers(&(-7i64).to_be_bytes(), &int(8, true, big)), Ok(vec![-7.0]));
        assert!(decode_numbers(&[0], &int(3, true, big)).is_err());
    }

    #[test]
    fn parts_cover_an_array_in_order() {
        for (shape, most) in [(vec![5, 4], 8), (vec![5, 4], 3), (vec![2, 3, 7, 5], 12), (vec![3, 2, 1, 4], 8)]
        {
            let mut next = 0;
            for (start, extents) in parts(&shape, most) {
                let at = start.iter().zip(&shape).fold(0, |at, (index, dim)| at * dim + index);
                let count: usize = extents.iter().product();
                assert!(at == next && (1..=most).contains(&count), "{shape:?}: {start:?} {extents:?}");
                next += count;
            }
            assert_eq!(next, shape.iter().product::<usize>(), "{shape:?}");
        }
    }

    #[test]
    fn text_loses_its_padding_and_must_be_utf8() {
        assert_eq!(decode_text(b"conv2d\0\0\0"), Ok("conv2d".to_owned()));
        assert_eq!(decode_text("größe".as_bytes()), Ok("größe".to_owned()));
        assert!(decode_text(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn a_file_that_is_not_hdf5_is_refused() {
        assert!(Hdf5Store::open(SharedBytes::whole(Arc::new(Vec::new()))).is_err());
        assert!(Hdf5Store::open(SharedBytes::whole(Arc::new(b"\x89HDF\r\n\x1a\n".to_vec()))).is_err());
    }
}
