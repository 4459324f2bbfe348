//! The system's own way from a name to addresses and back. Owns: the calls of getaddrinfo(3) and getnameinfo(3), which is the
//! only way to ask what nsswitch's modules say. Must not know: what is done with the answer.

use super::zone::{self, Scoped};
use hickory_proto::rr::Name;
use serde::Serialize;
use std::{
    borrow::Cow,
    ffi::{CStr, CString},
    io,
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr,
};

/// What an EAI code says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{name} ({text})")]
pub struct Eai {
    /// `EAI_NONAME`, `EAI_AGAIN`, ...
    pub name: &'static str,
    /// gai_strerror(3), with errno's text for EAI_SYSTEM.
    pub text: String,
}

impl Eai {
    fn new(code: i32) -> Eai {
        // The C library may change errno in gai_strerror, so it is read first.
        let errno = io::Error::last_os_error();
        let name = match code {
            libc::EAI_NONAME => "EAI_NONAME",
            libc::EAI_AGAIN => "EAI_AGAIN",
            libc::EAI_FAIL => "EAI_FAIL",
            libc::EAI_NODATA => "EAI_NODATA",
            libc::EAI_FAMILY => "EAI_FAMILY",
            libc::EAI_SOCKTYPE => "EAI_SOCKTYPE",
            libc::EAI_SERVICE => "EAI_SERVICE",
            libc::EAI_MEMORY => "EAI_MEMORY",
            libc::EAI_SYSTEM => "EAI_SYSTEM",
            libc::EAI_OVERFLOW => "EAI_OVERFLOW",
            libc::EAI_BADFLAGS => "EAI_BADFLAGS",
            _ => "EAI_?",
        };
        if code == libc::EAI_SYSTEM {
            return Eai { name, text: errno.to_string() };
        }
        // SAFETY: gai_strerror returns a static, NUL-terminated string for every integer.
        let text = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
        Eai { name, text: text.to_string_lossy().into_owned() }
    }
}

/// A name as programs ask for it: international ones in A-labels (RFC 5890), for the C library takes the bytes as they are.
#[must_use]
pub fn a_labels(name: &str) -> Cow<'_, str> {
    match Name::from_utf8(name) {
        Ok(known) if !name.is_ascii() => known.to_ascii().into(),
        Ok(_) | Err(_) => name.into(),
    }
}

/// The addresses of a name, in the order an application gets them, each once; a link-local one with the link it came from.
///
/// # Errors
/// The EAI code getaddrinfo returned.
pub fn addresses(name: &str) -> Result<Vec<Scoped>, Eai> {
    let Ok(name) = CString::new(a_labels(name).as_bytes()) else { return Err(Eai::new(libc::EAI_NONAME)) };
    // SAFETY: addrinfo is a C struct for which all zero bytes are valid (null pointers, AF_UNSPEC).
    let mut hints: libc::addrinfo = unsafe { MaybeUninit::zeroed().assume_init() };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list: *mut libc::addrinfo = ptr::null_mut();
    // SAFETY: `name` is NUL-terminated, `hints` is initialised, `list` is written only on success.
    let code = unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &raw const hints, &raw mut list) };
    if code != 0 {
        return Err(Eai::new(code));
    }
    let mut found = Vec::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: getaddrinfo returned this list; its nodes stay valid until freeaddrinfo below.
        let node = unsafe { &*next };
        let address = match node.ai_family {
            // SAFETY: for AF_INET, ai_addr points at ai_addrlen bytes of a sockaddr_in.
            libc::AF_INET => unsafe { Some(read_v4(node.ai_addr.cast())) },
            // SAFETY: for AF_INET6, ai_addr points at ai_addrlen bytes of a sockaddr_in6.
            libc::AF_INET6 => unsafe { Some(read_v6(node.ai_addr.cast())) },
            _ => None,
        };
        if let Some(address) = address
            && !found.contains(&address)
        {
            found.push(address);
        }
        next = node.ai_next;
    }
    // SAFETY: `list` came from getaddrinfo and is freed once; nothing refers to it any more.
    unsafe { libc::freeaddrinfo(list) };
    Ok(found)
}

