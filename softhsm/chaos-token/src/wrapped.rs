//! Loads the wrapped module.

use std::env;
use std::sync::OnceLock;

use cryptoki_sys::*;

/// The variable with the path of the wrapped module.
const MODULE: &str = "CHAOS_TOKEN_MODULE";

struct Wrapped {
    list: CK_FUNCTION_LIST,
    // Keeps the module mapped.
    _library: Pkcs11,
}

/// The function list of the wrapped module, which is loaded at the first call; `None` if it cannot be loaded.
pub(crate) fn wrapped() -> Option<&'static CK_FUNCTION_LIST> {
    static WRAPPED: OnceLock<Option<Wrapped>> = OnceLock::new();
    WRAPPED
        .get_or_init(load)
        .as_ref()
        .map(|wrapped| &wrapped.list)
}

fn load() -> Option<Wrapped> {
    let Some(path) = env::var_os(MODULE) else {
        eprintln!("chaos-token: {MODULE} is not set: it names the module that is wrapped");
        return None;
    };
    // SAFETY: the tester named this module to be loaded.
    let library = match unsafe { Pkcs11::new(&path) } {
        Ok(library) => library,
        Err(error) => {
            eprintln!(
                "chaos-token: {} of {MODULE} does not load: {error}",
                path.display()
            );
            return None;
        }
    };
    let mut list: *mut CK_FUNCTION_LIST = std::ptr::null_mut();
    // SAFETY: the module fills in a pointer to its static list.
    let rv = unsafe { library.C_GetFunctionList(&raw mut list) };
    // SAFETY: checked for null; static by the standard.
    let list = unsafe { list.as_ref() }.filter(|_| rv == CKR_OK)?;
    Some(Wrapped {
        list: *list,
        _library: library,
    })
}
