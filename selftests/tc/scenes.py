#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Programs at queueing disciplines: the tc kinds, driven by an unmodified tc, on veth pairs.

Each scene is played twice where that makes sense: with in-tree's kind bpf and with kind oxbpf. What
came of the packets must be the same.
"""

import gzip
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time

sys.dont_write_bytecode = True

from net import (  # noqa: E402
    BUILD,
    PRELOAD,
    PROGS,
    Net,
    bpftool,
    drain,
    filter_add,
    frames,
    in_ns,
    receiver,
    sh,
    sniffer,
    udp,
)

MODULE = os.environ["OXBPF_MODULE"]

DROP_PORT = 7777
KINDS = ("bpf", "oxbpf")


def htb_counts(dev, ns):
    """Packets per class."""
    text = sh(f"tc -s -j class show dev {dev}", ns)
    return {c["handle"]: c["stats"]["packets"] for c in json.loads(text)}


# The scenes. Each returns what both kinds must agree on.


def scene_htb(kind, section, more):
    with Net():
        lines = ["qdisc replace dev va root handle 1: htb default 30"]
        lines += [f"class add dev va parent 1: classid 1:{c} htb rate 100mbit" for c in (10, 20, 30)]
        text = " ".join(f"'{line}'" for line in lines)
        sh(f"printf '%s\\n' {text} | ip netns exec a tc -batch -")
        sh(f"tc filter add dev va parent 1: {kind} {more} obj {PROGS} sec t/{section}", "a")
        for tos, times in ((0x10, 3), (0x08, 5), (0x00, 7)):
            for _ in range(times):
                udp(tos=tos)
        counts = htb_counts("va", "a")
        got = tuple(counts[f"1:{c}"] for c in ("10", "20", "30"))
        sh("tc qdisc del dev va root", "a")
        assert got == (3, 5, 7), got
        return got


def scene_drop(kind):
    with Net():
        filter_add(kind, "vb", "ingress", "drop_port")
        kept, dropped = receiver("b", 5000), receiver("b", DROP_PORT)
        for _ in range(5):
            udp(port=DROP_PORT)
            udp(port=5000)
        got = len(drain(kept)), len(drain(dropped))
        assert got == (5, 0), got
        sh("tc filter del dev vb ingress", "b")
        udp(port=DROP_PORT)
        assert len(drain(dropped)) == 1, "still dropped without the filter"
        return got


def flows(kind):
    """The flow counter's map, of the newest program that has one."""
    tool = bpftool if kind == "oxbpf" else lambda a: json.loads(sh(f"bpftool -j {a}"))
    maps = [m for m in tool("map show") if m.get("name") == "flows"]
    out = {}
    for e in tool(f"map dump id {max(m['id'] for m in maps)}"):
        if "formatted" in e:
            k, v = e["formatted"]["key"], e["formatted"]["value"]
            key = (k["saddr"], k["daddr"], k["sport"], k["dport"], k["proto"])
            out[key] = (v["packets"], v["bytes"])
        else:
            raw = bytes(int(x, 16) for x in e["key"])
            val = bytes(int(x, 16) for x in e["value"])
            out[struct.unpack("=IIHHI", raw)] = struct.unpack("=QQ", val)
    return out


def scene_flows(kind):
    with Net():
        filter_add(kind, "vb", "ingress", "count_flow")
        s = receiver("b", 5000)

        def send():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
                c.bind(("10.0.0.1", 4444))
                for n in range(20):
                    c.sendto(b"y" * n, ("10.0.0.2", 5000 + n % 2))

        in_ns("a", send)
        time.sleep(0.3)
        got = flows(kind)
        s.close()
        udp_flows = {k: v for k, v in got.items() if k[4] == 17}
        assert sorted(v[0] for v in udp_flows.values()) == [10, 10], got
        assert sum(v[1] for v in udp_flows.values()) == 20 * 42 + sum(range(20)), got
        return udp_flows


