// SPDX-License-Identifier: GPL-2.0

//! Kernel symbols that are not exported to modules: which are wanted, what for, and where they are.
//!
//! A missing one turns its feature off and is said at load time; nothing depends on one without
//! asking [`Symbol::found`] first.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

extern "C" {
    fn oxbpf_lookup_init() -> usize;
    fn oxbpf_lookup(name: *const c_char) -> usize;
}

/// One wanted symbol.
pub(crate) struct Symbol {
    name: &'static CStr,
    /// What does not work without it.
    feature: &'static str,
    /// Function symbols: tells the C shim where the function is.
    bind: Option<unsafe extern "C" fn(usize)>,
    addr: Atomic<usize>,
}

impl Symbol {
    /// The address; `None` when the kernel has no such symbol, or before [`resolve`].
    pub(crate) fn address(&self) -> Option<usize> {
        match self.addr.load(Relaxed) {
            0 => None,
            addr => Some(addr),
        }
    }

    /// It is there, and the C shim calls it.
    pub(crate) fn found(&self) -> bool {
        self.address().is_some()
    }
}

macro_rules! symbols {
    ($($id:ident: $kind:ident $name:ident, $feature:literal;)*) => {
        $(symbols!(@one $id $kind $name $feature);)*

        /// Every wanted symbol.
        static SYMBOLS: &[&Symbol] = &[$(&$id),*];
    };
    (@one $id:ident function $name:ident $feature:literal) => {
        #[doc = concat!("`", stringify!($name), "()`: ", $feature)]
        pub(crate) static $id: Symbol = {
            extern "C" {
                #[link_name = concat!("oxbpf_bind_", stringify!($name))]
                fn bind(addr: usize);
            }
            Symbol {
                name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                },
                feature: $feature,
                bind: Some(bind),
                addr: Atomic::new(0),
            }
        };
    };
    (@one $id:ident variable $name:ident $feature:literal) => {
        #[doc = concat!("`", stringify!($name), "`: ", $feature)]
        pub(crate) static $id: Symbol = Symbol {
            name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => c"",
            },
            feature: $feature,
            bind: None,
            addr: Atomic::new(0),
        };
    };
}

symbols! {
    EXECMEM_ALLOC: function execmem_alloc, "compiling programs";
    EXECMEM_FREE: function execmem_free, "compiling programs";
    SET_MEMORY_ROX: function set_memory_rox, "compiling programs";
    TEXT_POKE_COPY: function text_poke_copy, "compiling programs";
    TEXT_POKE_SET: function text_poke_set, "compiling programs";
    TO_KERNEL_NOFAULT: function copy_to_kernel_nofault, "the test of read-only programs";
    SMP_TEXT_POKE: function smp_text_poke_single, "tail calls as direct jumps";
    TEXT_MUTEX: variable text_mutex, "tail calls as direct jumps";
    ITS_THUNK: function its_static_thunk, "compiled tail calls on CPUs that mix up jump targets";
    RETURN_THUNK: variable x86_return_thunk, "compiling programs where returns need a thunk";
    KSYM_ADD: function bpf_ksym_add, "names of programs in kallsyms";
    KSYM_DEL: function bpf_ksym_del, "names of programs in kallsyms";
    TRACE_PRINTK: variable bpf_trace_printk, "the name before what programs print";
    GET_RAW_TRACEPOINT: function bpf_get_raw_tracepoint, "programs at raw tracepoints";
    PUT_RAW_TRACEPOINT: function bpf_put_raw_tracepoint, "programs at raw tracepoints";
    PERF_EVENT_GET: function perf_event_get, "programs at perf events";
    PERF_EVENT_SET: function perf_event_set_bpf_prog, "programs at perf events";
    PERF_EVENT_FREE: function perf_event_free_bpf_prog, "programs at perf events";
    PERF_EVENT_INFO: function bpf_get_perf_event_info, "programs at perf events";
    CURRENT_KPROBE: function current_kprobe, "helper get_func_ip at kprobes";
    NS_MATCH: function ns_match, "helper get_ns_current_pid_tgid";
    PERF_OUTPUT: function perf_event_output, "arrays of perf events";
    PERF_READ: function perf_event_read_local, "arrays of perf events, helper perf_prog_read_value";
    CALLCHAIN: function get_perf_callchain, "call chains for programs";
    CALLCHAIN_TAKE: function get_callchain_buffers, "call chains for programs";
    CALLCHAIN_GIVE: function put_callchain_buffers, "call chains for programs";
    CALLCHAIN_MAX: variable sysctl_perf_event_max_stack, "call chains for programs";
    SOCK_COOKIE: function __sock_gen_cookie, "helper get_socket_cookie";
    FIB_SELECT_PATH: function fib_select_path, "helper fib_lookup, IPv4";
    FIB_MTU: function ip_mtu_from_fib_result, "helper fib_lookup, IPv4";
    FIB_PREFSRC: function fib_result_prefsrc, "helper fib_lookup, IPv4";
    FIB6_LOOKUP: function fib6_lookup, "helper fib_lookup, IPv6";
    FIB6_GET_TABLE: function fib6_get_table, "helper fib_lookup, IPv6";
    FIB6_TABLE_LOOKUP: function fib6_table_lookup, "helper fib_lookup, IPv6";
    FIB6_SELECT_PATH: function fib6_select_path, "helper fib_lookup, IPv6";
    FIB6_MTU: function ip6_mtu_from_fib6, "helper fib_lookup, IPv6";
    SHOW_VALUE: function kallsyms_show_value, "showing kernel addresses and machine code";
    UNPRIVILEGED: variable sysctl_unprivileged_bpf_disabled, "programs and maps without CAP_BPF";
}

/// Looks all wanted symbols up, and says what is missing.
///
/// Called once, before anything uses the module.
pub(crate) fn resolve() {
    // SAFETY: no requirements; module initialisation may sleep.
    if unsafe { oxbpf_lookup_init() } == 0 {
        pr_warn!("no kprobe on kallsyms_lookup_name: every unexported symbol is out of reach\n");
    }
    for symbol in SYMBOLS {
        // SAFETY: the name is NUL-terminated; without kallsyms the shim answers 0.
        let addr = unsafe { oxbpf_lookup(symbol.name.as_char_ptr()) };
        if addr == 0 {
            let name = symbol.name.to_str().unwrap_or("?");
            pr_warn!("no {}: {} is off\n", name, symbol.feature);
            continue;
        }
        if let Some(bind) = symbol.bind {
            // SAFETY: `addr` is the entry of the function of that name, which the shim declared
            // from the kernel's own header.
            unsafe { bind(addr) };
        }
        symbol.addr.store(addr, Relaxed);
    }
}