/// # Safety
/// `address` must point at a readable sockaddr_in.
unsafe fn read_v4(address: *const libc::sockaddr_in) -> Scoped {
    // SAFETY: by this function's contract.
    let raw = unsafe { ptr::read_unaligned(address) };
    Scoped { address: Ipv4Addr::from(u32::from_be(raw.sin_addr.s_addr)).into(), link: 0 }
}

/// # Safety
/// `address` must point at a readable sockaddr_in6.
unsafe fn read_v6(address: *const libc::sockaddr_in6) -> Scoped {
    // SAFETY: by this function's contract.
    let raw = unsafe { ptr::read_unaligned(address) };
    let address = Ipv6Addr::from(raw.sin6_addr.s6_addr).to_canonical();
    Scoped { address, link: if zone::is_needed(address) { raw.sin6_scope_id } else { 0 } }
}

/// The name of an address.
///
/// # Errors
/// The EAI code getnameinfo returned; `EAI_NONAME` when the address has no name.
pub fn name(address: IpAddr) -> Result<String, Eai> {
    // SAFETY: sockaddr_storage is valid as all zero bytes, and large and aligned enough for every sockaddr.
    let mut storage: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    let length = match address {
        IpAddr::V4(v4) => {
            let raw = (&raw mut storage).cast::<libc::sockaddr_in>();
            // SAFETY: `storage` is large and aligned enough for a sockaddr_in.
            unsafe {
                (*raw).sin_family = libc::AF_INET as libc::sa_family_t;
                (*raw).sin_addr.s_addr = u32::from(v4).to_be();
            }
            size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(v6) => {
            let raw = (&raw mut storage).cast::<libc::sockaddr_in6>();
            // SAFETY: `storage` is large and aligned enough for a sockaddr_in6.
            unsafe {
                (*raw).sin6_family = libc::AF_INET6 as libc::sa_family_t;
                (*raw).sin6_addr.s6_addr = v6.octets();
            }
            size_of::<libc::sockaddr_in6>()
        }
    };
    let mut host = [0_u8; 1025]; // NI_MAXHOST
    // SAFETY: `storage` holds `length` initialised bytes; `host` is writable for its length; no service is asked for.
    let code = unsafe {
        libc::getnameinfo(
            (&raw const storage).cast(),
            length as libc::socklen_t,
            host.as_mut_ptr().cast(),
            host.len() as libc::socklen_t,
            ptr::null_mut(),
            0,
            libc::NI_NAMEREQD,
        )
    };
    if code != 0 {
        return Err(Eai::new(code));
    }
    CStr::from_bytes_until_nul(&host)
        .map(|host| host.to_string_lossy().into_owned())
        .map_err(|_| Eai::new(libc::EAI_OVERFLOW))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_no_resolver() {
        let found = |text: &str| addresses(text).unwrap().into_iter().map(|s| (s.address.to_string(), s.link));
        assert_eq!(found("127.0.0.1").collect::<Vec<_>>(), [("127.0.0.1".to_owned(), 0)]);
        assert_eq!(found("::1").collect::<Vec<_>>(), [("::1".to_owned(), 0)]);
    }

    #[test]
    fn a_link_local_address_keeps_its_link() {
        // Loopback has the index 1 in every namespace.
        assert_eq!(addresses("fe80::7%lo").unwrap(), [Scoped { address: "fe80::7".parse().unwrap(), link: 1 }]);
    }

    #[test]
    fn an_international_name_is_asked_for_in_a_labels() {
        assert_eq!(a_labels("bücher.test"), "xn--bcher-kva.test");
        assert_eq!(a_labels("bücher.test."), "xn--bcher-kva.test.");
        assert_eq!(a_labels("_a.Db.test"), "_a.Db.test");
        assert_eq!(a_labels("b\u{fc}..x"), "b\u{fc}..x", "no name is left as it is");
    }

    #[test]
    fn a_name_with_a_nul_is_no_name() {
        assert_eq!(addresses("a\0b").unwrap_err().name, "EAI_NONAME");
    }
}
