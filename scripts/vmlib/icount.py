# SPDX-License-Identifier: GPL-2.0
"""A guest whose clock counts instructions: `vm --icount run PROGRAM ARG...`.

One virtual CPU under QEMU's -icount: a nanosecond and a tick of the time stamp counter are one
executed instruction, and idling takes no time. Nothing of the host may reach such a guest, or two
runs would differ: the root file system is an archive in memory with PROGRAM, the libraries that it
needs and the module; there is no network, no disk, no source of random numbers. What PROGRAM prints
comes through the second serial port, the kernel's log through the first.
"""

import glob
import lzma
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import judge
from machine import die_with_parent

INIT = """#!/bin/busybox sh
export PATH=/bin HOME=/tmp TERM=dumb LANG=C.UTF-8
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox mount -t tracefs trace /sys/kernel/tracing
/bin/busybox mount -t bpf bpf /sys/fs/bpf
/bin/busybox stty -F /dev/ttyS1 raw
exec >/dev/ttyS1 2>&1 </dev/null
ulimit -l unlimited
/bin/busybox ip link set lo up
# What the boot left for later gets done meanwhile.
/bin/busybox sleep 5
%(insmod)s
for m in /modules/*.ko; do /bin/busybox insmod $m; done
/bin/busybox sleep 5
cd /tmp
%(command)s
echo "@@status $?"
/bin/busybox sleep 1
%(rmmod)s
echo "@@taint $(/bin/busybox cat /proc/sys/kernel/tainted)"
/bin/busybox dmesg
echo "@@end"
/bin/busybox sleep 1
/bin/busybox poweroff -f
"""


def archive(entries):
    """A cpio archive (newc) of (path, mode, content)."""
    out = bytearray()
    for number, (path, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % f for f in fields) + name
        out += bytes(-len(out) % 4)
        out += content
        out += bytes(-len(out) % 4)
    return bytes(out)


def libraries(program):
    """The files that the dynamic linker needs to start a program."""
    done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return sorted(set(re.findall(r"(/\S+) \(0x", done.stdout)))


def kernel_modules():
    """The kernel's own modules that are there for comparison, loadable in this order."""
    release = os.environ.get("KVER", "")
    for number, name in enumerate(("sch_ingress", "cls_bpf")):
        for path in glob.glob(f"/usr/lib/modules/{release}/kernel/net/sched/{name}.ko*"):
            with lzma.open(path) if path.endswith(".xz") else open(path, "rb") as f:
                yield f"modules/{number}-{name}.ko", f.read()


def root(program, args, module):
    """The archive that is the guest's root file system."""
    words = {
        "command": shlex.join(["/bin/" + os.path.basename(program), *args]),
        "insmod": "/bin/busybox insmod /oxbpf.ko || exit" if module else "",
        "rmmod": "/bin/busybox rmmod oxbpf" if module else "",
    }
    files = {"init": ((INIT % words).encode(), 0o755)}
    copies = {"bin/busybox": "/bin/busybox", "bin/" + os.path.basename(program): program}
    copies.update((lib.lstrip("/"), lib) for lib in libraries(program))
    if module:
        copies["oxbpf.ko"] = module
    for inside, outside in copies.items():
        with open(outside, "rb") as f:
            files[inside] = (f.read(), 0o755)
    files.update((path, (data, 0o644)) for path, data in kernel_modules())
    folders = {"proc", "sys", "dev", "tmp", "modules"}
    for path in files:
        parts = path.split("/")[:-1]
        folders.update("/".join(parts[: n + 1]) for n in range(len(parts)))
    entries = [(f, 0o040755, b"") for f in sorted(folders)]
    # Where init writes before it has mounted anything.
    entries += [(path, 0o100000 | mode, data) for path, (data, mode) in sorted(files.items())]
    return archive(entries)


def qemu_args(folder, vmlinuz, memory, append):
    """QEMU's arguments."""
    words = (
        "console=ttyS0 panic=-1 loglevel=5 nokaslr tsc=reliable clocksource=tsc random.trust_cpu=off",
        # Long idling is short here, and a load of a second's work long: neither is a stall.
        "rcupdate.rcu_cpu_stall_suppress=1 nowatchdog hung_task_panic=0 audit=0 log_buf_len=1M",
        append,
    )
    return [
        "qemu-system-x86_64",
        *("-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"),
        # Without erms, fsrm: copies by string instructions count one for a byte.
        *("-cpu", "max,-rdrand,-rdseed,-erms,-fsrm", "-smp", "1", "-m", memory),
        *("-rtc", "base=2025-01-01,clock=vm"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-kernel", vmlinuz, "-initrd", os.path.join(folder, "initrd"), "-append", " ".join(words)),
        *("-serial", "file:" + os.path.join(folder, "console")),
        *("-serial", "file:" + os.path.join(folder, "output")),
    ]


def follow(folder, child, limit):
    """Shows what the program prints until the guest is off; returns all that came."""
    deadline = time.monotonic() + limit
    path = os.path.join(folder, "output")
    shown = 0
    while True:
        ended = child.poll() is not None
        text = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as f:
                text = f.read()
        own = text.split("@@status ", 1)[0]
        sys.stdout.write(own[shown:])
        sys.stdout.flush()
        shown = len(own)
        if ended:
            return text
        if time.monotonic() > deadline:
            child.kill()
            child.wait()
            print(f"\nvm: ended after {limit} s", file=sys.stderr)
            return text
        time.sleep(0.2)


def run(vmlinuz, command, module, memory, append, limit):
    """Boots, runs the command, shows its output; returns its exit status, 1 when the kernel complained."""
    program = shutil.which(command[0])
    if not program:
        print(f"vm: no program {command[0]}", file=sys.stderr)
        return 2
    folder = tempfile.mkdtemp(prefix="oxvm-")
    try:
        with open(os.path.join(folder, "initrd"), "wb") as f:
            f.write(root(program, command[1:], module))
        with open(os.path.join(folder, "qemu.log"), "wb") as log:
            child = subprocess.Popen(
                qemu_args(folder, vmlinuz, memory, append),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
            try:
                text = follow(folder, child, limit)
            finally:
                child.kill()
                child.wait()
        return verdict(text, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def verdict(text, folder):
    """The exit status that the guest's output means."""
    status = re.search(r"^@@status (\d+)\n", text, re.M)
    if not status or "\n@@end" not in text:
        for name in ("qemu.log", "console"):
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
                print("".join(f.readlines()[-40:]), file=sys.stderr)
        print("vm: the guest ended early", file=sys.stderr)
        return 1
    problems = judge.splats(text.split("@@taint ", 1)[-1].splitlines())
    taint = re.search(r"^@@taint (\d+)", text, re.M)
    bad = int(taint.group(1)) & ~judge.EXPECTED_TAINT if taint else 0
    if bad and not problems:
        problems.append("unexpected taint: " + judge.taint_words(bad))
    if problems:
        print("\nthe guest's kernel complains:\n" + "\n".join(problems), file=sys.stderr)
    return int(status.group(1)) or bool(problems)
