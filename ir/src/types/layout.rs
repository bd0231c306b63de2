//! Which axis of a tensor is which.

use std::fmt;

/// The name of each axis, outermost first, one letter each: `hwc`, `chw`, `dhwc`, `wc`, `c`, `oi`, `ohwi`.
///
/// `c` channels, `d` `h` `w` space (depth, height, width), `o` `i` output and input channels of a weight,
/// `_` an axis with no meaning to a layer. Channels-first and channels-last are therefore data, not a flag.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    axes: [u8; super::Shape::MAX_RANK],
    rank: u8,
}

impl Layout {
    /// The layout spelled by `axes`; nothing when it is too long, or has a letter outside `a..=z` and `_`,
    /// or names one axis twice.
    pub fn new(axes: &str) -> Option<Self> {
        let bytes = axes.as_bytes();
        if bytes.len() > super::Shape::MAX_RANK {
            return None;
        }
        for (i, &b) in bytes.iter().enumerate() {
            let fresh = b == b'_' || (b.is_ascii_lowercase() && !bytes[..i].contains(&b));
            if !fresh {
                return None;
            }
        }
        let mut layout = Layout { axes: [0; super::Shape::MAX_RANK], rank: bytes.len() as u8 };
        layout.axes[..bytes.len()].copy_from_slice(bytes);
        Some(layout)
    }
    /// A layout of `rank` unnamed axes; ranks beyond the limit are cut (the verifier refuses the shape).
    pub fn anonymous(rank: usize) -> Self {
        let rank = rank.min(super::Shape::MAX_RANK);
        let mut layout = Layout { axes: [0; super::Shape::MAX_RANK], rank: rank as u8 };
        layout.axes[..rank].fill(b'_');
        layout
    }
    /// Channels-last with `spatial` axes (0 to 3): `c`, `wc`, `hwc`, `dhwc`; unnamed beyond.
    pub fn channels_last(spatial: usize) -> Self {
        match spatial {
            0 => Self::known("c"),
            1 => Self::known("wc"),
            2 => Self::known("hwc"),
            3 => Self::known("dhwc"),
            n => Self::anonymous(n + 1),
        }
    }
    /// Channels-first with `spatial` axes (0 to 3): `c`, `cw`, `chw`, `cdhw`; unnamed beyond.
    pub fn channels_first(spatial: usize) -> Self {
        match spatial {
            0 => Self::known("c"),
            1 => Self::known("cw"),
            2 => Self::known("chw"),
            3 => Self::known("cdhw"),
            n => Self::anonymous(n + 1),
        }
    }
    /// The layout of a convolution's weight, `[out, space…, in]`: `oi`, `owi`, `ohwi`, `odhwi`.
    pub fn weight(spatial: usize) -> Self {
        match spatial {
            0 => Self::known("oi"),
            1 => Self::known("owi"),
            2 => Self::known("ohwi"),
            3 => Self::known("odhwi"),
            n => Self::anonymous(n + 2),
        }
    }
    fn known(axes: &str) -> Self {
        Self::new(axes).unwrap_or(Self::anonymous(axes.len()))
    }
    /// The number of axes.
    pub fn rank(&self) -> usize {
        usize::from(self.rank)
    }
    /// The axes as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.axes[..self.rank()]).unwrap_or("")
    }
    /// The position of the axis of that name.
    pub fn axis(&self, name: char) -> Option<usize> {
        self.as_str().chars().position(|c| c == name)
    }
    /// The position of the channel axis `c`.
    pub fn channel(&self) -> Option<usize> {
        self.axis('c')
    }
    /// Positions of all axes but the channels, in order; nothing without a channel axis.
    pub fn spatial(&self) -> Option<Vec<usize>> {
        let c = self.channel()?;
        Some((0..self.rank()).filter(|&i| i != c).collect())
    }
    /// Whether the channel axis exists and is the last.
    pub fn is_channels_last(&self) -> bool {
        self.channel().is_some_and(|c| c + 1 == self.rank())
    }
    /// The layout after axis `i` takes the name of axis `perm[i]`, as a transposition does.
    /// Axes outside the rank are unnamed.
    pub fn permuted(&self, perm: &[usize]) -> Self {
        let mut out = Self::anonymous(perm.len());
        for (to, &from) in out.axes.iter_mut().zip(perm) {
            *to = if from < self.rank() { self.axes[from] } else { b'_' };
        }
        out
    }
    /// The permutation that carries `self` to `other`, when both have the same distinct named axes.
    pub fn permutation_to(&self, other: &Layout) -> Option<Vec<usize>> {
        if self.rank() != other.rank() {
            return None;
        }
        other.as_str().chars().map(|c| if c == '_' { None } else { self.axis(c) }).collect()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl fmt::Debug for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Layout({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_found_and_permuted() {
        let chw = Layout::channels_first(2);
        let hwc = Layout::channels_last(2);
        assert_eq!(chw.permutation_to(&hwc), Some(vec![1, 2, 0]));
        assert_eq!(chw.permuted(&[1, 2, 0]), hwc);
        assert_eq!(chw.spatial(), Some(vec![1, 2]));
        assert!(hwc.is_channels_last() && !chw.is_channels_last());
        assert_eq!(Layout::anonymous(2).permutation_to(&Layout::anonymous(2)), None);
    }

    #[test]
    fn bad_names_are_refused() {
        assert!(Layout::new("hhc").is_none());
        assert!(Layout::new("HWC").is_none());
        assert!(Layout::new("abcdefghi").is_none());
        assert!(Layout::new("__c").is_some());
    }
}