def tcp_transfer(size=300000, to=9000, real=9001):
    """A TCP connection from a to b; what came there and back."""
    data = os.urandom(size)
    got = bytearray()
    listener = in_ns("b", lambda: socket.create_server(("10.0.0.2", real)))
    listener.settimeout(10)

    def serve():
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(10)
            while len(got) < size:
                piece = conn.recv(65536)
                if not piece:
                    break
                got.extend(piece)
            conn.sendall(bytes(got[:1000]))

    t = threading.Thread(target=serve)
    t.start()

    def client():
        with socket.create_connection(("10.0.0.2", to), 10) as c:
            c.sendall(data)
            back = bytearray()
            while len(back) < 1000:
                piece = c.recv(4096)
                if not piece:
                    break
                back.extend(piece)
            return bytes(back)

    back = in_ns("a", client)
    t.join(10)
    listener.close()
    assert bytes(got) == data, f"{len(got)} of {size} bytes"
    assert back == data[:1000], "the answer"


def scene_mangle(kind):
    with Net():
        filter_add(kind, "vb", "ingress", "port_in")
        filter_add(kind, "vb", "egress", "port_out")
        tcp_transfer()
        # The mangling did it: without it nobody answers there.
        sh("tc filter del dev vb ingress", "b")
        try:
            in_ns("a", lambda: socket.create_connection(("10.0.0.2", 9000), 3).close())
        except (ConnectionRefusedError, TimeoutError, BlockingIOError):
            return True
        raise AssertionError("a connection without the filter")


def scene_unclone(kind):
    """Who listens to the device sees the packet as it came, though the program writes to it."""
    with Net():
        filter_add(kind, "vb", "ingress", "write_ttl")
        sniff = sniffer("b", "vb")
        s = receiver("b", 5000)
        in_ns("b", lambda: s.setsockopt(socket.IPPROTO_IP, 12, 1))  # IP_RECVTTL
        s.settimeout(2)
        udp(port=5000)
        _, ancillary, _, _ = s.recvmsg(100, 100)
        ttl = struct.unpack("=i", ancillary[0][2])[0]
        seen = [f[22] for f in frames(sniff, lambda f: f[23] == 17)]
        assert (ttl, seen) == (33, [64]), (ttl, seen)
        return ttl, seen


def newest(kind, name, count):
    """Keys and values of that many maps of the name, of those that were made last."""
    env = {"LD_PRELOAD": PRELOAD} if kind == "oxbpf" else {}
    maps = json.loads(sh("bpftool -j map show", env=env))
    numbers = sorted(m["id"] for m in maps if m.get("name") == name)[-count:]
    for number in numbers:
        for e in json.loads(sh(f"bpftool -j map dump id {number}", env=env)):
            yield tuple(bytes(int(x, 16) for x in e[part]) for part in ("key", "value"))


# States of TCP.
ESTABLISHED, SYN_SENT, FIN_WAIT1, LAST_ACK, LISTEN, NEW_SYN_RECV = 1, 2, 4, 9, 10, 12


