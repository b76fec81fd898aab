//! A length inside a payload is a claim, not an order: decoding must not allocate for it. Alone in its program, because
//! it watches the whole process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use sotto_proto::{
    frame::{ClientFrame, FrameDecoder, FrameError, ServerFrame},
    limits::MAX_FRAME,
};

/// A line of the process's status, KiB. `VmSize` is its address space, `VmPeak` the most it ever was: memory that was
/// asked for counts, used or not.
fn status_kib(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_huge_length_allocates_nothing() {
    const ALLOWED_KIB: usize = 16 * 1024;
    // A new thread's arena maps more than it keeps; the ballast fills that up, so that the peak moves from here on.
    let ballast = vec![0u8; (status_kib("VmPeak:") - status_kib("VmSize:")) * 1024];
    let before = status_kib("VmPeak:");
    // At every place of a short payload, for every kind: a length of 2^28 to 2^63 bytes or items, which most machines
    // would grant as address space.
    for shift in 28..64 {
        let length = (1u64 << shift).to_be_bytes();
        for zeros in 0..80 {
            let payload = [&vec![0; zeros][..], &length, &[0; 64]].concat();
            for kind in ClientFrame::KINDS {
                let _: Result<_, _> = ClientFrame::decode(*kind, &payload);
            }
            for kind in ServerFrame::KINDS {
                let _: Result<_, _> = ServerFrame::decode(*kind, &payload);
            }
        }
    }
    for length in [u32::try_from(MAX_FRAME).unwrap() + 1, u32::MAX] {
        let mut decoder = FrameDecoder::new(MAX_FRAME);
        decoder.push(&length.to_be_bytes());
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLong { .. })));
    }
    // A frame that is allowed but never comes: the buffer holds what came, not what was announced.
    let waiting: Vec<FrameDecoder> = (0..256)
        .map(|_| {
            let mut decoder = FrameDecoder::new(MAX_FRAME);
            decoder.push(&u32::try_from(MAX_FRAME).unwrap().to_be_bytes());
            assert_eq!(decoder.next_frame(), Ok(None));
            decoder
        })
        .collect();
    let grown = status_kib("VmPeak:") - before;
    assert!(grown < ALLOWED_KIB, "decoding took {grown} KiB for {} announced frames", waiting.len());

    let proof = vec![0u8; 64 * 1024 * 1024];
    assert!(
        status_kib("VmPeak:") - before >= ALLOWED_KIB,
        "the measure does not see {} bytes",
        proof.len() + ballast.len()
    );
}
