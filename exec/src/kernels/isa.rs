//! Which instruction set the kernels run on, chosen once at run time.
//!
//! [`Isa`] is a token: the only ways to get one check the processor first, so a kernel that holds an `Isa` may run the
//! instructions that it names without looking again.

use std::fmt;

/// The instruction sets for which kernels exist. Private: holding a `Level` proves nothing, holding an [`Isa`] does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// AVX-512 with what integer kernels want of it: BW, VL and VNNI.
    #[cfg(target_arch = "x86_64")]
    Vnni,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// An instruction set that this machine has.
///
/// Results of `avx512vnni`, `avx512` and `avx2` are equal to the bit in convolutions and dense layers (both sum in the same order
/// with fused multiply-adds); `portable` rounds the product and the sum separately.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa(Level);

impl Isa {
    /// The fastest instruction set of this machine.
    pub fn detect() -> Isa {
        let mut best = Isa::portable();
        if let Some(&first) = Isa::available().first() {
            best = first;
        }
        best
    }

    /// Every instruction set of this machine, the fastest first. `portable` is always there, last.
    pub fn available() -> Vec<Isa> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            // What `dispatch!` and the tile kernels enable, all of it: a hypervisor may hide any of these.
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = avx2 && is_x86_feature_detected!("avx512f");
            let bytes = is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl");
            if avx512 && bytes && is_x86_feature_detected!("avx512vnni") {
                all.push(Isa(Level::Vnni));
            }
            if avx512 {
                all.push(Isa(Level::Avx512));
            }
            if avx2 {
                all.push(Isa(Level::Avx2));
            }
        }
        all.push(Isa(Level::Portable));
        all
    }

    /// Plain Rust, on any machine.
    pub fn portable() -> Isa {
        Isa(Level::Portable)
    }

    /// Whether multiply-adds of its kernels round once, as `f32::mul_add` does.
    pub fn fuses(self) -> bool {
        self.0 != Level::Portable || cfg!(any(target_arch = "aarch64", target_feature = "fma"))
    }

    /// `avx512vnni`, `avx512`, `avx2` or `portable`.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Vnni => "avx512vnni",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            Level::Portable => "portable",
        }
    }

    /// Number of f32 in one vector.
    pub fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Vnni | Level::Avx512 => 16,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => 8,
            Level::Portable => 4,
        }
    }

    /// Whether its kernels may use AVX2, as those of AVX-512 may, too.
    pub(crate) fn has_avx2(self) -> bool {
        self.0 != Level::Portable
    }

    /// Whether its kernels may use AVX-512 BW, VL and VNNI.
    pub(crate) fn has_vnni(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return self.0 == Level::Vnni;
        #[cfg(not(target_arch = "x86_64"))]
        false
    }

    pub(crate) fn level(self) -> Level {
        self.0
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Instantiates a generic vector function once per instruction set and calls the one that the [`Isa`] names.
///
/// `unsafe { dispatch!(isa, |arg: Type, ...| -> Ret, body, values...) }` calls `body::<V>`, `V` being the vector type of the
/// instruction set, inside a function that enables the matching target features. The caller answers for the rest of
/// `body`'s contract.
macro_rules! dispatch {
    ($isa:expr, |$($arg:ident : $ty:ty),*| $(-> $ret:ty)? , $body:ident, $($value:expr),*) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx2,fma")]
        unsafe fn avx512($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the caller upholds the contract of the body; the features are on in this function.
            unsafe { $body::<std::arch::x86_64::__m512>($($arg),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the caller upholds the contract of the body; the features are on in this function.
            unsafe { $body::<std::arch::x86_64::__m256>($($arg),*) }
        }
        unsafe fn portable($($arg: $ty),*) $(-> $ret)? {
            // SAFETY: the caller upholds the contract of the body; plain Rust needs no feature.
            unsafe { $body::<crate::kernels::simd::F32x4>($($arg),*) }
        }
        // An `Isa` of a level exists only where the processor has its features, so calling is as safe as `body` is.
        match $isa.level() {
            #[cfg(target_arch = "x86_64")]
            crate::kernels::isa::Level::Vnni | crate::kernels::isa::Level::Avx512 => avx512($($value),*),
            #[cfg(target_arch = "x86_64")]
            crate::kernels::isa::Level::Avx2 => avx2($($value),*),
            crate::kernels::isa::Level::Portable => portable($($value),*),
        }
    }};
}
pub(crate) use dispatch;
