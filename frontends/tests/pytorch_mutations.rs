//! Thousands of damaged and hostile checkpoints: each is read or refused, in bounded time and memory, without a panic.
//!
//! The mutants come from a fixed seed, so a failure names its number and can be repeated. Allocations are counted by a
//! global allocator, which is why this test is a program of its own.

mod counting;
mod mutants;

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mutants::{Random, mutate};
use unfloat_frontends::pytorch::{Checkpoint, CheckpointFile, StateOptions, read_state};
use unfloat_ir::Diagnostics;

/// Only one file at a time, or the peak would be that of several.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes that reading may allocate beyond a multiple of the file: what may grow from few bytes, the zip reader's
/// window.
const BASE: usize = 24 << 20;
/// Bytes per byte of the file: what tensors may grow by, and the records of a pickle.
const PER_BYTE: usize = 200;
const TIME: Duration = Duration::from_secs(2);

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/pytorch/checkpoints").join(name);
    fs::read(path).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Reads under the bounds; `what` names the mutant.
fn bounded(what: &str, bytes: Vec<u8>, key: Option<&str>) -> Result<Checkpoint, Diagnostics> {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let size = bytes.len();
    let options = StateOptions { key: key.map(str::to_string), ..StateOptions::default() };
    let start = Instant::now();
    let (result, peak) = counting::peak_of(|| {
        std::panic::catch_unwind(|| read_state(CheckpointFile::from_bytes("m", bytes), &options))
    });
    let time = start.elapsed();
    let Ok(result) = result else { panic!("{what}: the reader panicked") };
    assert!(time < TIME, "{what}: took {time:?}");
    assert!(peak < BASE + PER_BYTE * size, "{what}: allocated {peak} bytes for {size}");
    match &result {
        Ok(checkpoint) => {
            for entry in &checkpoint.state.entries {
                assert_eq!(entry.tensor.fault(), None, "{what}: {}", entry.key);
            }
            assert_eq!(checkpoint.state.duplicate(), None, "{what}");
        }
        Err(found) => assert!(found.has_errors(), "{what}: refused without an error"),
    }
    result
}

/// A zip archive of stored members: checksums are right, so that damage inside reaches the readers behind.
fn zipped(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in members {
        zip.start_file(*name, options).expect("a member");
        zip.write_all(content).expect("a member");
    }
    zip.finish().expect("an archive").into_inner()
}

/// The members of an archive.
fn members(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).expect("an archive");
    let count = zip.len();
    let read = |i| {
        let mut member = zip.by_index(i).expect("a member");
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut member, &mut content).expect("a member");
        (member.name().expect("a name").into_owned(), content)
    };
    (0..count).map(read).collect()
}

/// Files of every kind.
const SEEDS: &[&str] = &[
    "state_protocol2.pt",
    "deflated.pt",
    "legacy_protocol2.pth",
    "legacy_protocol4.pth",
    "wrapped_legacy.pth.tar",
    "module_legacy.pth",
    "quantized_legacy.pth",
    "strides_legacy.pth",
    "dtypes.safetensors",
    "arrays.npz",
    "compressed.npz",
    "dictionary.npy",
    "tensors.pkl",
    "arrays_protocol0.pkl",
    "arrays_protocol2.pkl",
    "arrays_protocol5.pkl",
    "python2_protocol1.pkl",
];

#[test]
fn damaged_files_are_read_or_refused() {
    let (mut refused, mut total) = (0usize, 0usize);
    for (number, name) in SEEDS.iter().enumerate() {
        let whole = fixture(name);
        bounded(name, whole.clone(), None).unwrap_or_else(|e| panic!("{name}: {e}"));
        for mutant in 0..300u64 {
            let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number as u64) << 32 ^ (mutant + 1));
            let mut bytes = whole.clone();
            let how = mutate(&mut bytes, &mut random);
            total += 1;
            let key = (mutant % 5 == 0).then_some(".");
            refused += usize::from(bounded(&format!("{name} #{mutant}: {how}"), bytes, key).is_err());
        }
    }
    println!("{refused} of {total} mutants refused");
    assert!(total == 5100 && refused > total / 4 && refused < total, "{refused} of {total} refused");
}

