//! The two calls of Occlum's `/dev/sgx` (Occlum, `src/libos/src/fs/dev_fs/dev_sgx`).
//! All of this crate's unsafe code is here.

#![allow(unsafe_code)]
#![allow(unreachable_pub, reason = "nix's macros make public functions, with arguments as public")]

use std::{fs::File, os::fd::AsRawFd};

/// Arguments of GEN_DCAP_QUOTE, as the C structure
/// `{ uint8_t *report_data; uint32_t *quote_len; uint8_t *quote_buf; }`.
#[repr(C)]
pub struct GenerateQuote {
    report_data: *const [u8; 64],
    quote_length: *mut u32,
    quote: *mut u8,
}

mod calls {
    // 0x80047307 and 0xc0187308; `nix` casts them to what the C library at hand
    // wants (musl: i32).
    nix::ioctl_read!(get_dcap_quote_size, b's', 7, u32);
    nix::ioctl_readwrite!(generate_dcap_quote, b's', 8, super::GenerateQuote);
}

/// How long a quote is, in bytes.
pub(super) fn quote_size(device: &File) -> nix::Result<u32> {
    let mut size = 0;
    // SAFETY: the descriptor is open for the call, and the call writes a u32 to
    // the pointer, which is to one.
    unsafe { calls::get_dcap_quote_size(device.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// A quote over `report_data`, of at most `size` bytes.
pub(super) fn quote(device: &File, report_data: &[u8; 64], size: u32) -> nix::Result<Vec<u8>> {
    let capacity = usize::try_from(size).map_err(|_| nix::Error::EOVERFLOW)?;
    let mut quote = vec![0; capacity];
    let mut length = size;
    let mut arguments =
        GenerateQuote { report_data, quote_length: &raw mut length, quote: quote.as_mut_ptr() };
    // SAFETY: the descriptor is open for the call. The call reads 64 bytes at
    // `report_data` and a u32 at `quote_length`, and writes at most that many
    // bytes at `quote`, which has as many; all three outlive the call, and
    // nothing else refers to what it writes.
    unsafe { calls::generate_dcap_quote(device.as_raw_fd(), &raw mut arguments) }?;
    // Some versions say how much of the buffer they used.
    quote.truncate(usize::try_from(length).map_or(capacity, |length| length.min(capacity)));
    Ok(quote)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_request_codes_are_occlums() {
        assert_eq!(nix::request_code_read!(b's', 7, size_of::<u32>()), 0x8004_7307);
        assert_eq!(nix::request_code_readwrite!(b's', 8, size_of::<super::GenerateQuote>()), 0xc018_7308);
    }
}
