//! Checkpoints made to do harm: each is refused in one line, and nothing is allocated or called on its word.

use aquatint::checkpoint::{ModelFolder, Tensors};
use aquatint::nn::TensorSource;
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Asserts that opening these bytes and reading every tensor fails, in one line with all of `words` in it.
#[track_caller]
fn refused(bytes: &[u8], file: &str, words: &[&str]) {
    let result = Tensors::from_bytes(bytes.to_vec(), file)
        .and_then(|tensors| tensors.names().try_for_each(|name| tensors.read(name).map(drop)));
    says(result.expect_err("it was taken"), &[&[file], words].concat());
}

#[track_caller]
fn says(error: aquatint::Error, words: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() < 1000, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

// ---- safetensors ----

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

#[track_caller]
fn header_refused(header: &str, data: usize, words: &[&str]) {
    refused(&safetensors(header, data), "a.safetensors", words);
}

#[test]
fn safetensors_that_are_cut_off() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let whole = safetensors(header, 8);
    assert_eq!(Tensors::from_bytes(whole.clone(), "a").unwrap().read("a").unwrap()[..], [0.0, 0.0]);
    for len in 0..whole.len() {
        refused(&whole[..len], "a.safetensors", &["not a whole safetensors file"]);
    }
    refused(&[&whole[..], b"x"].concat(), "a.safetensors", &["take 8 bytes, there are 9"]);
    for length in [u64::MAX, i64::MAX as u64, 1 << 40, 100_000_000, header.len() as u64 + 9] {
        let mut huge = whole.clone();
        huge[..8].copy_from_slice(&length.to_le_bytes());
        refused(&huge, "a.safetensors", &["a header of", &length.to_string()]);
    }
}

