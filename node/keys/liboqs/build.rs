//! Turns the static liboqs that `oqs-sys` built into one shared library.
//!
//! A Rust `cdylib` would hide liboqs' own C symbols behind its version script,
//! so the C compiler links the archive, whole, and `compat.c` and `many.c` with it.
//! Two of liboqs' functions give way to those of `compat.c` (see there) by `--wrap`.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=PICKET_LIBOQS_OUT");
    println!("cargo:rerun-if-changed=compat.c");
    println!("cargo:rerun-if-changed=many.c");
    let root = PathBuf::from(env::var("DEP_OQS_ROOT").expect("oqs-sys names its root"));
    let out = PathBuf::from(env::var("PICKET_LIBOQS_OUT").expect("run build.sh, not cargo"));
    let archive = ["lib", "lib64"]
        .iter()
        .map(|lib| root.join(lib).join("liboqs.a"))
        .find(|path| path.is_file())
        .expect("oqs-sys built liboqs.a");

    // Clang knows the processor at hand by another word on ARM; gcc knows both there.
    let native = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("aarch64") => "-mcpu=native",
        _ => "-march=native",
    };
    let mut link = cc::Build::new()
        .opt_level(3)
        .include(root.join("include"))
        .get_compiler()
        .to_command();
    link.arg("-shared")
        .arg("-o")
        .arg(&out)
        .arg(native)
        .args(["compat.c", "many.c"]);
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("macos") {
        link.arg("-Wl,-force_load").arg(&archive);
    } else {
        link.args(["-Wl,--whole-archive"]).arg(&archive).args([
            "-Wl,--no-whole-archive",
            "-Wl,-soname,liboqs.so",
            "-Wl,-z,now,-z,relro,-z,noexecstack",
            "-Wl,--no-undefined",
        ]);
        if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
            for function in ["verify", "use_hint_avx"] {
                link.arg(format!("-Wl,--wrap=pqcrystals_ml_dsa_65_avx2_{function}"));
            }
        }
        link.args(["-lpthread", "-lc"]);
    }
    let status = link.status().expect("the C compiler runs");
    assert!(status.success(), "linking {} failed", out.display());
}
