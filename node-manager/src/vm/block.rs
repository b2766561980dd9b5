//! Block jobs, which the `virt` crate does not wrap. The only unsafe code of the agent.
#![allow(unsafe_code)]

use std::{ffi::CString, mem::MaybeUninit, ptr};

use virt::{domain::Domain, error::Error, sys};

fn c_string(text: &str) -> CString {
    // Paths and device names were checked for NUL long before; cutting there is harmless.
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}

/// Starts to pull into the active layer of `disk` everything above `base`, or everything when there is no base
/// (virDomainBlockRebase without flags).
pub(super) fn pull(domain: &Domain, disk: &str, base: Option<&str>) -> Result<(), Error> {
    let (disk, base) = (c_string(disk), base.map(c_string));
    let base = base.as_ref().map_or(ptr::null(), |base| base.as_ptr());
    // SAFETY: the domain pointer lives as long as `domain`; both strings outlive the call; libvirt copies them.
    let result = unsafe { sys::virDomainBlockRebase(domain.as_ptr(), disk.as_ptr(), base, 0, 0) };
    if result < 0 { Err(Error::last_error()) } else { Ok(()) }
}

/// How far the block job of `disk` is, as (done, total); nothing when there is none.
pub(super) fn job(domain: &Domain, disk: &str) -> Result<Option<(u64, u64)>, Error> {
    let disk = c_string(disk);
    let mut info = MaybeUninit::<sys::virDomainBlockJobInfo>::zeroed();
    // SAFETY: `info` is a plain C structure that is valid when zeroed, and libvirt fills it when it returns 1.
    let (result, info) = unsafe {
        let result = sys::virDomainGetBlockJobInfo(domain.as_ptr(), disk.as_ptr(), info.as_mut_ptr(), 0);
        (result, info.assume_init())
    };
    match result {
        0 => Ok(None),
        1 => Ok(Some((info.cur, info.end))),
        _ => Err(Error::last_error()),
    }
}

/// Ends the block job of `disk`; what was pulled stays pulled.
pub(super) fn abort(domain: &Domain, disk: &str) -> Result<(), Error> {
    let disk = c_string(disk);
    // SAFETY: as in `pull`.
    let result = unsafe { sys::virDomainBlockJobAbort(domain.as_ptr(), disk.as_ptr(), 0) };
    if result < 0 { Err(Error::last_error()) } else { Ok(()) }
}
