# SPDX-License-Identifier: GPL-2.0
"""A QEMU guest that runs commands: boot, run, read its kernel log, give up on it when it hangs.

The guest's root file system is the toolroot through virtiofs, read-only, so that everything on
the host side is there under the same path. Commands and answers go through a virtio port, the
kernel's console to a file. The guest's side is guest-init.
"""

import ctypes
import os
import re
import secrets
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1


class Hung(Exception):
    """The guest did not answer in time, or died."""


def die_with_parent():
    """Run in a child before exec: no QEMU may outlive the runner."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def have_kvm():
    """Whether hardware virtualisation works: the device can be there without the CPU's help."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        if not re.search(r"^flags\s*:.*\b(vmx|svm)\b", f.read(), re.M):
            return False
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def listens(path):
    """Whether somebody accepts connections at a socket of that name."""
    accepts = "00010000"
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
        return any(words[-1] == path and words[3] == accepts for words in map(str.split, f))


class Machine:
    """One boot of the guest."""

    def __init__(self, vmlinuz, cwd, cpus=2, memory="2G", append="", boot_limit=180, env=None, dirs=()):
        self.vmlinuz = vmlinuz
        self.cwd = cwd
        self.cpus = cpus
        self.memory = memory
        self.append = append
        self.boot_limit = boot_limit
        self.nonce = secrets.token_hex(6)
        self.dir = tempfile.mkdtemp(prefix="oxvm-")
        self.console_path = os.path.join(self.dir, "console")
        self.children = []
        self.port = None
        self.buffer = b""
        self.taint = 0
        self.env = env or {}
        self.dirs = dirs

    # Starting and stopping

    def boot(self):
        """Starts the guest; returns its boot log's lines."""
        share = os.path.join(self.dir, "fs")
        port = os.path.join(self.dir, "port")
        self.spawn(
            "/usr/libexec/virtiofsd",
            *("--shared-dir", "/", "--socket-path", share, "--sandbox", "none"),
            *("--cache", "always", "--readonly", "--log-level", "off"),
        )
        self.wait_for(share)
        self.spawn("qemu-system-x86_64", *self.qemu_args(share, port))
        self.wait_for(port)
        self.port = socket.socket(socket.AF_UNIX)
        self.port.connect(port)
        _, _, log = self.collect(self.boot_limit)
        return log

    def qemu_args(self, share, port):
        """QEMU's arguments."""
        if have_kvm():
            accel = ["-accel", "kvm", "-cpu", "host"]
        else:
            accel = ["-accel", "tcg,thread=multi", "-cpu", "max"]
        args = " ".join(
            (
                "root=rootfs rootfstype=virtiofs ro init=" + os.path.dirname(__file__) + "/guest-init",
                # On a loaded host the boot's check of the timer interrupt may fail, and that is a panic.
                "console=ttyS0 loglevel=5 panic=-1 tsc=reliable random.trust_cpu=on no_timer_check",
                # What backtraces() needs: an NMI panics, and that shows every CPU's stack.
                "unknown_nmi_panic=1 panic_print=0x40",
                # A loaded host may stop a virtual CPU for long; that is no stall of the kernel.
                "rcupdate.rcu_cpu_stall_timeout=90 watchdog_thresh=45 log_buf_len=8M audit=0",
                "printk.devkmsg=on",
                f"oxvm.nonce={self.nonce}",
                *(f"oxvm.dir={d}" for d in self.dirs),
                f"oxvm.cwd={self.cwd}",
                self.append,
            )
        )
        return [
            *accel,
            *("-smp", str(self.cpus), "-m", self.memory),
            *("-machine", "q35,memory-backend=ram,usb=off,hpet=off"),
            *("-object", f"memory-backend-memfd,id=ram,size={self.memory},share=on"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-kernel", self.vmlinuz, "-append", args),
            *("-serial", "file:" + self.console_path),
            *("-qmp", "unix:" + os.path.join(self.dir, "qmp") + ",server=on,wait=off"),
            *("-chardev", f"socket,id=fs,path={share}"),
            *("-device", "vhost-user-fs-pci,chardev=fs,tag=rootfs"),
            *("-chardev", f"socket,id=port,path={port},server=on,wait=off"),
            *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port,name=oxvm"),
            *("-device", "virtio-rng-pci"),
        ]

    def spawn(self, *args):
        """Starts a helper process of this guest."""
        with open(os.path.join(self.dir, "qemu.log"), "ab") as log:
            child = subprocess.Popen(
                args, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
            )
        self.children.append(child)

    def wait_for(self, path):
        """Waits until a helper process listens at a socket: it is there before that."""
        deadline = time.monotonic() + 60
        while not listens(path):
            if self.children[-1].poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.dir, "qemu.log"), encoding="utf-8", errors="replace") as f:
                    raise Hung("cannot start the virtual machine: " + f.read().strip())
            time.sleep(0.02)

    def stop(self):
        """Ends the guest and what belongs to it."""
        if self.port:
            self.port.close()
        for child in reversed(self.children):
            if child.poll() is None:
                child.kill()
            child.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    # Running commands

    def run(self, command, limit=60, on_output=None):
        """Runs a shell command; returns its exit status, its output, the kernel log meanwhile.

        The guest itself ends the command after `limit` seconds. When it does not even do that it
        hangs, and `Hung` is raised.
        """
        if "\n" in command:
            raise ValueError("a command is one line")
        exports = "".join(f"export {k}={shlex.quote(v)}; " for k, v in self.env.items())
        try:
            self.port.sendall(f"{limit} {exports}{command}\n".encode())
        except ConnectionError as e:
            raise Hung("the guest died") from e
        return self.collect(limit + 60, on_output)

    def collect(self, limit, on_output=None):
        """Reads one answer of the guest."""
        mark = f"\n@@{self.nonce} ".encode()
        deadline = time.monotonic() + limit
        output = self.read_to(mark + b"status ", deadline, on_output)
        status = int(self.read_to(b"\n", deadline))
        log = self.read_to(mark + b"done ", deadline)
        self.taint = int(self.read_to(b"\n", deadline))
        return status, output.decode("utf-8", "replace"), kmsg_lines(log)

    def read_to(self, end, deadline, on_output=None):
        """Takes what comes before `end`, and `end`, out of the stream."""
        shown = 0
        while True:
            at = self.buffer.find(end)
            # What may be the start of `end` is not yet output.
            sure = at if at >= 0 else max(shown, len(self.buffer) - len(end))
            if on_output and sure > shown:
                on_output(self.buffer[shown:sure])
                shown = sure
            if at >= 0:
                taken, self.buffer = self.buffer[:at], self.buffer[at + len(end) :]
                return taken
            left = deadline - time.monotonic()
            if left <= 0:
                self.backtraces()
                raise Hung("the guest hangs")
            ready, _, _ = select.select([self.port], [], [], min(left, 1))
            try:
                data = self.port.recv(1 << 16) if ready else None
            except ConnectionError:
                # So it is when QEMU ends with a command of ours unread.
                data = b""
            if data == b"" or self.children[-1].poll() is not None:
                raise Hung("the guest died")
            if data:
                self.buffer += data

    def backtraces(self):
        """Makes a hung guest say on its console where each CPU is; it is dead afterwards."""
        try:
            with socket.socket(socket.AF_UNIX) as qmp:
                qmp.settimeout(5)
                qmp.connect(os.path.join(self.dir, "qmp"))
                for command in ("qmp_capabilities", "inject-nmi"):
                    qmp.recv(1 << 16)
                    qmp.sendall(b'{"execute": "%s"}\n' % command.encode())
                qmp.recv(1 << 16)
            self.children[-1].wait(timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            pass

    def console(self):
        """The kernel's console so far, as lines."""
        try:
            with open(self.console_path, encoding="utf-8", errors="replace") as f:
                return [line.rstrip() for line in f.read().splitlines()]
        except OSError:
            return []


def kmsg_lines(raw):
    """Lines of /dev/kmsg records: `prio,seq,usec,flags;text`, continued by indented ones."""
    lines = []
    for line in raw.decode("utf-8", "replace").splitlines():
        head, sep, text = line.partition(";")
        if sep and re.match(r"\d+,\d+,\d+,", head):
            usec = int(head.split(",")[2])
            lines.append(f"[{usec / 1e6:12.6f}] {text}")
    return lines
