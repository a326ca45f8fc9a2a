// SPDX-License-Identifier: GPL-2.0

//! Numbers of the user-space ABI that pure code needs (`<linux/bpf.h>`).

/// Program types that can be loaded (`enum bpf_prog_type`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgType {
    /// Socket filter; context `__sk_buff`.
    SocketFilter = 1,
    /// Kernel probe; context `struct pt_regs`.
    Kprobe = 2,
    /// tc classifier; context `__sk_buff`.
    SchedCls = 3,
    /// tc action; context `__sk_buff`.
    SchedAct = 4,
    /// Tracepoint; context the raw event record.
    Tracepoint = 5,
    /// Express data path; context `xdp_md`.
    Xdp = 6,
    /// Perf event; context `bpf_perf_event_data`.
    PerfEvent = 7,
    /// Cgroup packet filter; context `__sk_buff`.
    CgroupSkb = 8,
    /// Raw tracepoint; context an array of u64.
    RawTracepoint = 17,
}

impl ProgType {
    const ALL: [Self; 9] = [
        Self::SocketFilter,
        Self::Kprobe,
        Self::SchedCls,
        Self::SchedAct,
        Self::Tracepoint,
        Self::Xdp,
        Self::PerfEvent,
        Self::CgroupSkb,
        Self::RawTracepoint,
    ];

    /// The type of that number, if programs of it can be loaded.
    pub fn new(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| *ty as u32 == number)
    }
}

/// A set of program types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgTypes(u32);

impl ProgTypes {
    /// Every type.
    pub const ALL: Self = Self(u32::MAX);
    /// kprobe, tracepoint, raw tracepoint, perf event.
    pub const TRACING: Self = Self::of(&[
        ProgType::Kprobe,
        ProgType::Tracepoint,
        ProgType::RawTracepoint,
        ProgType::PerfEvent,
    ]);
    /// kprobe.
    pub const KPROBE: Self = Self::of(&[ProgType::Kprobe]);
    /// perf event.
    pub const PERF_EVENT: Self = Self::of(&[ProgType::PerfEvent]);
    /// Types whose context is `__sk_buff`.
    pub const SKB: Self = Self::of(&[
        ProgType::SocketFilter,
        ProgType::SchedCls,
        ProgType::SchedAct,
        ProgType::CgroupSkb,
    ]);
    /// Types that see packets: `SKB` and XDP.
    pub const NET: Self = Self::SKB.and(Self::of(&[ProgType::Xdp]));

    /// Types that see packets and may write them: tc and XDP.
    pub const PACKET: Self = Self::of(&[ProgType::SchedCls, ProgType::SchedAct, ProgType::Xdp]);
    /// tc's classifier and action.
    pub const TC: Self = Self::of(&[ProgType::SchedCls, ProgType::SchedAct]);
    /// XDP.
    pub const XDP: Self = Self::of(&[ProgType::Xdp]);
    /// Types that may write to perf events.
    pub const OUTPUT: Self = Self::TRACING.and(Self::NET);
    /// `TC` and a cgroup's filters.
    pub const TC_CGROUP: Self = Self::TC.and(Self::of(&[ProgType::CgroupSkb]));

    /// Types that find sockets: those and XDP.
    pub const LOOKS_UP: Self = Self::TC_CGROUP.and(Self::XDP);

    /// The set of these types.
    pub const fn of(types: &[ProgType]) -> Self {
        let mut bits = 0;
        let mut rest = types;
        while let [first, tail @ ..] = rest {
            bits |= Self::bit(*first);
            rest = tail;
        }
        Self(bits)
    }

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `ty` is in the set.
    pub const fn contains(self, ty: ProgType) -> bool {
        self.0 & Self::bit(ty) != 0
    }

    /// Program type numbers are all below 32.
    const fn bit(ty: ProgType) -> u32 {
        1 << (ty as u32 & 31)
    }
}

