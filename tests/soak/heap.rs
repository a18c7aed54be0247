//! What the allocator has given out and not got back: the memory that a leak is made of. Resident
//! memory is more, and grows by the holes that a burst of threads and connections leaves.
#![expect(unsafe_code, reason = "glibc tells it to C only")]

/// `struct mallinfo2` of malloc.h (glibc 2.33 and later).
#[repr(C)]
struct MallocInformation {
    arena: usize,
    ordblks: usize,
    smblks: usize,
    hblks: usize,
    hblkhd: usize,
    usmblks: usize,
    fsmblks: usize,
    uordblks: usize,
    fordblks: usize,
    keepcost: usize,
}

unsafe extern "C" {
    fn mallinfo2() -> MallocInformation;
}

/// KiB in use, of all heaps and of what is mapped by itself.
pub fn in_use() -> u64 {
    // SAFETY: it takes nothing, locks what it reads, and returns a struct of ten size_t.
    let information = unsafe { mallinfo2() };
    ((information.uordblks + information.hblkhd) >> 10) as u64
}

#[test]
fn what_is_held_is_counted() {
    let before = in_use();
    let held = vec![1_u8; 64 << 20];
    let with = in_use();
    drop(held);
    assert!(with >= before + (63 << 10), "{before} KiB, then {with}");
    assert!(in_use() < with - (60 << 10), "it was given back");
}
