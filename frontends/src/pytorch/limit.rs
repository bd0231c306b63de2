//! What reading a checkpoint may allocate: a multiple of the file's size.
//!
//! A few bytes of a pickle can show one storage as a thousand tensors, or one number as a million (a stride of 0), and
//! a compressed member can grow a thousandfold. Real files do little of that.

/// Bytes that may be made of a file beyond the multiple.
const BASE: u64 = 16 << 20;
/// Bytes that may be made of one byte of a file.
const MULTIPLE: u64 = 64;

/// What is left of the bytes that a file may turn into.
#[derive(Clone)]
pub(crate) struct Limit {
    all: u64,
    left: u64,
}

impl Limit {
    /// The limit of a file of `size` bytes.
    pub(crate) fn of_file(size: u64) -> Self {
        let all = size.saturating_mul(MULTIPLE).saturating_add(BASE);
        Self { all, left: all }
    }
    /// Takes the bytes of `count` elements.
    pub(crate) fn take(&mut self, count: usize, bytes: usize) -> Result<(), String> {
        let wanted = (count as u64).saturating_mul(bytes as u64);
        self.left = self.left.checked_sub(wanted).ok_or_else(|| {
            let total = (self.all - self.left).saturating_add(wanted);
            format!(
                "would let all that is read grow to {total} bytes or more; {} are allowed, {MULTIPLE} times the file and \
                 16 MiB",
                self.all
            )
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_counts_everything_that_was_read() {
        let mut limit = Limit::of_file(1);
        let all = BASE + MULTIPLE;
        limit.take(1 << 20, 8).expect("half of it");
        let error = limit.take(3 << 20, 4).expect_err("more than the rest");
        assert!(error.contains(&format!("grow to {} bytes", 20u64 << 20)), "{error}");
        assert!(error.contains(&format!("{all} are allowed")), "{error}");
        limit.take(1 << 20, 8).expect("nothing was taken by the failure");
    }
}