/// Pickles within archives, whose checksums would hide most damage.
#[test]
fn damaged_pickles_in_whole_archives_are_read_or_refused() {
    let (mut refused, mut total) = (0usize, 0usize);
    let seeds = [
        ("wrapped_state_dict.pth.tar", "data.pkl"),
        ("module_parallel.pt", "data.pkl"),
        ("scripted.pt", "data.pkl"),
        ("frozen.pt", "constants.pkl"),
        ("quantized.pt", "data.pkl"),
        ("strides.pt", "data.pkl"),
        ("arrays_in_torch.pt", "data.pkl"),
        ("objects.npz", "weights.npy"),
        ("arrays.npz", "weight.npy"),
    ];
    for (number, (name, member)) in seeds.iter().enumerate() {
        let whole = members(&fixture(name));
        for mutant in 0..300u64 {
            let mut random = Random(0x2545_f491_4f6c_dd1d ^ (number as u64) << 32 ^ (mutant + 1));
            let mut parts = whole.clone();
            let (_, content) = parts.iter_mut().find(|p| p.0.ends_with(member)).expect(member);
            let how = mutate(content, &mut random);
            let parts: Vec<(&str, &[u8])> = parts.iter().map(|p| (p.0.as_str(), p.1.as_slice())).collect();
            total += 1;
            let what = format!("{name}: {member} #{mutant}: {how}");
            refused += usize::from(bounded(&what, zipped(&parts), None).is_err());
        }
    }
    println!("{refused} of {total} mutants refused");
    assert!(total == 2700 && refused > total / 4 && refused < total, "{refused} of {total} refused");
}

/// A pickle as a file of its own: protocol 2, the given opcodes, the end.
fn pickle(opcodes: &[u8]) -> Vec<u8> {
    [b"\x80\x02", opcodes, b"."].concat()
}

