//! Compiles the crate again when a migration changes: `embed_migrations!` reads a folder that Cargo does not watch.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
