// SPDX-License-Identifier: GPL-2.0

//! The tool on an object that clang made of `programs.bpf.c`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The object; `name` keeps tests that run at once apart.
fn object(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs.bpf.c");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.bpf.o"));
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang-19".to_string());
    let made = Command::new(clang)
        .args([
            "--target=bpf",
            "-O2",
            "-g",
            "-Wall",
            "-Werror",
            "-I/usr/include/x86_64-linux-gnu",
            "-c",
            "-o",
        ])
        .args([&out, &source])
        .status();
    assert!(made.expect("clang").success());
    out
}

fn verify(args: &[&str]) -> (i32, String, String) {
    let done: Output = Command::new(env!("CARGO_BIN_EXE_oxbpf-verify"))
        .args(args)
        .output()
        .expect("the tool");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (
        done.status.code().unwrap_or(-1),
        text(&done.stdout),
        text(&done.stderr),
    )
}

#[test]
fn verdicts_with_reasons() {
    let path = object("verdicts");
    let (status, out, err) = verify(&[path.to_str().unwrap()]);
    assert_eq!(status, 1, "{out}{err}");
    assert!(out.ends_with("2 accepted, 2 refused\n"), "{out}");
    for text in [
        ": count: accepted, ",
        ": sum: accepted, ",
        ": no_null_test: refused, EACCES",
        "programs.bpf.c:46: return *value;",
        "test its result against NULL",
        ": too_short: refused, EACCES",
        "programs.bpf.c:56: return eth->h_proto ? XDP_PASS : XDP_DROP;",
        "data_end",
    ] {
        assert!(out.contains(text), "no '{text}' in:\n{out}");
    }
}

#[test]
fn options_choose_programs_and_loaders() {
    let path = object("options");
    let path = path.to_str().unwrap();
    let (status, out, _) = verify(&["-p", "count", "--program=sum", path]);
    assert_eq!((status, out.lines().count()), (0, 3), "{out}");
    // A loop is for loaders with CAP_BPF.
    let (status, out, _) = verify(&["--unprivileged", "-p", "sum", path]);
    assert!(status == 1 && out.contains("back-edge"), "{out}");
    // tc may not read the fields of xdp_md.
    let (status, out, _) = verify(&["--type", "tracepoint", "-p", "count", "--log", path]);
    assert!(status == 0 || out.contains("processed "), "{out}");
    let (_, out, _) = verify(&["-v", "-p", "count", path]);
    assert!(out.contains("0: R1=ctx() R10=fp0"), "{out}");
}

#[test]
fn mistakes_are_said() {
    let path = object("mistakes");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    for (args, status, text) in [
        (&["--help"][..], 0, ""),
        (&[], 2, "no object"),
        (&["--wrong"], 2, "invalid option"),
        (&["--type", "nothing", "x"], 2, "there are: socket"),
        (&["/nowhere.o"], 2, "/nowhere.o"),
        (&[source.to_str().unwrap()], 2, "not a proper ELF object"),
        (&["-p", "nobody", path.to_str().unwrap()], 2, "no programs"),
    ] {
        let (got, _, err) = verify(args);
        assert_eq!(got, status, "{args:?}: {err}");
        assert!(err.contains(text), "{args:?}: {err}");
    }
}

/// libbpf's own questions go through the same calls; the kernel is never asked.
#[test]
fn no_privileges_are_needed() {
    let path = object("nobody");
    let tool = env!("CARGO_BIN_EXE_oxbpf-verify");
    let status = Command::new("setpriv")
        .args([
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--no-new-privs",
            tool,
            "-p",
            "count",
        ])
        .arg(&path)
        .status();
    assert!(status.expect("setpriv").success());
}