def scene_socks(kind):
    """Programs see which socket each byte of a connection is for, and which one sends it.

    All on one processor, so that packets come in their order; and each step waits for the one
    before, so that there is but one state for each byte."""
    size, port = 300000, 9001
    data = os.urandom(size)
    got = bytearray()

    def receive(conn, count):
        piece = bytearray()
        while len(piece) < count:
            more = conn.recv(65536)
            assert more, f"{len(piece)} of {count} bytes"
            piece.extend(more)
        return bytes(piece)

    def serve(listener):
        conn, _ = listener.accept()
        with conn:
            conn.settimeout(20)
            conn.sendall(b"!")
            got.extend(receive(conn, size))
            conn.sendall(got[:1000])
            conn.recv(1)

    def client():
        with socket.create_connection(("10.0.0.2", port), 20) as c:
            receive(c, 1)
            c.sendall(data)
            return receive(c, 1000)

    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        with Net():
            filter_add(kind, "vb", "ingress", "socks")
            filter_add(kind, "vb", "egress", "socks")
            listener = in_ns("b", lambda: socket.create_server(("10.0.0.2", port)))
            with listener:
                listener.settimeout(20)
                t = threading.Thread(target=serve, args=(listener,))
                t.start()
                back = in_ns("a", client)
                t.join(20)
            assert (bytes(got), back) == (data, data[:1000]), f"{len(got)} bytes"
            seen = {
                struct.unpack("=6I", key): struct.unpack("=Q", value)[0]
                for key, value in newest(kind, "sockets", 2)
            }
    finally:
        os.sched_setaffinity(0, cpus)
    # out, looked up, bound, own, full, TCP's. A packet that comes over such a device has its sender's.
    assert seen == {
        (0, LISTEN, 1, SYN_SENT, SYN_SENT, 1): 1,
        (0, ESTABLISHED, 1, ESTABLISHED, ESTABLISHED, 1): size,
        (0, ESTABLISHED, 1, FIN_WAIT1, FIN_WAIT1, 1): 1,
        (1, LISTEN, 1, NEW_SYN_RECV, 0, 0): 1,
        (1, ESTABLISHED, 1, ESTABLISHED, ESTABLISHED, 1): 1001,
        (1, LAST_ACK, 1, LAST_ACK, LAST_ACK, 1): 1,
    }, seen
    return seen


SO_COOKIE = 57


def scene_cookie(kind):
    """A program sees which socket sends, by the number that the socket itself is told."""
    env = {"LD_PRELOAD": PRELOAD} if kind == "oxbpf" else {}
    with Net():
        sh("tc qdisc add dev va clsact", "a")
        try:
            filter_add(kind, "va", "egress", "cookie", ns="a")

            def send():
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    s.sendto(b"x", ("10.0.0.2", 5000))
                    return struct.unpack("=Q", s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]

            told = [in_ns("a", send) for _ in range(2)]
            number = max(
                m["id"] for m in json.loads(sh("bpftool -j map show", env=env)) if m.get("name") == "config"
            )
            raw = json.loads(sh(f"bpftool -j map dump id {number}", env=env))
            words = [struct.pack("4B", *(int(x, 16) for x in e["value"])) for e in raw]
            seen = struct.unpack("=Q", words[2] + words[3])[0]
        finally:
            sh("tc qdisc del dev va clsact", "a")
        assert told[0] != told[1] and seen == told[1] and seen, (told, seen)
        return True


def scene_under(kind):
    """A datagram belongs to a socket, a question for an address to none: what is said of no cgroup
    tells which."""
    env = {"LD_PRELOAD": PRELOAD} if kind == "oxbpf" else {}
    with Net():
        sh("tc qdisc add dev va clsact", "a")
        try:
            filter_add(kind, "va", "egress", "under", ns="a")
            udp()
            udp(dst="10.0.0.77")
            maps = json.loads(sh("bpftool -j map show", env=env))
            number = max(m["id"] for m in maps if m.get("name") == "config")

            def said():
                raw = json.loads(sh(f"bpftool -j map dump id {number}", env=env))
                words = [struct.pack("4B", *(int(x, 16) for x in e["value"])) for e in raw]
                return [struct.unpack("=i", word)[0] for word in words[2:4]]

            # The question may be asked later, from a timer.
            end = time.time() + 20
            while 0 in (seen := said()) and time.time() < end:
                time.sleep(0.2)
        finally:
            sh("tc qdisc del dev va clsact", "a")
        assert seen == [-11, -2], seen
        return seen


def set_config(ifindex, kind):
    """The ifindex that the newest loaded programs redirect to."""
    env = {"LD_PRELOAD": PRELOAD} if kind == "oxbpf" else {}
    maps = json.loads(sh("bpftool -j map show", env=env))
    number = max(m["id"] for m in maps if m.get("name") == "config")
    value = " ".join(str(b) for b in struct.pack("=I", ifindex))
    sh(f"bpftool map update id {number} key 0 0 0 0 value {value}", env=env)


