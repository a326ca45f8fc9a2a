// SPDX-License-Identifier: GPL-2.0

//! What a run is given: map contents, packet, context, and where everything lies.

use crate::rng::Rng;
use oxbpf_core::abi::ProgType;
use oxbpf_fixtures::directive::default_packet;
use oxbpf_fixtures::host::{add_maps, make_skb, HostEnv, LAYOUT};
use oxbpf_fixtures::machine::{Machine, Region};

/// Address of the context.
pub const CTX: u64 = 0x2000_0000_0000;
/// Address of the packet.
pub const PACKET: u64 = 0x3000_0000_0000;
const DEVICE: u64 = 0x4000_0000_0000;
const QUEUE: u64 = 0x4100_0000_0000;
const DATA: u64 = 0x4200_0000_0000;
const SHARED: u64 = 0x4300_0000_0000;

/// The input of a run.
#[derive(Clone, Debug)]
pub struct Input {
    /// Packet, as a test run is given it.
    pub packet: Vec<u8>,
    /// Numbers in a flat context.
    pub words: Vec<u8>,
    /// Contents of the maps are the declared ones, or else from this seed.
    pub maps: Option<u64>,
    /// How far from their usual places things lie.
    pub slide: u64,
    /// What the stack holds at first.
    pub fill: u8,
}

impl Input {
    /// The input that a test run through bpf(2) gives.
    pub fn plain() -> Self {
        Input {
            packet: default_packet(),
            words: vec![0; 168],
            maps: None,
            slide: 0,
            fill: 0xa5,
        }
    }

    /// A random one.
    pub fn random(rng: &mut Rng) -> Self {
        let mut packet = default_packet();
        let len = 14 + rng.below(120);
        packet.truncate(14);
        packet.extend(rng.bytes(len));
        Input {
            packet,
            words: rng.bytes(168),
            maps: Some(rng.u64()),
            slide: 0,
            fill: 0xa5,
        }
    }

    /// The same with everything elsewhere.
    pub fn elsewhere(&self) -> Self {
        Input {
            slide: 0x0101_2345_6000,
            fill: 0x3c,
            ..self.clone()
        }
    }

    /// Bytes of packet that the program sees.
    pub fn data(&self, ty: ProgType) -> &[u8] {
        match ty {
            ProgType::SchedCls | ProgType::SchedAct | ProgType::Xdp => &self.packet,
            _ => self.packet.get(14..).unwrap_or(&[]),
        }
    }
}

/// A machine with a stack of `stack` bytes, the maps that the program uses, and its context.
pub fn machine<'a>(env: &HostEnv, ty: ProgType, stack: u16, input: &Input) -> Machine<'a> {
    let mut machine = Machine::slid(usize::from(stack), input.fill, input.slide);
    let mut rng = input.maps.map(Rng::new);
    add_maps(&mut machine, env, &mut |decl, value| match &mut rng {
        Some(rng) if !decl.frozen => rng.bytes(decl.value_size as usize),
        _ => value.to_vec(),
    });
    context(&mut machine, ty, input);
    machine
}

fn context(machine: &mut Machine<'_>, ty: ProgType, input: &Input) {
    let at = |base: u64| base + input.slide;
    let mut add = |base: u64, bytes: Vec<u8>, writable: bool| {
        machine.add(Region {
            base: at(base),
            bytes,
            writable,
        })
    };
    let data = input.data(ty).to_vec();
    let put = |to: &mut Vec<u8>, off: i16, bytes: &[u8]| {
        let off = off as usize;
        to[off..off + bytes.len()].copy_from_slice(bytes);
    };
    let end = (at(PACKET) + data.len() as u64).to_le_bytes();
    let mut ctx = vec![0; 256];
    match ty {
        ProgType::Kprobe => ctx = input.words[..168].to_vec(),
        ProgType::Tracepoint => {
            ctx = input.words.iter().copied().cycle().take(8192).collect();
        }
        ProgType::RawTracepoint => ctx = input.words[..96].to_vec(),
        ProgType::Xdp => {
            put(&mut ctx, LAYOUT.xdp_data, &at(PACKET).to_le_bytes());
            put(&mut ctx, LAYOUT.xdp_data_meta, &at(PACKET).to_le_bytes());
            put(&mut ctx, LAYOUT.xdp_data_end, &end);
            put(&mut ctx, LAYOUT.xdp_rxq, &at(QUEUE).to_le_bytes());
        }
        ProgType::PerfEvent => {
            put(&mut ctx, LAYOUT.pe_regs, &at(DATA).to_le_bytes());
            put(&mut ctx, LAYOUT.pe_data, &at(DATA).to_le_bytes());
        }
        ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct | ProgType::CgroupSkb => {
            ctx = make_skb(
                &input.packet,
                data.len(),
                at(PACKET),
                at(DEVICE),
                at(SHARED),
            );
        }
    }
    let flat = matches!(
        ty,
        ProgType::Kprobe | ProgType::Tracepoint | ProgType::RawTracepoint
    );
    add(CTX, ctx, !flat);
    add(PACKET, data.clone(), true);
    let mut device = vec![0; 24];
    device.extend(1u32.to_le_bytes());
    add(DEVICE, device, false);
    let mut queue = at(DEVICE).to_le_bytes().to_vec();
    queue.extend(0u32.to_le_bytes());
    add(QUEUE, queue, false);
    add(DATA, input.words.clone(), false);
    add(SHARED, vec![0; 32], false);
    machine.set_packet(at(CTX), &data);
}
