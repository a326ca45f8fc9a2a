# SPDX-License-Identifier: GPL-2.0
"""What tc's scenes are made of: namespaces that are joined by veth pairs, filters, packets."""

import json
import os
import socket
import subprocess
import threading
import time

BUILD = os.environ["OXBPF_BUILD"]
PROGS = os.path.join(BUILD, "selftests", "tc.bpf.o")
PRELOAD = os.path.join(BUILD, "preload", "liboxbpf_preload.so")
os.environ["TC_LIB_DIR"] = os.path.join(BUILD, "iproute2")


def sh(cmd, ns=None, ok=True, env=None):
    """Runs a command (in a namespace); its output. ok: it must succeed; None: whatever it does."""
    if ns:
        cmd = f"ip netns exec {ns} {cmd}"
    p = subprocess.run(
        cmd, shell=True, capture_output=True, text=True, timeout=60, env={**os.environ, **(env or {})}
    )
    if ok is not None and (p.returncode == 0) != ok:
        raise AssertionError(f"{cmd}: status {p.returncode}\n{p.stdout}{p.stderr}")
    return p.stdout + p.stderr


def bpftool(args):
    """What bpftool says of oxbpf's objects."""
    return json.loads(sh(f"bpftool -j {args}", env={"LD_PRELOAD": PRELOAD}))


ADDRS = (
    ("a", "va", "02:00:00:00:00:01", "10.0.0.1/24"),
    ("b", "vb", "02:00:00:00:00:02", "10.0.0.2/24"),
    ("b", "wb", "02:00:00:00:00:03", "10.0.1.1/24"),
    ("c", "wc", "02:00:00:00:00:04", "10.0.1.2/24"),
)


class Net:
    """Namespaces a, b and c: a and b are joined, and b and c. Made once; a scene begins without
    any queueing discipline. Processes are slow in the test machine, so there are few of them."""

    there = False

    @classmethod
    def make(cls):
        if cls.there:
            return
        batch = ["netns add a", "netns add b", "netns add c"]
        batch.append("link add va netns a type veth peer name vb netns b")
        batch.append("link add wb netns b type veth peer name wc netns c")
        script = "printf '%s\\n' " + " ".join(f"'{line}'" for line in batch) + " | ip -batch -"
        for ns in "abc":
            lines = ["link set lo up"]
            for where, dev, mac, addr in ADDRS:
                if where == ns:
                    lines.append(f"link set {dev} address {mac}")
                    lines.append(f"addr add {addr} dev {dev}")
            text = " ".join(f"'{line}'" for line in lines)
            script += f" && printf '%s\\n' {text} | ip -n {ns} -batch -"
        sh(script)
        for ns, dev, _, _ in ADDRS:
            in_ns(ns, lambda d=dev: no_ipv6(d))
        script = "true"
        for ns in "abc":
            lines = [f"link set {dev} up" for where, dev, _, _ in ADDRS if where == ns]
            if ns == "a":
                lines.append("neigh add 10.0.0.2 lladdr 02:00:00:00:00:02 dev va")
            if ns == "b":
                lines.append("neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev vb")
            text = " ".join(f"'{line}'" for line in lines)
            script += f" && printf '%s\\n' {text} | ip -n {ns} -batch -"
        sh(script)
        cls.there = True

    @classmethod
    def drop(cls):
        sh("ip netns del a; ip netns del b; ip netns del c", ok=None)
        cls.there = False

    def __enter__(self):
        Net.make()
        sh("tc qdisc add dev vb clsact", "b")
        return self

    def __exit__(self, *_):
        sh("ip netns exec b tc qdisc del dev vb clsact", ok=None)


def no_ipv6(dev):
    """No packets but those of the scenes."""
    with open(f"/proc/sys/net/ipv6/conf/{dev}/disable_ipv6", "w", encoding="ascii") as f:
        f.write("1")


def in_ns(ns, f):
    """Calls f in a thread of that namespace (by way of a descriptor, which setns takes)."""
    box = {}

    def run():
        try:
            with open(f"/var/run/netns/{ns}", "rb") as fd:
                os.setns(fd.fileno(), 0x40000000)
            box["value"] = f()
        except BaseException as e:  # handed to whoever waits
            box["error"] = e

    t = threading.Thread(target=run)
    t.start()
    t.join(60)
    if "error" in box:
        raise box["error"]
    return box.get("value")


def filter_add(kind, dev, where, section, ns="b", more="da", verb="add"):
    """tc filter add for a program of the test object."""
    return sh(f"tc filter {verb} dev {dev} {where} {kind} {more} obj {PROGS} sec t/{section}", ns)


def udp(ns="a", dst="10.0.0.2", port=5000, data=b"x", tos=0):
    """Sends one datagram."""

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
            s.sendto(data, (dst, port))

    in_ns(ns, send)


def receiver(ns, port, addr="0.0.0.0"):
    """A UDP socket in the namespace."""

    def make():
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind((addr, port))
        s.settimeout(2)
        return s

    return in_ns(ns, make)


def sniffer(ns, dev):
    """A packet socket that sees all of a device's packets."""

    def make():
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        s.bind((dev, 0))
        s.settimeout(0.5)
        return s

    return in_ns(ns, make)


def frames(sniff, want=None, wait=1.0):
    """The IPv4 frames that came (that `want` takes)."""
    out = []
    end = time.time() + wait
    while time.time() < end:
        try:
            f = sniff.recv(65536)
        except TimeoutError:
            break
        if f[12:14] == b"\x08\x00" and (want is None or want(f)):
            out.append(f)
    return out


def drain(sock):
    """All datagrams that are there."""
    out = []
    sock.settimeout(0.3)
    try:
        while True:
            out.append(sock.recv(65536))
    except TimeoutError:
        return out