#[test]
fn safetensors_whose_offsets_do_not_fit() {
    let tensor = |name: &str, from: u64, to: u64| {
        format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}}"#, to.wrapping_sub(from))
    };
    let both = |one: &str, two: &str| format!("{{{one},{two}}}");
    header_refused(&both(&tensor("a", 0, 8), &tensor("b", 4, 12)), 12, &["\"b\"", "bytes 4 to 12", "ends at 8"]);
    header_refused(&both(&tensor("a", 0, 4), &tensor("b", 6, 8)), 8, &["\"b\"", "ends at 4"]);
    header_refused(&both(&tensor("a", 0, 4), &tensor("b", 0, 4)), 4, &["ends at 4"]);
    header_refused(&format!("{{{}}}", tensor("a", 0, 1 << 60)), 8, &["there are 8"]);
    header_refused(&format!("{{{}}}", tensor("a", 8, 0)), 8, &["\"a\""]);
    header_refused(r#"{"a":{"dtype":"U8","shape":[],"data_offsets":[-1,0]}}"#, 0, &["\"a\""]);
    header_refused(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8, &["[3]", "8 bytes"]);
    let size = u64::MAX / 2;
    let overflows = format!(r#"{{"a":{{"dtype":"F32","shape":[{size},{size}],"data_offsets":[0,4]}}}}"#);
    header_refused(&overflows, 4, &["shape"]);
    let wraps = r#"{"a":{"dtype":"F64","shape":[4294967296,536870912],"data_offsets":[0,0]}}"#;
    header_refused(wraps, 0, &["shape"]);
    let too_large = r#"{"a":{"dtype":"U8","shape":[99999999999999999999999],"data_offsets":[0,0]}}"#;
    header_refused(too_large, 0, &["\"a\""]);
}

#[test]
fn safetensors_whose_header_is_not_as_it_should_be() {
    let a = r#""a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    header_refused(&format!("{{{a},{a}}}"), 0, &["\"a\" is there twice"]);
    header_refused(&"[".repeat(100_000), 0, &["not JSON"]);
    header_refused(&format!(r#"{{"a":{}"#, r#"{"a":"#.repeat(100_000)), 0, &["not JSON"]);
    header_refused("[]", 0, &["not JSON as it should be"]);
    header_refused(r#"{"a":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#, 1, &["F8_E4M3", "F32, F16"]);
    header_refused(r#"{"a":3}"#, 0, &["\"a\""]);
    header_refused(r#"{"__metadata__":{"a":[1]}}"#, 0, &["__metadata__"]);
    header_refused(&a.replace("\"a\"", r#"{"a\nb""#).replace("[0,0]}", "[0,0]}}"), 0, &["printable"]);
    let long = format!("{{{}}}", a.replace("\"a\"", &format!("{:?}", "x".repeat(100_000))));
    header_refused(&long, 0, &["name of at most"]);
}

// ---- pickles ----

/// An archive of `torch.save` with this pickle and a storage of 64 bytes.
fn archive(pickle: &[u8]) -> Vec<u8> {
    zip(&[("a/data.pkl", pickle, CompressionMethod::Stored), ("a/data/0", &[0; 64], CompressionMethod::Stored)])
}

fn zip(members: &[(&str, &[u8], CompressionMethod)]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content, method) in members {
        archive.start_file(*name, SimpleFileOptions::default().compression_method(*method)).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn integer(value: i64) -> Vec<u8> {
    [&[0x8a, 8], &value.to_le_bytes()[..]].concat()
}

fn tuple(values: &[i64]) -> Vec<u8> {
    [b"(".to_vec(), values.iter().copied().flat_map(integer).collect(), b"t".to_vec()].concat()
}

/// A tensor of the storage `0`, said to be of that many floats.
fn tensor(elements: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Vec<u8> {
    let storage = [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), integer(elements)];
    let arguments = [integer(offset), tuple(shape), tuple(strides), b"\x89}".to_vec()].concat();
    let storage = [b"(".to_vec(), storage.concat(), b"tQ".to_vec()].concat();
    [b"ctorch._utils\n_rebuild_tensor_v2\n(".to_vec(), storage, arguments, b"tR".to_vec()].concat()
}

/// A pickle of a dictionary with one entry.
fn dict_of(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}".to_vec(), text("w"), value.to_vec(), b"s.".to_vec()].concat()
}

#[track_caller]
fn pickle_refused(pickle: &[u8], words: &[&str]) {
    refused(&archive(pickle), "a.pt", words);
}

#[test]
fn pickles_that_call_functions() {
    let calls = |call: &[u8], name: &str| pickle_refused(&dict_of(call), &["calls", name, "does not need"]);
    calls(b"cos\nsystem\n(X\x02\x00\x00\x00lstR", "os.system");
    calls(b"cbuiltins\neval\n(X\x01\x00\x00\x001tR", "builtins.eval");
    calls(b"\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R", "os.system");
    calls(b"ctorch.storage\n_load_from_bytes\n(tR", "torch.storage._load_from_bytes");
    calls(b"ctorch\nload\n(tR", "torch.load");
    calls(b"ctorch._utils\n_rebuild_tensor\n(tR", "_rebuild_tensor");
    calls(b"\x8c\x04o\ns\n\x8c\x06system\x93", "o\\ns\\n.system");
    // Named is refused already, before anything could be done with it.
    pickle_refused(b"\x80\x02cos\nsystem\n.", &["os.system"]);
    pickle_refused(&dict_of(b"(cos\nsystem\no"), &["os.system"]);
    pickle_refused(&dict_of(b"(ios\nsystem\n"), &["makes an object"]);
    pickle_refused(&dict_of(b"ccollections\nOrderedDict\n)\x81"), &["makes an object"]);
    pickle_refused(&dict_of(b"ctorch\nFloatStorage\n)R"), &["makes a storage"]);
    pickle_refused(&dict_of(b"ctorch\ndevice\n)R}b"), &["sets an object's state"]);
    pickle_refused(&dict_of(b"\x82\x01"), &["torch.save does not write"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("touched");
    let command = format!("touch {}", file.display());
    calls(&[b"cposix\nsystem\n(".to_vec(), text(&command), b"tR".to_vec()].concat(), "posix.system");
    assert!(!file.exists());
}

#[test]
fn pickles_with_counts_and_lengths_of_nothing() {
    for value in [
        &b"X\xff\xff\xff\xff"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"B\xff\xff\xff\x7f",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\x7f",
        b"\x8a\xff",
        b"J\x01",
        b"cos",
    ] {
        pickle_refused(&dict_of(value)[..3 + 6 + value.len()], &["broken pickle", "cut off"]);
    }
    pickle_refused(b"", &["broken pickle"]);
    pickle_refused(b"\x80\x02", &["broken pickle"]);
    pickle_refused(b"\x80\x01}.", &["protocol"]);
    pickle_refused(b"\x80\x02h\x05.", &["kept under this number"]);
    pickle_refused(b"\x80\x02j\xff\xff\xff\xff.", &["kept under this number"]);
    for empty in [&b"0"[..], b"t", b"s", b"u", b"R", b"Q", b"b", b"a", b"e", b"\x85", b"\x93", b"q\x01", b"\x94", b"2"]
    {
        pickle_refused(&[b"\x80\x02", empty, b"."].concat(), &["broken pickle"]);
    }
    pickle_refused(b"\x80\x02(K\x01(0000.", &["broken pickle"]);
    pickle_refused(b"\x80\x02}(K\x01u.", &["broken pickle"]);
    pickle_refused(b"\x80\x02K\x01.", &["no dictionary of tensors"]);
    pickle_refused(b"\x80\x02}.", &["no tensors"]);
    // A name may be kept under the largest number, which takes no room.
    let far = [b"\x80\x02}r\xff\xff\xff\xff".to_vec(), text("w"), tensor(16, 0, &[16], &[1]), b"s.".to_vec()].concat();
    assert_eq!(Tensors::from_bytes(archive(&far), "a.pt").unwrap().shape("w"), Some(&[16][..]));
}

#[test]
fn pickles_that_are_deep_or_grow() {
    let deep = |open: &[u8]| [b"\x80\x02".to_vec(), open.repeat(1_000_000), b".".to_vec()].concat();
    pickle_refused(&deep(b"]("), &["broken pickle"]);
    pickle_refused(&deep(b"]"), &["no dictionary"]);
    pickle_refused(&deep(b"("), &["broken pickle"]);
    // Each a tuple of the one before.
    pickle_refused(&[b"\x80\x02]".to_vec(), b"\x85".repeat(1_000_000), b".".to_vec()].concat(), &["no dictionary"]);
    // Each a tuple of three of the one before: 3^1000 of the first, if it were written out.
    let doubling = b"q\x00h\x00h\x00\x87".repeat(1000);
    pickle_refused(&[b"\x80\x02]".to_vec(), doubling, b".".to_vec()].concat(), &["no dictionary"]);
    // A list that holds itself.
    pickle_refused(b"\x80\x02]q\x00h\x00a.", &["no dictionary"]);
    let itself = [b"\x80\x02}q\x00".to_vec(), text("model"), b"h\x00s.".to_vec()].concat();
    pickle_refused(&itself, &["no tensors"]);
    // A million tensors of one long list of sizes.
    let sizes = [b"(".to_vec(), b"K\x01".repeat(100_000), b"tq\x01".to_vec()].concat();
    let long = tensor(16, 0, &[], &[]).windows(2).position(|pair| pair == b"(t").map(|at| {
        let tensor = tensor(16, 0, &[], &[]);
        [&tensor[..at], &sizes, b"h\x01", &tensor[at + 4..]].concat()
    });
    pickle_refused(&dict_of(&long.unwrap()), &["more than 16 axes"]);
    // Many dictionaries of one long list of pairs, and many tensors of one tuple of arguments: what one call builds from
    // what was built before takes a few bytes.
    let pairs = [b"\x80\x02K\x01K\x02\x86q\x01]q\x02(".to_vec(), b"h\x01".repeat(100_000), b"e\x85q\x03".to_vec()];
    let dicts = [pairs.concat(), b"ccollections\nOrderedDict\nq\x04".to_vec(), b"h\x04h\x03R".repeat(100_000)].concat();
    pickle_refused(&[&dicts[..], b"."].concat(), &["builds more than"]);
    let one = tensor(16, 0, &[1; 16], &[1; 16]);
    let keep = [b"\x80\x02".to_vec(), one[..one.len() - 1].to_vec(), b"q\x01".to_vec()].concat();
    let tensors =
        [keep, b"ctorch._utils\n_rebuild_tensor_v2\nq\x02".to_vec(), b"h\x02h\x01R".repeat(2_000_000)].concat();
    pickle_refused(&[&tensors[..], b"."].concat(), &["builds more than 8388608 values"]);
    // One value kept, or put on the stack, nine million times.
    pickle_refused(&[b"\x80\x02K\x01".to_vec(), b"\x94".repeat(9_000_000)].concat(), &["builds more than"]);
    pickle_refused(&[b"\x80\x02".to_vec(), b"N".repeat(9_000_000)].concat(), &["builds more than"]);
    // A long dictionary without tensors, a million times under a name that is looked into.
    let long =
        [b"\x80\x02}(".to_vec(), b"K\x01N".repeat(500_000), b"uq\x01".to_vec(), text("model"), b"q\x02".to_vec()];
    let often = [long.concat(), b"}(".to_vec(), b"h\x02h\x01".repeat(500_000), b"u.".to_vec()].concat();
    pickle_refused(&often, &["no tensors"]);
    let large = vec![b'N'; (1 << 24) + 1];
    pickle_refused(&large, &["16777216"]);
}

#[test]
fn tensors_that_leave_their_storage() {
    let good = dict_of(&tensor(16, 4, &[2, 3], &[6, 1]));
    assert_eq!(Tensors::from_bytes(archive(&good), "a.pt").unwrap().read("w").unwrap().len(), 6);
    let leaves = |tensor: &[u8]| pickle_refused(&dict_of(tensor), &["\"w\"", "leaves its storage of 16"]);
    leaves(&tensor(16, 0, &[17], &[1]));
    leaves(&tensor(16, 16, &[1], &[1]));
    leaves(&tensor(16, 0, &[4, 4], &[5, 1]));
    leaves(&tensor(16, i64::MAX, &[2], &[1]));
    leaves(&tensor(16, 1, &[2], &[i64::MAX]));
    leaves(&tensor(16, 0, &[i64::MAX, i64::MAX], &[i64::MAX, i64::MAX]));
    leaves(&tensor(16, 17, &[0], &[1]));
    let repeats = |tensor: &[u8]| pickle_refused(&dict_of(tensor), &["\"w\"", "repeats"]);
    repeats(&tensor(16, 0, &[1 << 40], &[0]));
    repeats(&tensor(16, 0, &[i64::MAX, i64::MAX], &[0, 0]));
    repeats(&tensor(16, 0, &[8, 8], &[1, 1]));
    pickle_refused(&dict_of(&tensor(16, 0, &[-1], &[1])), &["negative"]);
    pickle_refused(&dict_of(&tensor(16, 0, &[4], &[-1])), &["negative"]);
    pickle_refused(&dict_of(&tensor(16, -1, &[4], &[1])), &["negative"]);
    pickle_refused(&dict_of(&tensor(16, 0, &[4], &[1, 1])), &["strides"]);
    pickle_refused(&dict_of(&tensor(17, 0, &[4], &[1])), &["17 elements is 68 bytes", "64"]);
    pickle_refused(&dict_of(&tensor(i64::MAX, 0, &[4], &[1])), &["too many elements"]);
    let elsewhere = tensor(16, 0, &[4], &[1]);
    let at = elsewhere.windows(6).position(|part| part == b"X\x01\0\0\x000").unwrap();
    let elsewhere = [&elsewhere[..at], &text("../../0"), &elsewhere[at + 6..]].concat();
    pickle_refused(&dict_of(&elsewhere), &["no data/../../0"]);
    let once = dict_of(&tensor(16, 0, &[4], &[1]));
    let twice = [&once[..once.len() - 1], &once[3..]].concat();
    pickle_refused(&twice, &["w is there twice"]);
}

// ---- archives ----

fn small() -> Vec<u8> {
    dict_of(&tensor(16, 0, &[16], &[1]))
}

/// Writes a number over a field of the central directory's entry of a member.
fn patched(mut zip: Vec<u8>, member: &str, field: usize, number: u32) -> Vec<u8> {
    let name = zip.windows(member.len()).rposition(|part| part == member.as_bytes()).unwrap();
    let entry = name - 46;
    assert_eq!(zip[entry..entry + 4], *b"PK\x01\x02");
    zip[entry + field..][..4].copy_from_slice(&number.to_le_bytes());
    zip
}

#[test]
fn archives_that_are_cut_off_or_lie() {
    let whole = archive(&small());
    for len in 4..whole.len() {
        refused(&whole[..len], "a.pt", &["zip archive"]);
    }
    let (compressed, size, header) = (20, 24, 42);
    refused(&patched(whole.clone(), "a/data/0", compressed, 1 << 30), "a.pt", &["inside the file"]);
    refused(&patched(whole.clone(), "a/data/0", size, 1 << 30), "a.pt", &["inside the file"]);
    refused(&patched(whole.clone(), "a/data/0", header, 1 << 30), "a.pt", &["zip archive"]);
    refused(&patched(whole.clone(), "a/data/0", compressed, 63), "a.pt", &["inside the file"]);
    refused(b"PK\x03\x04", "a.pt", &["zip archive"]);
    let stored = CompressionMethod::Stored;
    refused(&zip(&[("a/b", b"", stored)]), "a.pt", &["without one data.pkl"]);
    refused(&zip(&[("a/data.pkl", b"", stored), ("b/data.pkl", b"", stored)]), "a.pt", &["without one data.pkl"]);
    let small = small();
    let with = |name: &str, content: &[u8]| {
        zip(&[("a/data.pkl", &small[..], stored), ("a/data/0", &[0; 64][..], stored), (name, content, stored)])
    };
    for outside in ["../a", "a/../../b", "/a", "a\\..\\b", "\\a"] {
        refused(&with(outside, b""), "a.pt", &["outside of the archive"]);
    }
    let mut twice = with("a/data/1", b"");
    for at in 0..twice.len() - 8 {
        if twice[at..at + 8] == *b"a/data/1" {
            twice[at + 7] = b'0';
        }
    }
    refused(&twice, "a.pt", &["two members of one name"]);
    refused(&with("a/byteorder", b"big"), "a.pt", &["byteorder is \"big\""]);
}

#[test]
fn archives_that_inflate() {
    let (stored, deflated) = (CompressionMethod::Stored, CompressionMethod::Deflated);
    let with_storage = |content: &[u8]| zip(&[("a/data.pkl", &small(), stored), ("a/data/0", content, deflated)]);
    assert!(Tensors::from_bytes(with_storage(&[0; 64]), "a.pt").unwrap().read("w").is_ok());
    let bomb = with_storage(&vec![0; 1 << 26]);
    assert!(bomb.len() < 1 << 17);
    refused(&bomb, "a.pt", &["the archive has 67108864"]);
    // What the directory says is less than what comes out, and the other way round.
    refused(&patched(bomb, "a/data/0", 24, 64), "a.pt", &["inflates to more than 64"]);
    refused(&patched(with_storage(&[0; 60]), "a/data/0", 24, 64), "a.pt", &["inflates to 60 bytes, expected 64"]);
    let mut garbage = with_storage(&[7; 64]);
    let data = garbage.windows(8).position(|part| part == b"a/data/0").unwrap() + 8;
    garbage[data] = 0xff;
    refused(&garbage, "a.pt", &["does not inflate"]);
    // A storage that many tensors look into would be inflated for each.
    let part = dict_of(&tensor(16, 0, &[4], &[1]));
    let shared = zip(&[("a/data.pkl", &part, stored), ("a/data/0", &[0; 64], deflated)]);
    refused(&shared, "a.pt", &["deflated and holds more"]);
    let pickle = zip(&[("a/data.pkl", &vec![b'N'; 1 << 26], deflated), ("a/data/0", &[0; 64], stored)]);
    refused(&pickle, "a.pt", &["data.pkl is larger than"]);
    let order = zip(&[("a/data.pkl", &small(), stored), ("a/byteorder", &vec![b'l'; 1 << 26], deflated)]);
    refused(&order, "a.pt", &["byteorder is larger than"]);
}

#[test]
fn files_of_other_formats() {
    refused(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "a.pt", &["before its version 1.6"]);
    let tar = [&[0; 257][..], b"ustar", &[0; 300]].concat();
    refused(&tar, "a.pth", &["before its version 1.6"]);
    refused(b"version https://git-lfs.github.com/spec/v1\n", "a.safetensors", &["Git LFS"]);
    refused(b"", "a.bin", &["not a zip archive"]);
    refused(b"hello", "a.ckpt", &["not a zip archive"]);
    refused(b"hello", "a.safetensors", &["not a whole safetensors"]);
}

// ---- folders ----

const CONFIG: &str = r#"{"_class_name": "UNet2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1,
    "block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
    "layers_per_block": 1, "norm_num_groups": 4, "add_attention": false}"#;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

#[track_caller]
fn folder_refused(files: &[(&str, &[u8])], words: &[&str]) {
    let folder = folder(files);
    says(ModelFolder::read(folder.path()).err().expect("it was taken"), words);
}

#[test]
fn folders_that_point_elsewhere() {
    let index = |file: &str| format!(r#"{{"weight_map": {{"conv_in.weight": {file:?}}}}}"#);
    let name = "diffusion_pytorch_model.safetensors.index.json";
    let with_index = |text: &str, words: &[&str]| {
        let empty = safetensors("{}", 0);
        let files = [("config.json", CONFIG.as_bytes()), (name, text.as_bytes()), ("empty.safetensors", &empty)];
        folder_refused(&files, words);
    };
    with_index(&index("../../etc/passwd"), &["../../etc/passwd", "in the same folder"]);
    with_index(&index("/etc/passwd"), &["/etc/passwd", "in the same folder"]);
    with_index(&index("missing.safetensors"), &["names missing.safetensors, which is not there"]);
    with_index(&index("empty.safetensors"), &["conv_in.weight is not in empty.safetensors"]);
    with_index(r#"{"weight_map": {"a": "x", "a": "x"}}"#, &["\"a\" is there twice"]);
    with_index("{}", &["weight_map"]);
    with_index(&"[".repeat(100_000), &["not an index"]);

    let pipeline = |index: &str, words: &[&str]| folder_refused(&[("model_index.json", index.as_bytes())], words);
    pipeline(r#"{"../../etc": ["diffusers", "UNet2DModel"]}"#, &["../../etc", "no name of a part"]);
    pipeline(r#"{"unet": ["diffusers", "UNet2DModel"], "vqvae": ["diffusers", "VQModel"]}"#, &["vqvae", "VQModel"]);
    pipeline(r#"{"scheduler": ["diffusers", "DDPMScheduler"]}"#, &["no unet"]);
    pipeline(
        r#"{"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}"#,
        &["there is no"],
    );
    pipeline("[]", &["expected an object"]);
    pipeline(&"{\"a\":".repeat(100_000), &["not JSON"]);
}

#[test]
fn folders_that_promise_too_much() {
    // A network of a hundred terabytes, and a file without any of it.
    let huge = CONFIG.replace("[8]", "[65536]").replace("\"in_channels\": 1", "\"in_channels\": 65536");
    let empty = safetensors("{}", 0);
    let files = [("config.json", huge.as_bytes()), ("diffusion_pytorch_model.safetensors", &empty)];
    let folder = folder(&files);
    assert!(ModelFolder::read(folder.path()).is_err());
    let files = [("config.json", CONFIG.as_bytes()), ("diffusion_pytorch_model.safetensors", &empty)];
    folder_refused(&files, &["tensor conv_in.weight [8, 1, 3, 3] is missing"]);
    folder_refused(&files[..1], &["no weights", "diffusion_pytorch_model.fp16.safetensors"]);
    says(ModelFolder::read(Path::new("/no/such/model")).err().unwrap(), &["/no/such/model: does not exist"]);
}
