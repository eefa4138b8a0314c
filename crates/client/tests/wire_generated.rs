//! The checked-in wire code is what `proto/` says. `UPDATE_GENERATED=1` writes it anew; neither `protoc` nor a build
//! script has a part in it. The crate has to build for that: write first, change the conversions then.

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
};

const CODE: &str = "ftl.v1.rs";
const DESCRIPTOR: &str = "descriptor.bin";

fn protos() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../proto")
        .canonicalize()
        .expect("the workspace has proto/")
}

fn checked_in() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire/generated")
}

/// Writes the Rust code and the descriptor set of the `.proto` files below `protos` to `out`.
fn generate(protos: &Path, out: &Path) {
    let mut files: Vec<PathBuf> = fs::read_dir(protos.join("ftl/v1"))
        .expect("proto/ftl/v1 is there")
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect();
    files.sort();
    let mut compiler = protox::Compiler::new([protos]).expect("proto/ can be included");
    compiler.include_imports(true).include_source_info(true);
    if let Err(error) = compiler.open_files(&files) {
        panic!("proto/ does not compile: {error:?}");
    }
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds(compiler.file_descriptor_set())
        .expect("the code can be written");
    // Comments and places of the source: reflection has no use for them, and they are most of its size.
    compiler.include_source_info(false);
    fs::write(out.join(DESCRIPTOR), compiler.encode_file_descriptor_set()).expect("the set can be written");
}

/// Which files differ between two folders of generated code.
fn differences(left: &Path, right: &Path) -> Vec<&'static str> {
    [CODE, DESCRIPTOR]
        .into_iter()
        .filter(|name| fs::read(left.join(name)).ok() != fs::read(right.join(name)).ok())
        .collect()
}

#[test]
fn checked_in_code_is_what_proto_says() {
    let fresh = tempfile::tempdir().expect("a folder");
    generate(&protos(), fresh.path());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        for name in [CODE, DESCRIPTOR] {
            fs::copy(fresh.path().join(name), checked_in().join(name)).expect("it can be written");
        }
    }
    let differing = differences(fresh.path(), &checked_in());
    assert!(
        differing.is_empty(),
        "{differing:?} differ from proto/; run `UPDATE_GENERATED=1 cargo test -p ftl-client --test wire_generated`"
    );
}

#[test]
fn a_changed_proto_gives_other_code() {
    let scratch = tempfile::tempdir().expect("a folder");
    let changed = scratch.path().join("ftl/v1");
    fs::create_dir_all(&changed).expect("it can be made");
    for entry in fs::read_dir(protos().join("ftl/v1")).expect("proto/ftl/v1 is there") {
        let path = entry.expect("it can be read").path();
        let text = fs::read_to_string(&path).expect("it is text");
        let text = text.replace("uint64 row_count = 5;", "uint64 row_count = 55;");
        fs::write(changed.join(path.file_name().expect("it has a name")), text).expect("it can be written");
    }
    let fresh = tempfile::tempdir().expect("a folder");
    generate(scratch.path(), fresh.path());
    assert_eq!(differences(fresh.path(), &checked_in()), [CODE, DESCRIPTOR]);
}

/// buf's STANDARD rules without those for the names of requests and responses, which AIP-131 to 136 contradict. buf
/// itself is a program of its own that a test can't ask for.
#[test]
fn names_follow_bufs_standard() {
    let set = FileDescriptorSet::decode(ftl_client::wire::FILE_DESCRIPTOR_SET).expect("it was encoded");
    let ours: Vec<_> = set.file.iter().filter(|file| file.package() == "ftl.v1").collect();
    assert_eq!(ours.len(), 13, "every file of proto/ftl/v1");
    let mut faults = Vec::new();
    for file in ours {
        assert!(file.name().starts_with("ftl/v1/"), "{}", file.name());
        for service in &file.service {
            check(
                &mut faults,
                service.name(),
                is_pascal(service.name()) && service.name().ends_with("Service"),
            );
            for method in &service.method {
                check(&mut faults, method.name(), is_pascal(method.name()));
            }
        }
        for message in &file.message_type {
            check_message(&mut faults, message);
        }
        for of_file in &file.enum_type {
            check_enum(&mut faults, of_file);
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn bad_names_are_found() {
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..Default::default()
    };
    let of_message = EnumDescriptorProto {
        name: Some("LossType".to_owned()),
        value: vec![value("LOSS_TYPE_NONE", 0), value("SIGMOID", 1), value("LOSS_TYPE_IPO", 2)],
        ..Default::default()
    };
    let field = FieldDescriptorProto { name: Some("lossType".to_owned()), ..Default::default() };
    let message = DescriptorProto {
        name: Some("method_spec".to_owned()),
        field: vec![field],
        enum_type: vec![of_message],
        ..Default::default()
    };
    let mut faults = Vec::new();
    check_message(&mut faults, &message);
    assert_eq!(faults, ["method_spec", "lossType", "LOSS_TYPE_NONE", "SIGMOID"]);
}

fn check(faults: &mut Vec<String>, name: &str, is_good: bool) {
    if !is_good {
        faults.push(name.to_owned());
    }
}

fn check_message(faults: &mut Vec<String>, message: &DescriptorProto) {
    // The compiler makes these for maps.
    if message.options.as_ref().is_some_and(|options| options.map_entry()) {
        return;
    }
    check(faults, message.name(), is_pascal(message.name()));
    for field in &message.field {
        check(faults, field.name(), is_snake(field.name()));
    }
    for oneof in &message.oneof_decl {
        // The compiler makes one with an underscore for each `optional`.
        check(faults, oneof.name(), is_snake(oneof.name().trim_start_matches('_')));
    }
    for nested in &message.nested_type {
        check_message(faults, nested);
    }
    for of_message in &message.enum_type {
        check_enum(faults, of_message);
    }
}

fn check_enum(faults: &mut Vec<String>, found: &EnumDescriptorProto) {
    check(faults, found.name(), is_pascal(found.name()));
    let mut prefix = String::new();
    for letter in found.name().chars() {
        if letter.is_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.extend(letter.to_uppercase());
    }
    for value in &found.value {
        let rest = value.name().strip_prefix(&prefix).and_then(|rest| rest.strip_prefix('_'));
        let is_good = match value.number() {
            0 => rest == Some("UNSPECIFIED"),
            _ => rest.is_some_and(|rest| {
                rest.bytes().all(|letter| letter.is_ascii_uppercase() || b"_0123456789".contains(&letter))
            }),
        };
        check(faults, value.name(), is_good);
    }
}

fn is_pascal(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_uppercase())
        && name.bytes().all(|letter| letter.is_ascii_alphanumeric())
}

fn is_snake(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_lowercase())
        && name.bytes().all(|letter| letter.is_ascii_lowercase() || b"_0123456789".contains(&letter))
}
