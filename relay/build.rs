//! Compiles the express lane's program with clang. Where that cannot be, the crate is built all the same: the reason is kept,
//! and the relay tells it when it is asked for the lane.

use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/lane/xdp/express.bpf.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=PATH");
    if std::env::var_os("CARGO_FEATURE_XDP").is_none() {
        return;
    }
    let object = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("express.o");
    let missing = compile(&object).err().unwrap_or_default();
    if !missing.is_empty() {
        let _ = std::fs::write(&object, []);
        println!("cargo::warning=without the express lane: {missing}");
    }
    println!("cargo::rustc-env=BAUTA_EXPRESS_MISSING={missing}");
}

/// Compiles the program into `object`; or a sentence says why not.
fn compile(object: &PathBuf) -> Result<(), String> {
    let machine = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let output = Command::new("clang")
        .args(["-O2", "-g", "-mcpu=v3", "-target", "bpf", "-Wall", "-Werror", "-c", SOURCE, "-o"])
        .arg(object)
        // Where Debian has the headers of the kernel's own types.
        .arg(format!("-I/usr/include/{machine}-linux-gnu"))
        .output()
        .map_err(|e| format!("built where there was no clang ({e})"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| line.contains("error")).unwrap_or("it failed");
    Err(format!("built where clang could not compile it ({first})"))
}
