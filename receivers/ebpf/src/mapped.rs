//! Maps that the kernel and this process share.

#![expect(unsafe_code, reason = "mapping memory, and reading what the kernel may write")]

use std::{io, marker::PhantomData, os::fd::AsFd, ptr::NonNull};

use bytemuck::AnyBitPattern;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The elements of an array map with `BPF_F_MMAPABLE`, readable without a system call.
pub(crate) struct Mapped<T> {
    elements: NonNull<T>,
    len: usize,
    _element: PhantomData<T>,
}

// SAFETY: the mapping belongs to the process and not to a thread, and is only read.
unsafe impl<T: Send> Send for Mapped<T> {}

impl<T: AnyBitPattern> Mapped<T> {
    /// Maps the `len` elements of a map whose values are `T`.
    pub(crate) fn new(map: impl AsFd, len: usize) -> io::Result<Self> {
        // The kernel lays out elements one after another only if their size is a multiple of eight.
        // https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/arraymap.c#L99
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        // SAFETY: the kernel chooses the address, so that no other mapping is touched.
        let address = unsafe {
            mmap(std::ptr::null_mut(), len * size_of::<T>(), ProtFlags::READ, MapFlags::SHARED, map, 0)
        }?;
        let elements = NonNull::new(address.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { elements, len, _element: PhantomData })
    }

    /// Copies an element.
    ///
    /// # Panics
    ///
    /// If `idx` is out of bounds.
    pub(crate) fn get(&self, idx: usize) -> T {
        assert!(idx < self.len, "element {idx} of {}", self.len);
        // SAFETY: in bounds of the mapping, which lives as long as `self`.
        let element = unsafe { self.elements.add(idx) };
        // SAFETY: the address is valid and aligned, and every pattern of bytes is a `T`. Only programs that this
        // process runs write here, and it does not run them while it reads; were one to do so, the copy would be
        // mixed of two states, which the read being volatile keeps from meaning anything else.
        unsafe { element.read_volatile() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the range is what `new` mapped, and no reference into it exists: `get` copies.
        let unmapped = unsafe { munmap(self.elements.as_ptr().cast(), self.len * size_of::<T>()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}