/// An array of bytes, as NumPy pickles it, left in the memo under 0.
fn array(data: &[u8]) -> Vec<u8> {
    let mut out = b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01(K".to_vec();
    out.push(u8::try_from(data.len()).expect("few"));
    out.extend(b"tcnumpy\ndtype\n(U\x02u1tR\x89U");
    out.push(data.len() as u8);
    out.extend(data);
    out.extend(b"tbq\0");
    out
}

#[test]
fn hostile_pickles_are_refused_or_read_in_bounds() {
    let n = 100_000;
    let repeat = |part: &[u8]| part.repeat(n);
    let files: Vec<(&str, Vec<u8>)> = vec![
        ("deep lists", [repeat(b"]"), repeat(b"a")[1..].to_vec()].concat()),
        ("deep tuples", [b"N".to_vec(), repeat(b"\x85")].concat()),
        ("deep calls", [b"cos\nsystem\n".to_vec(), repeat(b"\x85cos\nsystem\n\x86")].concat()),
        ("deep dictionaries", [repeat(b"}K\x01"), b"N".to_vec(), repeat(b"s")].concat()),
        ("deep arrays", [b"N".to_vec(), repeat(b"\x85cnumpy.core.multiarray\n_reconstruct\n\x86")].concat()),
        ("a list in itself", b"]q\0h\0ah\0a".to_vec()),
        ("a dictionary in itself", b"}q\0(K\x01h\0K\x02h\0u".to_vec()),
        (
            "one array in many places",
            [b"(".to_vec(), array(&[7; 200]), repeat(b"h\0"), b"l".to_vec()].concat(),
        ),
        ("many marks", repeat(b"(")),
        ("many classes", repeat(b"(i\n\n")),
        ("many empty things", [repeat(b"]"), b"0".repeat(n - 1)].concat()),
        ("many numbers of the memo", [b"N".to_vec(), repeat(b"r\xff\xff\xff\x7f")].concat()),
        ("long lengths", b"B\xff\xff\xff\xff".to_vec()),
        ("longer lengths", b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("negative lengths", b"T\xff\xff\xff\xff".to_vec()),
        ("long integers", b"\x8b\xff\xff\xff\x7f".to_vec()),
        ("no end of a line", [b"S'".to_vec(), repeat(b"a")].concat()),
        // Each list holds the one before it twice: 2^1000 leaves.
        ("doubling lists", {
            let mut out = array(&[1]);
            for _ in 0..1000 {
                out.extend(b"q\x01(h\x01h\x01l");
            }
            out
        }),
        // Thousands of objects share one large state.
        ("a shared state", {
            let mut out = [b"}q\x01(".to_vec(), b"U\x01aN".repeat(20_000), b"u0(".to_vec()].concat();
            out.extend(b"cm\nC\n)\x81h\x01b".repeat(10_000));
            out.extend(b"l");
            out
        }),
        ("one long key under which much stands", {
            let mut out = array(&[1]);
            out.extend(b"0(T");
            out.extend(100_000u32.to_le_bytes());
            out.extend(vec![b'k'; 100_000]);
            out.extend(b"q\x01h\0");
            out.extend(b"h\x01h\0".repeat(50_000));
            out.extend(b"d");
            out
        }),
        // One number, a million times over.
        ("wide strides of nothing", {
            let mut out = b"ctorch._utils\n_rebuild_tensor\n((U\x07storagectorch\nByteStorage\nU\x010U\x03cpuK\x01tQK\0(".to_vec();
            out.extend(b"M\xff\xff".repeat(4));
            out.extend(b"t(K\0K\0K\0K\0ttR");
            out
        }),
        ("an array of an impossible shape", {
            let mut out = b"cnumpy.core.multiarray\n_reconstruct\n)R(K\x01(".to_vec();
            out.extend(b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f".repeat(3));
            out.extend(b"tcnumpy\ndtype\n(U\x02f4tR\x89U\0tb");
            out
        }),
    ];
    for (what, opcodes) in files {
        for key in [None, Some(".")] {
            // Refused or read: the bounds are what is checked.
            let in_file = bounded(what, pickle(&opcodes), key);
            let members: [(&str, &[u8]); 2] = [("a/data.pkl", &pickle(&opcodes)), ("a/data/0", &[0; 16])];
            let in_archive = bounded(what, zipped(&members), key);
            assert_eq!(in_file.is_ok(), in_archive.is_ok(), "{what}");
        }
    }
}

/// Two bytes show a key of a thousand again, in the one list of a file whose parts are all copied.
#[test]
fn a_storage_that_is_listed_a_million_times_is_refused_at_the_second() {
    let whole = fixture("legacy_protocol2.pth");
    // Magic number, version, facts, object: all before the list of storages.
    let list = (0..whole.len()).rev().find(|&i| whole[i..].starts_with(b"\x80\x02]")).expect("the list");
    let head = whole[..list].to_vec();
    let key = [b"X\x00\x04\x00\x00".to_vec(), vec![b'k'; 1024], b"q\x01".to_vec()].concat();
    let list = [b"(".to_vec(), key, b"h\x01".repeat(1_000_000), b"l".to_vec()].concat();
    let found =
        bounded("a long list", [head, pickle(&list)].concat(), None).expect_err("a refusal").to_string();
    assert!(found.contains("twice"), "{found}");
}

/// A member can unpack to a thousand times its bytes.
#[test]
fn bombs_are_refused() {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    let shape = unfloat_ir::Shape::from([64usize << 20]);
    let header = unfloat_npy::write_npy_data(&shape, &unfloat_ir::Data::I8(Vec::new()), false);
    zip.start_file("a.npy", options).expect("a member");
    zip.write_all(&header).expect("a member");
    // In pieces, since whatever is allocated here counts for the tests beside this one.
    for _ in 0..1024 {
        zip.write_all(&[0; 64 << 10]).expect("a member");
    }
    let bytes = zip.finish().expect("an archive").into_inner();
    assert!(bytes.len() < 100_000);
    let found = bounded("a bomb", bytes, None).expect_err("a refusal").to_string();
    assert!(found.contains("64 times the file"), "{found}");
}

#[test]
fn damaged_headers_of_safetensors_are_refused() {
    let file = |header: &str, body: usize| {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; body]].concat()
    };
    let one = |dtype: &str, shape: &str, offsets: &str| {
        format!("{{\"w\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}")
    };
    assert!(bounded("whole", file(&one("F32", "[2]", "[0,8]"), 8), None).is_ok());
    for (what, header, body, word) in [
        ("another size", one("F32", "[3]", "[0,8]"), 8, "8 bytes"),
        ("beyond the end", one("F32", "[4]", "[0,16]"), 8, "cut off"),
        ("reversed", one("F32", "[2]", "[8,0]"), 8, "data_offsets"),
        ("negative", one("F32", "[2]", "[-8,0]"), 8, "data_offsets"),
        ("huge", one("F32", "[2]", "[0,18446744073709551615]"), 8, "cut off"),
        ("overflowing", one("F32", "[9223372036854775807,9223372036854775807,9]", "[0,8]"), 8, "8 bytes"),
        ("nine axes", one("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "9 axes"),
        ("bytes behind", one("F32", "[2]", "[0,8]"), 9, "belong to none"),
        ("a gap", one("F32", "[2]", "[4,12]"), 12, "belong to no tensor"),
        ("no type", "{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}".to_string(), 4, "dtype"),
        ("unknown type", one("F33", "[2]", "[0,8]"), 8, "F33"),
        ("a list", "{\"w\":[]}".to_string(), 0, "dtype"),
        ("nothing", "{}".to_string(), 0, "no tensors"),
        ("deep", format!("{{\"w\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000)), 0, "recursion"),
        (
            "twice",
            one("F32", "[2]", "[0,8]").replace('}', "")
                + "},\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,16]}}",
            16,
            "two tensors",
        ),
        (
            "overlapping",
            one("F32", "[2]", "[0,8]").replace('}', "")
                + "},\"v\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
            12,
            "overlaps",
        ),
    ] {
        let found = bounded(what, file(&header, body), None).expect_err(what).to_string();
        assert!(found.contains(word), "{what}: {found}");
    }
    let mut long = file(&one("F32", "[2]", "[0,8]"), 8);
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(bounded("a long header", long, None).is_err());
}
