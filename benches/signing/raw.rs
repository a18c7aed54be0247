//! C_SignInit and C_Sign with a handle that is held, and nothing else: what a signature costs at the
//! least, and what an inline signer does.
#![expect(
    unsafe_code,
    reason = "the calls themselves are what is measured; the binding's own sign makes three"
)]

use std::ffi::c_void;
use std::path::Path;
use std::ptr;
use std::sync::Mutex;

use aws_lc_rs::digest;
use cryptoki_sys::*;
use hsm_mtls::internal::key::ecdsa_signature::ecdsa_der;

/// Sessions that are logged in already, because somebody of this process is.
pub struct RawKey {
    list: &'static CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    label: &'static [u8],
    rsa: bool,
    free: Mutex<Vec<(CK_SESSION_HANDLE, CK_OBJECT_HANDLE)>>,
}

fn good(rv: CK_RV, what: &str) {
    assert!(rv == CKR_OK, "{what}: 0x{rv:x}");
}

impl RawKey {
    /// The only private key with this label, of the module's first slot.
    pub fn find(module: &Path, label: &'static str, rsa: bool) -> Self {
        // SAFETY: the module that this process has loaded already; it is never unmapped.
        let library = Box::leak(Box::new(
            unsafe { Pkcs11::new(module) }.expect("the module"),
        ));
        let mut list: *mut CK_FUNCTION_LIST = ptr::null_mut();
        // SAFETY: the module fills in a pointer to its static list.
        let rv = unsafe { library.C_GetFunctionList(&raw mut list) };
        good(rv, "C_GetFunctionList");
        // SAFETY: just filled in, and static by the standard.
        let list = unsafe { list.as_ref() }.expect("a function list");
        let (mut slots, mut count) = ([0; 8], 8);
        let call = list.C_GetSlotList.expect("C_GetSlotList");
        // SAFETY: `count` says how much room there is.
        let rv = unsafe { call(CK_TRUE, slots.as_mut_ptr(), &raw mut count) };
        good(rv, "C_GetSlotList");
        Self {
            list,
            slot: slots[0],
            label: label.as_bytes(),
            rsa,
            free: Mutex::default(),
        }
    }

    /// A TLS signature of the message: RSA-PSS or ECDSA, with SHA-256.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let taken = self.free.lock().expect("no panic").pop();
        let (session, key) = taken.unwrap_or_else(|| self.open());
        let signature = self.sign_with(session, key, message);
        self.free.lock().expect("no panic").push((session, key));
        match self.rsa {
            true => signature,
            false => ecdsa_der(&signature, 32).expect("an ECDSA signature"),
        }
    }

    fn open(&self) -> (CK_SESSION_HANDLE, CK_OBJECT_HANDLE) {
        let mut session = 0;
        let call = self.list.C_OpenSession.expect("C_OpenSession");
        // SAFETY: no callback, and a handle to fill in.
        let rv = unsafe {
            call(
                self.slot,
                CKF_SERIAL_SESSION,
                ptr::null_mut(),
                None,
                &raw mut session,
            )
        };
        good(rv, "C_OpenSession");
        let class = CKO_PRIVATE_KEY;
        let mut template = [
            CK_ATTRIBUTE {
                type_: CKA_CLASS,
                pValue: (&raw const class).cast_mut().cast::<c_void>(),
                ulValueLen: size_of_val(&class) as CK_ULONG,
            },
            CK_ATTRIBUTE {
                type_: CKA_LABEL,
                pValue: self.label.as_ptr().cast_mut().cast::<c_void>(),
                ulValueLen: self.label.len() as CK_ULONG,
            },
        ];
        let (mut key, mut found) = (0, 0);
        let init = self.list.C_FindObjectsInit.expect("C_FindObjectsInit");
        let find = self.list.C_FindObjects.expect("C_FindObjects");
        let end = self.list.C_FindObjectsFinal.expect("C_FindObjectsFinal");
        // SAFETY: template and handles outlive the calls, and there is room for the one asked for.
        unsafe {
            good(init(session, template.as_mut_ptr(), 2), "C_FindObjectsInit");
            good(
                find(session, &raw mut key, 1, &raw mut found),
                "C_FindObjects",
            );
            good(end(session), "C_FindObjectsFinal");
        }
        assert_eq!(found, 1, "the key");
        (session, key)
    }

    fn sign_with(
        &self,
        session: CK_SESSION_HANDLE,
        key: CK_OBJECT_HANDLE,
        message: &[u8],
    ) -> Vec<u8> {
        let hash = digest::digest(&digest::SHA256, message);
        let mut parameters = CK_RSA_PKCS_PSS_PARAMS {
            hashAlg: CKM_SHA256,
            mgf: CKG_MGF1_SHA256,
            sLen: 32,
        };
        let mut mechanism = match self.rsa {
            true => CK_MECHANISM {
                mechanism: CKM_RSA_PKCS_PSS,
                pParameter: (&raw mut parameters).cast(),
                ulParameterLen: size_of_val(&parameters) as CK_ULONG,
            },
            false => CK_MECHANISM {
                mechanism: CKM_ECDSA,
                pParameter: ptr::null_mut(),
                ulParameterLen: 0,
            },
        };
        let mut signature = vec![0; 512];
        let mut length = 512;
        let init = self.list.C_SignInit.expect("C_SignInit");
        let sign = self.list.C_Sign.expect("C_Sign");
        // SAFETY: all buffers outlive the calls, and their lengths are given; C_Sign only reads pData.
        unsafe {
            good(init(session, &raw mut mechanism, key), "C_SignInit");
            let data = hash.as_ref();
            let rv = sign(
                session,
                data.as_ptr().cast_mut(),
                data.len() as CK_ULONG,
                signature.as_mut_ptr(),
                &raw mut length,
            );
            good(rv, "C_Sign");
        }
        signature.truncate(length as usize);
        signature
    }
}
