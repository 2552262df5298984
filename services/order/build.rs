//! A new file in migrations/ is a reason to compile again; the compiler doesn't see it by itself.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
