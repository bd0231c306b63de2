//! Images as files: bmp, png and jpg to pixels, pixels to bmp and png.
//!
//! In: the bytes of a file. Out: pixels of 8 bits, channels last: one channel for grey, three for red, green and blue.
//! Refuses: pixels of 16 bits, and transparency, which a model would not see; files that unpack to more than a file of
//! their size can hold.

use crate::{Sample, Values};
use image::codecs::bmp::BmpEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, ImageReader, Limits};
use std::io::Cursor;

/// Bytes that an image may be unpacked to, beyond a multiple of its file.
const BASE: u64 = 1 << 20;
/// Deflate makes at most about 1032 bytes of one.
const MULTIPLE: u64 = 1100;
/// The longest side.
const SIDE: u32 = 1 << 15;

/// Pixels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// Height, width, channels.
    pub shape: [usize; 3],
    /// Row by row.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// The image that a sample is; nothing where it is none of bytes in one or three channels. An array that does not say
    /// its axes is grey with two of them, and has its channels last or first where that axis has one or three.
    pub fn of(sample: &Sample<'_>) -> Option<Self> {
        let Values::Bytes(bytes) = &sample.values else { return None };
        let is_color = |n: usize| n == 1 || n == 3;
        let is_first = sample.layout.map(|l| l.as_str() == "chw");
        let (shape, first) = match (sample.shape.as_slice(), is_first) {
            (&[h, w], _) => ([h, w, 1], false),
            (&[h, w, c], Some(false)) if is_color(c) => ([h, w, c], false),
            (&[c, h, w], Some(true)) if is_color(c) => ([h, w, c], true),
            (&[h, w, c], None) if is_color(c) => ([h, w, c], false),
            (&[c, h, w], None) if is_color(c) => ([h, w, c], true),
            _ => return None,
        };
        let [h, w, c] = shape;
        let plane = h * w;
        if bytes.len() != plane * c {
            return None;
        }
        let pixels = match first {
            false => bytes.to_vec(),
            true => (0..plane).flat_map(|i| (0..c).map(move |k| bytes[k * plane + i])).collect(),
        };
        Some(Self { shape, pixels })
    }
}

/// What an image is written as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Windows bitmap, without compression.
    Bmp,
    /// PNG.
    Png,
}

impl Kind {
    /// The ending of names.
    pub fn extension(self) -> &'static str {
        match self {
            Kind::Bmp => "bmp",
            Kind::Png => "png",
        }
    }
}

/// Whether a name is one of an image that is read.
pub(crate) fn is_image(name: &str) -> bool {
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    matches!(end.as_deref(), Some("bmp" | "png" | "jpg" | "jpeg"))
}

/// Reads an image.
///
/// # Errors
/// Why it cannot be read, as the end of a sentence about it.
pub fn decode(bytes: &[u8]) -> Result<Picture, String> {
    let fault = |e: &dyn std::fmt::Display| format!("cannot be read: {e}");
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE);
    limits.max_image_height = Some(SIDE);
    limits.max_alloc = Some((bytes.len() as u64).saturating_mul(MULTIPLE).saturating_add(BASE));
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| fault(&e))?;
    reader.limits(limits);
    let image = reader.decode().map_err(|e| fault(&e))?;
    let (height, width) = (image.height() as usize, image.width() as usize);
    let (channels, pixels) = match image {
        DynamicImage::ImageLuma8(i) => (1, i.into_raw()),
        DynamicImage::ImageRgb8(i) => (3, i.into_raw()),
        DynamicImage::ImageLumaA8(i) => (1, opaque::<2>(i.as_raw())?),
        DynamicImage::ImageRgba8(i) => (3, opaque::<4>(i.as_raw())?),
        other => return Err(format!("has pixels of {:?}; 8 bits per channel are read", other.color())),
    };
    Ok(Picture { shape: [height, width, channels], pixels })
}

/// Pixels without their last channel, which must say that all of them are opaque.
fn opaque<const N: usize>(raw: &[u8]) -> Result<Vec<u8>, String> {
    let (pixels, _) = raw.as_chunks::<N>();
    if pixels.iter().any(|p| p[N - 1] != u8::MAX) {
        return Err("has transparent pixels, which a model does not see; save it without".to_string());
    }
    Ok(pixels.iter().flat_map(|p| p[..N - 1].iter().copied()).collect())
}

/// Writes an image of one or three channels.
///
/// # Errors
/// When it has other channels, or no pixels.
pub fn encode(picture: &Picture, kind: Kind) -> Result<Vec<u8>, String> {
    let [height, width, channels] = picture.shape;
    let color = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        n => return Err(format!("an image has one channel or three, found {n}")),
    };
    let fits = |n: usize| u32::try_from(n).ok().filter(|n| (1..=SIDE).contains(n));
    let sides = fits(width).zip(fits(height)).filter(|_| picture.pixels.len() == height * width * channels);
    let (width, height) = sides.ok_or_else(|| format!("an image of {height}×{width} cannot be written"))?;
    let mut bytes = Vec::new();
    let done = match kind {
        Kind::Bmp => BmpEncoder::new(&mut bytes).encode(&picture.pixels, width, height, color),
        Kind::Png => PngEncoder::new(&mut bytes).write_image(&picture.pixels, width, height, color),
    };
    done.map_err(|e| e.to_string())?;
    Ok(bytes)
}