def ifindex(ns, dev):
    return json.loads(sh(f"ip -n {ns} -j link show {dev}"))[0]["ifindex"]


def scene_redirect(kind, section, where, sniff_ns, sniff_dev, to):
    with Net():
        filter_add(kind, "vb", where, section)
        set_config(ifindex("b", to), kind)
        sniff = sniffer(sniff_ns, sniff_dev)
        for n in range(4):
            udp(port=6000, data=b"redirected %d" % n)
        # The ports and the addresses are always the same, but the source port and the identifier.
        got = frames(sniff, lambda f: f[23] == 17 and f[36:38] == b"\x17\x70")
        payload = [f[:14] + f[42:] for f in got]
        assert len(payload) == 4, payload
        return payload


# Loads the parser, attaches it with tc and keeps it: an array of programs is emptied when the last
# descriptor of it goes. Its bpf(2) calls are libbpf's, which the preload library turns.
HOLDER = """
import ctypes, os, subprocess, sys
lib = ctypes.CDLL("libbpf.so.1")
for f in ("open_file", "next_program", "find_program_by_name"):
    getattr(lib, "bpf_object__" + f).restype = ctypes.c_void_p
kind, path = sys.argv[1:]
obj = ctypes.c_void_p(lib.bpf_object__open_file(path.encode(), None))
p = lib.bpf_object__next_program(obj, None)
while p:
    lib.bpf_program__set_type(ctypes.c_void_p(p), 3)
    p = lib.bpf_object__next_program(obj, ctypes.c_void_p(p))
assert lib.bpf_object__load(obj) == 0
first = ctypes.c_void_p(lib.bpf_object__find_program_by_name(obj, b"parse_l2"))
fd = lib.bpf_program__fd(first)
os.environ.pop("LD_PRELOAD", None)
if kind == "bpf":
    # ip netns exec hides the one in /sys.
    subprocess.run("mkdir -p /tmp/pins && mount -t bpf bpf /tmp/pins", shell=True, check=True)
    pin = "/tmp/pins/parser"
    assert lib.bpf_program__pin(first, pin.encode()) == 0
    how = "object-pinned " + pin
else:
    os.set_inheritable(fd, True)
    how = "fd %d" % fd
subprocess.run(f"tc filter add dev vb ingress {kind} da {how}".split(), check=True, close_fds=False)
if kind == "bpf":
    os.unlink(pin)
print("ready", flush=True)
sys.stdin.read()
"""


def scene_parser(kind):
    """A parser in three programs, by tail calls: link layer, network layer, transport."""
    with Net():
        obj = os.path.join(BUILD, "selftests", "parser.bpf.o")
        env = {**os.environ, **({"LD_PRELOAD": PRELOAD} if kind == "oxbpf" else {})}
        holder = subprocess.Popen(
            ["ip", "netns", "exec", "b", "python3", "-c", HOLDER, kind, obj],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True,
        )
        try:
            assert holder.stdout.readline() == "ready\n", "not loaded"
            socks = [receiver("b", p) for p in (5000, 5001, DROP_PORT)]
            for port, times in ((5000, 3), (5001, 2), (DROP_PORT, 4)):
                for _ in range(times):
                    udp(port=port)
            got = [len(drain(s)) for s in socks]
            counts = []
            env = {"LD_PRELOAD": PRELOAD} if kind == "oxbpf" else {}
            maps = json.loads(sh("bpftool -j map show", env=env))
            number = max(m["id"] for m in maps if m.get("name") == "seen")
            for e in json.loads(sh(f"bpftool -j map dump id {number}", env=env)):
                counts.append(struct.unpack("=Q", bytes(int(x, 16) for x in e["value"]))[0])
        finally:
            holder.communicate("")
        # link layer: ARP may be among it; then IP, UDP, and what was dropped
        assert got == [3, 2, 0] and counts[0] >= 9 and counts[1:] == [9, 9, 4], (got, counts)
        # Now the array is empty, and where a jump fails the parser drops.
        udp(port=5000)
        assert drain(socks[0]) == [], "after the last descriptor went"
        return got, counts[1:]