/// Map types that have a backend (`enum bpf_map_type`).
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapType {
    /// Hash table.
    Hash = 1,
    /// Array with u32 index.
    Array = 2,
    /// Programs for tail calls.
    ProgArray = 3,
    /// Perf events.
    PerfEventArray = 4,
    /// Hash table with a value for each CPU.
    PercpuHash = 5,
    /// Array with a value for each CPU.
    PercpuArray = 6,
    /// Call chains by their hash.
    StackTrace = 7,
    /// Cgroups.
    CgroupArray = 8,
    /// Hash table that drops old entries when it is full.
    LruHash = 9,
    /// The same with a value for each CPU.
    LruPercpuHash = 10,
    /// Longest match of a prefix of bits.
    LpmTrie = 11,
    /// Maps by index.
    ArrayOfMaps = 12,
    /// Maps by key.
    HashOfMaps = 13,
    /// First in, first out.
    Queue = 22,
    /// Last in, first out.
    Stack = 23,
    /// Ring buffer.
    Ringbuf = 27,
    /// Bloom filter.
    BloomFilter = 30,
}

impl MapType {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Hash,
        Self::Array,
        Self::ProgArray,
        Self::PerfEventArray,
        Self::PercpuHash,
        Self::PercpuArray,
        Self::StackTrace,
        Self::CgroupArray,
        Self::LruHash,
        Self::LruPercpuHash,
        Self::LpmTrie,
        Self::ArrayOfMaps,
        Self::HashOfMaps,
        Self::Queue,
        Self::Stack,
        Self::Ringbuf,
        Self::BloomFilter,
    ];

    /// The type of that number.
    pub fn new(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|ty| *ty as u32 == number)
    }

    /// Who makes such a map needs `CAP_BPF`, even where programs need none.
    pub fn needs_cap_bpf(self) -> bool {
        match self {
            Self::Hash
            | Self::Array
            | Self::ProgArray
            | Self::PerfEventArray
            | Self::CgroupArray
            | Self::PercpuHash
            | Self::PercpuArray
            | Self::ArrayOfMaps
            | Self::HashOfMaps => false,
            Self::StackTrace
            | Self::LruHash
            | Self::LruPercpuHash
            | Self::LpmTrie
            | Self::Queue
            | Self::Stack
            | Self::BloomFilter => true,
            Self::Ringbuf => false,
        }
    }

    /// There is a value for each CPU.
    pub fn is_percpu(self) -> bool {
        matches!(
            self,
            Self::PercpuHash | Self::PercpuArray | Self::LruPercpuHash
        )
    }

    /// Its values are maps.
    pub fn is_of_maps(self) -> bool {
        matches!(self, Self::ArrayOfMaps | Self::HashOfMaps)
    }

    /// Programs look entries up by key, and read and write the values that they find.
    pub fn has_lookup(self) -> bool {
        match self {
            Self::Hash
            | Self::Array
            | Self::PercpuHash
            | Self::PercpuArray
            | Self::LruHash
            | Self::LruPercpuHash
            | Self::LpmTrie => true,
            Self::ProgArray | Self::Queue | Self::Stack | Self::BloomFilter => false,
            Self::ArrayOfMaps | Self::HashOfMaps => false,
            Self::PerfEventArray | Self::StackTrace | Self::CgroupArray => false,
            Self::Ringbuf => false,
        }
    }
}

/// Longest object name with its NUL (`BPF_OBJ_NAME_LEN`).
pub const OBJ_NAME_LEN: usize = 16;
/// Bytes of a program's stack (`MAX_BPF_STACK`).
pub const MAX_STACK: u32 = 512;
/// Call frames at most.
pub const MAX_FRAMES: usize = 16;
/// Tail calls in one run of a program (`MAX_TAIL_CALL_CNT`).
pub const MAX_TAIL_CALLS: u32 = 33;
/// Maps that one program can use.
pub const MAX_USED_MAPS: usize = 64;
/// Instructions that the verifier simulates at most (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const COMPLEXITY_LIMIT_INSNS: u32 = 1_000_000;
