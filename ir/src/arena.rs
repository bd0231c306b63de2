//! Typed handles into growing vectors.
//!
//! A handle is a `u32` of its own type, so a node handle can't index the values. Entries are never removed:
//! a stale handle still reads what it was made for. [`Graph::compact`](crate::Graph::compact) makes a fresh
//! graph when the dead entries are to go.

use std::fmt;
use std::marker::PhantomData;

/// What a typed handle offers to its [`Arena`].
pub trait Handle: Copy + Eq {
    /// The handle of entry `index`.
    fn from_index(index: usize) -> Self;
    /// The entry that this handle names.
    fn index(self) -> usize;
}

/// Declares a handle type over `u32`.
macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u32);
        impl $crate::arena::Handle for $name {
            fn from_index(index: usize) -> Self {
                // An arena of 2^32 entries would need more memory than any machine that runs this.
                Self(u32::try_from(index).unwrap_or(u32::MAX))
            }
            fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}
pub(crate) use handle;

/// A vector that is indexed by one handle type only.
#[derive(Clone, PartialEq)]
pub struct Arena<H, T> {
    items: Vec<T>,
    handle: PhantomData<H>,
}

impl<H: Handle, T> Arena<H, T> {
    /// An arena with no entries.
    pub fn new() -> Self {
        Self { items: Vec::new(), handle: PhantomData }
    }
    /// Appends `item` and returns its handle.
    pub fn push(&mut self, item: T) -> H {
        self.items.push(item);
        H::from_index(self.items.len() - 1)
    }
    /// How many entries there are, dead ones included.
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The entry, or nothing when the handle belongs to a larger graph.
    pub fn get(&self, handle: H) -> Option<&T> {
        self.items.get(handle.index())
    }
    /// All entries with their handles, in the order of their making.
    pub fn iter(&self) -> impl Iterator<Item = (H, &T)> {
        self.items.iter().enumerate().map(|(i, t)| (H::from_index(i), t))
    }
}

impl<H: Handle, T> Default for Arena<H, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Handle, T> std::ops::Index<H> for Arena<H, T> {
    type Output = T;
    fn index(&self, handle: H) -> &T {
        &self.items[handle.index()]
    }
}

impl<H: Handle, T> std::ops::IndexMut<H> for Arena<H, T> {
    fn index_mut(&mut self, handle: H) -> &mut T {
        &mut self.items[handle.index()]
    }
}

impl<H, T: fmt::Debug> fmt::Debug for Arena<H, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items.fmt(f)
    }
}