RESULTS = range(-1, 9)


def scene_results(kind):
    """What each result of an action does to the packet that it is for."""
    with Net():
        sh(
            f"tc filter add dev vb ingress matchall action {kind} obj {PROGS} sec t/result "
            "action drop",
            "b",
        )
        socks = {r: receiver("b", DROP_PORT + 1 + r) for r in RESULTS if r not in (1, 6)}
        for r in socks:
            udp(port=DROP_PORT + 1 + r, data=b"%d" % r)
        return {r: len(drain(s)) for r, s in socks.items()}


# What has no counterpart to compare with.


def test_lifecycle():
    """Add, show, replace, delete; many filters; the handle and the errors."""
    with Net():
        before = len(bpftool("prog show"))
        for n in range(1, 11):
            filter_add("oxbpf", "vb", f"ingress prio 7 handle {n}", "count_flow")
        shown = json.loads(sh("tc -j filter show dev vb ingress", "b"))
        handles = [f["options"]["handle"] for f in shown if "options" in f]
        assert sorted(int(h, 0) for h in handles) == list(range(1, 11)), handles
        assert len(bpftool("prog show")) == before + 10, "the filters hold their programs"
        ids = {p["id"] for p in bpftool("prog show")}
        assert {f["options"]["id"] for f in shown if "options" in f} <= ids
        filter_add("oxbpf", "vb", "ingress prio 7 handle 3", "drop_port", verb="replace")
        shown = json.loads(sh("tc -j filter show dev vb ingress", "b"))
        names = {int(f["options"]["handle"], 0): f["options"]["bpf_name"] for f in shown if "options" in f}
        assert names[3].endswith("[t/drop_port]") and names[4].endswith("[t/count_flow]"), names
        text = sh(
            f"tc filter add dev vb ingress prio 7 handle 3 oxbpf da obj {PROGS} sec t/drop_port",
            "b", ok=False,
        )
        assert "File exists" in text or "exist" in text, text
        sh("tc filter del dev vb ingress prio 7 handle 3 oxbpf", "b")
        text = sh("tc filter del dev vb ingress prio 7 handle 3 oxbpf", "b", ok=False)
        sh("tc filter add dev vb ingress oxbpf da fd 0", "b", ok=False)
        sh(f"tc filter add dev vb ingress oxbpf skip_sw da obj {PROGS} sec t/count_flow", "b", ok=False)
        assert "in use" in sh("rmmod oxbpf", ok=False), "rmmod with filters"
        sh("tc filter del dev vb ingress", "b")
        for _ in range(50):
            if len(bpftool("prog show")) == before:
                return
            time.sleep(0.1)
        raise AssertionError(f"programs stay: {bpftool('prog show')}")


def test_block():
    """A shared block: one filter for two devices."""
    with Net():
        sh("tc qdisc del dev vb clsact", "b")
        sh("tc qdisc add dev vb ingress_block 7 clsact", "b")
        sh("tc qdisc add dev wb ingress_block 7 clsact", "b")
        sh(f"tc filter add block 7 oxbpf da obj {PROGS} sec t/drop_port", "b")
        socks = receiver("b", DROP_PORT), receiver("b", 5000)
        udp("a", "10.0.0.2", DROP_PORT)
        udp("c", "10.0.1.1", DROP_PORT)
        udp("a", "10.0.0.2", 5000)
        udp("c", "10.0.1.1", 5000)
        got = [len(drain(s)) for s in socks]
        sh("tc qdisc del dev wb clsact", "b")
        assert got == [0, 2], got


