//! Names of errno values. Owns: the table. Linux's generic numbering (x86_64, aarch64): `include/uapi/asm-generic/errno*.h`.

/// The name of a positive errno; `ERRNO-<n>` for one that isn't known. 512 ... 516 (ERESTARTSYS and its kin, never seen
/// by an application as such) are EINTR: a signal interrupted the call.
#[must_use]
pub fn name(errno: i32) -> String {
    match TABLE.iter().find(|(n, _)| *n == errno) {
        Some((_, name)) => (*name).to_owned(),
        None if (512..=516).contains(&errno) => "EINTR".to_owned(),
        None => format!("ERRNO-{errno}"),
    }
}

/// The name of a getaddrinfo result (`netdb.h`; glibc and musl use the same negative numbers for these).
#[must_use]
pub fn eai(result: i32) -> String {
    match result {
        -1 => "EAI_BADFLAGS".into(),
        -2 => "EAI_NONAME".into(),
        -3 => "EAI_AGAIN".into(),
        -4 => "EAI_FAIL".into(),
        -5 => "EAI_NODATA".into(),
        -6 => "EAI_FAMILY".into(),
        -7 => "EAI_SOCKTYPE".into(),
        -8 => "EAI_SERVICE".into(),
        -9 => "EAI_ADDRFAMILY".into(),
        -10 => "EAI_MEMORY".into(),
        -11 => "EAI_SYSTEM".into(),
        -12 => "EAI_OVERFLOW".into(),
        // glibc's own.
        -104 => "EAI_INTR".into(),
        -105 => "EAI_IDN_ENCODE".into(),
        n => format!("EAI-{n}"),
    }
}

macro_rules! errnos {
    ($($name:ident = $n:literal),* $(,)?) => {
        $(#[doc = concat!("errno ", stringify!($n))] pub const $name: i32 = $n;)*
        const TABLE: &[(i32, &str)] = &[$(($n, stringify!($name))),*];
    };
}
errnos! {
    EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, EBADF = 9, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14, EBUSY = 16,
    EINVAL = 22, ENFILE = 23, EMFILE = 24, EPIPE = 32, EPROTO = 71, ENOTSOCK = 88, EDESTADDRREQ = 89, EMSGSIZE = 90,
    EPROTOTYPE = 91, ENOPROTOOPT = 92, EPROTONOSUPPORT = 93, ESOCKTNOSUPPORT = 94, EOPNOTSUPP = 95, EPFNOSUPPORT = 96,
    EAFNOSUPPORT = 97, EADDRINUSE = 98, EADDRNOTAVAIL = 99, ENETDOWN = 100, ENETUNREACH = 101, ENETRESET = 102,
    ECONNABORTED = 103, ECONNRESET = 104, ENOBUFS = 105, EISCONN = 106, ENOTCONN = 107, ESHUTDOWN = 108,
    ENOKEY = 126, ETIMEDOUT = 110, ECONNREFUSED = 111, EHOSTDOWN = 112, EHOSTUNREACH = 113, EALREADY = 114, EINPROGRESS = 115,
    ENODEV = 19, ENXIO = 6, ENONET = 64, ETIME = 62, ECANCELED = 125,
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_io_uring_says_when_its_timer_runs_out_has_a_name() {
        assert_eq!([super::name(62), super::name(125)], ["ETIME", "ECANCELED"]);
    }
}
