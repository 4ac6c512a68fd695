//! Compiles the eBPF object with clang; the wheel carries the result, so only building from source needs clang.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

fn main() -> Result<(), String> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(|e| e.to_string())?).join("../bpf");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(|e| e.to_string())?).join("kube_gateway.bpf.o");
    for entry in fs::read_dir(&root).map_err(|e| format!("{}: {e}", root.display()))? {
        println!("cargo:rerun-if-changed={}", entry.map_err(|e| e.to_string())?.path().display());
    }
    let maps = root.join("maps.bpf.h");
    let definitions = fs::read(&maps).map_err(|e| format!("{}: {e}", maps.display()))?;
    println!("cargo:rustc-env=KGW_MAPS_LAYOUT={:016x}", fnv1a(&definitions));
    println!("cargo:rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let status = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror"])
        .arg(format!("-I/usr/include/{architecture}-linux-gnu"))
        .arg("-c")
        .arg(root.join("kube_gateway.bpf.c"))
        .arg("-o")
        .arg(&out)
        .status()
        .map_err(|e| format!("{clang} could not be started ({e}): apt-get install clang libbpf-dev, or set CLANG"))?;
    if status.success() { Ok(()) } else { Err(format!("{clang} failed on the eBPF programs: {status}")) }
}

/// FNV-1a, 64 bits: names a version of a file that nobody forges.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