def test_actions():
    """The action as an object of its own: shared, shown, replaced, deleted."""
    with Net():
        before = len(bpftool("prog show"))
        sh(f"tc actions add action oxbpf obj {PROGS} sec t/drop_port index 11", "b")
        sh("tc filter add dev vb ingress matchall action oxbpf index 11", "b")
        s = receiver("b", DROP_PORT)
        udp(port=DROP_PORT)
        assert drain(s) == [], "not dropped"
        text = sh("tc -s actions show action oxbpf", "b")
        assert "index 11" in text and "ref 2" in text and "t/drop_port" in text, text
        assert re.search(r"Sent \d+ bytes [1-9]\d* pkt \(dropped 1", text), text
        sh(f"tc actions replace action oxbpf obj {PROGS} sec t/count_flow index 11", "b")
        udp(port=DROP_PORT)
        assert len(drain(s)) == 1, "the replaced program still drops"
        sh("tc actions del action oxbpf index 11", "b", ok=False)
        sh("tc filter del dev vb ingress", "b")
        sh("tc actions del action oxbpf index 11", "b", ok=None)
        time.sleep(0.5)
        assert len(bpftool("prog show")) == before, "the program stays"


class Skip(Exception):
    """The scene cannot be played on this kernel."""


def built_in(option):
    """Whether the kernel has something that is not a module, as far as it says so."""
    try:
        with gzip.open("/proc/config.gz", "rt") as f:
            return f"CONFIG_{option}=y\n" in f
    except OSError:
        return False


def test_bpf_name():
    """With tc_bpf=1 the stock tc's own kind bpf runs on oxbpf."""
    if built_in("NET_CLS_BPF"):
        raise Skip("the kernel's own kind bpf is built in")
    Net.drop()
    sh("rmmod oxbpf")
    sh("rmmod cls_bpf; rmmod act_bpf", ok=None)
    try:
        sh(f"insmod {MODULE} tc_bpf=1")
        with Net():
            sh(
                f"tc filter add dev vb ingress bpf da obj {PROGS} sec t/drop_port",
                "b", env={"LD_PRELOAD": PRELOAD},
            )
            s = receiver("b", DROP_PORT)
            udp(port=DROP_PORT)
            assert drain(s) == [], "not dropped"
            assert [p for p in bpftool("prog show") if p.get("name") == "drop_port"], "not ours"
    finally:
        Net.drop()
        for _ in range(50):
            if "in use" not in sh("rmmod oxbpf", ok=None):
                break
            time.sleep(0.1)
        sh(f"insmod {MODULE}")


def test_busy():
    """A TCP transfer goes on while the filters at it are replaced and deleted."""
    seconds = int(os.environ.get("OXBPF_SECONDS", "20"))
    with Net():
        stop = threading.Event()
        errors = []
        rounds = [0]

        def churn():
            try:
                while not stop.is_set():
                    for where in ("ingress", "egress"):
                        filter_add("oxbpf", "vb", f"{where} prio 3 handle 1", "count_flow", verb="replace")
                    if rounds[0] % 3 == 2:
                        sh("tc filter del dev vb ingress prio 3", "b")
                    rounds[0] += 1
            except AssertionError as e:
                errors.append(e)

        t = threading.Thread(target=churn)
        t.start()
        start = time.time()
        transfers = 0
        # On a slow kernel a round takes long; a while later something hangs.
        while time.time() < start + seconds or (rounds[0] <= 3 and time.time() < start + 20 * seconds):
            tcp_transfer(200000, 9001, 9001)
            transfers += 1
        stop.set()
        t.join()
        if errors:
            raise errors[0]
        print(f"# {rounds[0]} rounds of replacing, {transfers} transfers")
        assert rounds[0] > 3 and transfers > 3


