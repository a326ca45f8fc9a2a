// SPDX-License-Identifier: GPL-2.0

//! The verifier tests of the kernel tree that the module is built against.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A kernel tree that has the tests: `KDIR`, or what the set-up unpacked.
fn tree() -> Option<PathBuf> {
    let tests = |tree: &Path| {
        tree.join("tools/testing/selftests/bpf/test_verifier.c")
            .exists()
    };
    if let Some(tree) = std::env::var_os("KDIR").map(PathBuf::from) {
        if tests(&tree) {
            return Some(tree);
        }
    }
    let cache = std::env::var_os("CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/oxbpf")))?;
    let mut trees: Vec<PathBuf> = std::fs::read_dir(cache.join("kernel"))
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("linux")))
        .filter(|tree| tests(tree))
        .collect();
    trees.sort();
    trees.pop()
}

#[test]
fn kernel_tree_agrees() {
    let Some(tree) = tree() else {
        eprintln!("no kernel tree with its tests: skipped");
        return;
    };
    let text = Path::new(env!("CARGO_TARGET_TMPDIR")).join("corpus.txt");
    let built = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("build.sh"))
        .arg(&tree)
        .arg(&text)
        .status()
        .unwrap();
    assert!(built.success(), "build.sh {}", tree.display());
    let run = Command::new(env!("CARGO_BIN_EXE_oxbpf-corpus"))
        .arg(&text)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    for line in said
        .lines()
        .filter(|l| l.contains(" run: ") || l.contains("difference"))
    {
        eprintln!("{line}");
    }
    assert!(run.status.success(), "{said}");
}