def test_removal():
    """Devices and namespaces go while their filters run; nothing stays."""
    before = len(bpftool("prog show"))
    for _ in range(2):
        Net.drop()
        with Net():
            sh("tc qdisc add dev wb clsact", "b")
            for dev in ("vb", "wb"):
                filter_add("oxbpf", dev, "ingress", "count_flow")
                filter_add("oxbpf", dev, "egress", "count_flow")
                sh(f"tc filter add dev {dev} ingress matchall action oxbpf obj {PROGS} sec t/count_flow", "b")
            stop = threading.Event()

            def flood():
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                    while not stop.is_set():
                        try:
                            s.sendto(b"z" * 100, ("10.0.0.2", 5000))
                        except OSError:
                            time.sleep(0.01)

            t = threading.Thread(target=lambda: in_ns("a", flood))
            t.start()
            time.sleep(0.2)
            sh("ip -n b link del vb")
            sh("ip netns del b")
            time.sleep(0.2)
            stop.set()
            t.join()
    Net.drop()
    for _ in range(100):
        if len(bpftool("prog show")) == before:
            break
        time.sleep(0.1)
    assert len(bpftool("prog show")) == before, bpftool("prog show")
    sh("rmmod oxbpf")
    sh(f"insmod {MODULE}")


def both(scene, *args):
    """The scene with either kind gives the same."""
    got = {kind: scene(kind, *args) for kind in KINDS}
    assert got["bpf"] == got["oxbpf"], got


TESTS = [
    ("tos into htb classes, by result", lambda: both(scene_htb, "tos_class", "")),
    ("tos into htb classes, by tc_classid", lambda: both(scene_htb, "tos_class_da", "da classid 1:1")),
    ("drop by port", lambda: both(scene_drop)),
    ("flow counter", lambda: both(scene_flows)),
    ("a TCP connection through mangled ports", lambda: both(scene_mangle)),
    ("sockets of a TCP connection", lambda: both(scene_socks)),
    ("a packet that others see is not written to", lambda: both(scene_unclone)),
    (
        "redirect to another device",
        lambda: both(scene_redirect, "redirect_out", "ingress", "c", "wc", "wb"),
    ),
    (
        "redirect into another device",
        lambda: both(scene_redirect, "redirect_in", "ingress", "b", "wb", "wb"),
    ),
    (
        "a copy to another device",
        lambda: both(scene_redirect, "clone_out", "ingress", "c", "wc", "wb"),
    ),
    (
        "redirect to a device's peer",
        lambda: both(scene_redirect, "redirect_peer", "ingress", "c", "wc", "wb"),
    ),
    ("the number of a sender", lambda: both(scene_cookie)),
    ("a sender's cgroup", lambda: both(scene_under)),
    ("parser in tail calls", lambda: both(scene_parser)),
    ("results of an action", lambda: both(scene_results)),
    ("filters come, are shown and replaced, and go", test_lifecycle),
    ("a shared block", test_block),
    ("actions as objects", test_actions),
    ("kind bpf on oxbpf", test_bpf_name),
    ("replace and delete under traffic", test_busy),
    ("devices and namespaces go", test_removal),
]


def main():
    """Prints KTAP."""
    sh("modprobe -a veth sch_ingress sch_htb cls_matchall act_gact cls_bpf act_bpf", ok=None)
    wanted = sys.argv[1:]
    tests = [t for t in TESTS if not wanted or any(w in t[0] for w in wanted)]
    print("KTAP version 1")
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, run) in enumerate(tests, 1):
        try:
            start = time.time()
            run()
            print(f"# {time.time() - start:.1f} s")
            print(f"ok {number} {name}", flush=True)
        except Skip as e:
            print(f"ok {number} {name} # SKIP {e}", flush=True)
        except Exception as e:  # each is a verdict
            failed += 1
            for line in f"{type(e).__name__}: {e}".splitlines():
                print(f"# {line}")
            print(f"not ok {number} {name}", flush=True)
    Net.drop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
