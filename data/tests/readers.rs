//! Every format in tiny files of exactly its kind, and what is wrong with damaged ones.

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use unfloat_data::picture::{Kind, Picture, decode, encode};
use unfloat_data::{Classes, Options, Split, Values, open, splits};
use unfloat_ir::{ElemType, IntType, Layout, Tensor, TensorType};

/// An empty directory for one test.
fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readers").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A fixture, unpacked.
fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/data").join(format!("{name}.gz"));
    let mut bytes = Vec::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// The pixels that the fixtures have.
fn pixel(i: usize, shift: usize) -> u8 {
    ((i * 7 + shift + i / 3072 * 50) % 256) as u8
}

type Read3 = (String, usize, Vec<u8>, Vec<usize>, Option<&'static str>);

fn all(path: &Path, options: &Options) -> Result<Vec<Read3>, String> {
    let source = open(path, options).map_err(|e| e.to_string())?;
    let mut found = Vec::new();
    source
        .each(&mut |s| {
            let bytes = match s.values {
                Values::Bytes(b) => b.into_owned(),
                Values::Numbers(n) => n.iter().flat_map(|v| v.to_le_bytes()).collect(),
            };
            let layout = s.layout.map(|l| if l.as_str() == "hwc" { "hwc" } else { "chw" });
            found.push((s.name, s.label, bytes, s.shape, layout));
            Ok(())
        })
        .map_err(|e| e.to_string())?;
    assert_eq!(found.len(), source.description().count);
    Ok(found)
}

fn error(path: &Path) -> String {
    all(path, &Options::default()).unwrap_err()
}

fn names(samples: &[Read3]) -> Vec<(&str, usize)> {
    samples.iter().map(|s| (s.0.as_str(), s.1)).collect()
}

#[test]
fn cifar_batches_of_every_protocol_are_read() {
    let dir = scratch("pickles");
    for name in ["cifar10_python2", "cifar10_protocol2", "cifar10_protocol4", "cifar10_protocol5"] {
        let path = dir.join(name);
        fs::write(&path, fixture(name)).unwrap();
        let samples = all(&path, &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(names(&samples), [("3_0", 3), ("8_1", 8), ("0_2", 0)]);
        for (i, sample) in samples.iter().enumerate() {
            assert!(sample.2.iter().enumerate().all(|(j, &p)| p == pixel(i * 3072 + j, 1)), "{name}");
            assert_eq!((sample.3.as_slice(), sample.4), (&[3, 32, 32][..], Some("chw")));
        }
    }
    let path = dir.join("cifar100");
    fs::write(&path, fixture("cifar100")).unwrap();
    for (coarse, labels) in [(false, [49, 99, 0]), (true, [10, 19, 0])] {
        let samples = all(&path, &Options { coarse, ..Options::default() }).unwrap();
        assert_eq!(samples.iter().map(|s| s.1).collect::<Vec<_>>(), labels);
    }
}

#[test]
fn cifar_folders_have_parts_and_names() {
    let dir = scratch("cifar-10-batches-py");
    for i in 1..=5 {
        fs::write(dir.join(format!("data_batch_{i}")), fixture("cifar10_python2")).unwrap();
    }
    fs::write(dir.join("test_batch"), fixture("cifar10_protocol4")).unwrap();
    fs::write(dir.join("batches.meta"), fixture("batches.meta")).unwrap();
    assert_eq!(splits(&dir).unwrap(), [Split::Train, Split::Test]);
    let train = all(&dir, &Options { split: Some(Split::Train), ..Options::default() }).unwrap();
    // The index counts on over the batches.
    assert_eq!((train.len(), train[14].0.as_str(), train[4].0.as_str()), (15, "0_14", "8_4"));
    assert_eq!(all(&dir, &Options::default()).unwrap().len(), 3);
    let source = open(&dir, &Options::default()).unwrap();
    let Classes::Named(names) = &source.description().classes else { panic!("no names") };
    assert_eq!((names.len(), names[3].as_str()), (10, "cat"));
    let wrong = open(&dir, &Options { coarse: true, ..Options::default() }).err().unwrap().to_string();
    assert!(wrong.contains("--coarse"), "{wrong}");
}

#[test]
fn cifar_binary_files_are_read() {
    let dir = scratch("cifar-10-batches-bin");
    let record = |labels: &[u8], i: usize| {
        labels.iter().copied().chain((0..3072).map(|j| pixel(i * 3072 + j, 0))).collect::<Vec<u8>>()
    };
    fs::write(dir.join("test_batch.bin"), [record(&[9], 0), record(&[0], 1)].concat()).unwrap();
    fs::write(dir.join("batches.meta.txt"), "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n").unwrap();
    let samples = all(&dir, &Options::default()).unwrap();
    assert_eq!(names(&samples), [("9_0", 9), ("0_1", 0)]);
    assert_eq!(samples[1].2[..3], [pixel(3072, 0), pixel(3073, 0), pixel(3074, 0)]);
    let no_train = all(&dir, &Options { split: Some(Split::Train), ..Options::default() }).unwrap_err();
    assert!(no_train.contains("no train part") && no_train.contains("there is: test"), "{no_train}");

    let hundred = scratch("cifar-100-binary").join("test.bin");
    fs::write(&hundred, [record(&[19, 99], 0), record(&[0, 5], 1)].concat()).unwrap();
    let fine: Vec<usize> = all(&hundred, &Options::default()).unwrap().iter().map(|s| s.1).collect();
    let coarse = Options { coarse: true, ..Options::default() };
    let coarse: Vec<usize> = all(&hundred, &coarse).unwrap().iter().map(|s| s.1).collect();
    assert_eq!((fine, coarse), (vec![99, 5], vec![19, 0]));

    let cut = dir.join("cut.bin");
    fs::write(&cut, &record(&[1], 0)[..3000]).unwrap();
    assert!(error(&cut).contains("3000 bytes") && error(&cut).contains("multiple of 3073"));
    let label = dir.join("label.bin");
    fs::write(&label, [record(&[1], 0), record(&[10], 1)].concat()).unwrap();
    assert!(error(&label).contains("image 1") && error(&label).contains("label 10"), "{}", error(&label));
}

#[test]
fn pickles_that_are_no_batches_are_refused() {
    let dir = scratch("hostile_pickles");
    let whole = fixture("cifar10_protocol4");
    let path = dir.join("batch");
    // Any cut is an error, and nothing is allocated for what is not there.
    for cut in [2, 40, 200, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(error(&path).contains("batch"), "{cut}");
    }
    for (bytes, said) in [
        (&b"\x80\x02]."[..], "no dictionary"),
        (b"\x80\x02}.", "has no `data`"),
        (b"\x80\x02}U\x04dataK\x01s.", "no array of NumPy"),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85R.", "no dictionary"),
        (b"\x80\x02B\xff\xff\xff\x7f.", "expected 2147483647 more bytes"),
    ] {
        fs::write(&path, bytes).unwrap();
        assert!(error(&path).contains(said), "{said}: {}", error(&path));
    }
    let place = whole.windows(2).rposition(|w| w == [b'K', 8]).unwrap();
    let mut wrong = whole.clone();
    wrong[place + 1] = 77;
    fs::write(&path, &wrong).unwrap();
    assert!(error(&path).contains("`labels`[1]"), "{}", error(&path));
}

fn idx(dims: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    dims.iter().for_each(|d| bytes.extend(d.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn idx_files_are_read_compressed_or_not() {
    let dir = scratch("mnist");
    let pixels: Vec<u8> = (0..12).collect();
    let (images, labels) = (idx(&[2, 3, 2], &pixels), idx(&[2], &[7, 1]));
    fs::write(dir.join("t10k-images-idx3-ubyte.gz"), gz(&images)).unwrap();
    fs::write(dir.join("t10k-labels-idx1-ubyte.gz"), gz(&labels)).unwrap();
    fs::write(dir.join("train-images.idx3-ubyte"), &images).unwrap();
    fs::write(dir.join("train-labels.idx1-ubyte"), &labels).unwrap();
    assert_eq!(splits(&dir).unwrap(), [Split::Train, Split::Test]);
    let train = Options { split: Some(Split::Train), ..Options::default() };
    for samples in [
        all(&dir, &Options::default()),
        all(&dir, &train),
        all(&dir.join("train-images.idx3-ubyte"), &Options::default()),
        all(&dir.join("t10k-images-idx3-ubyte.gz"), &Options::default()),
    ] {
        let samples = samples.unwrap();
        assert_eq!(names(&samples), [("7_0", 7), ("1_1", 1)]);
        assert_eq!(samples[1].2, [6, 7, 8, 9, 10, 11]);
        assert_eq!((samples[1].3.as_slice(), samples[1].4), (&[3, 2, 1][..], Some("hwc")));
    }
}

#[test]
fn damaged_idx_files_say_where() {
    let dir = scratch("idx_damage");
    let (images, labels) = (dir.join("x-images-idx3-ubyte"), dir.join("x-labels-idx1-ubyte"));
    let pixels: Vec<u8> = (0..12).collect();
    fs::write(&labels, idx(&[2], &[7, 1])).unwrap();
    for (bytes, said) in [
        (idx(&[2, 3, 2], &pixels[..11]), "image 1: ends too early: 6 bytes expected, 5 found"),
        (idx(&[2, 3, 2], &[&pixels[..], &[0]].concat()), "longer than its header says"),
        (idx(&[3, 3, 2], &pixels), "2 labels for 3 images"),
        (idx(&[2, 0xffff_ffff, 0xffff_ffff], &pixels), "at most"),
        (idx(&[12], &pixels), "three or four axes, found 1"),
        (vec![0, 0, 13, 3, 0, 0, 0, 1], "kind 0x0d"),
    ] {
        fs::write(&images, bytes).unwrap();
        assert!(error(&images).contains(said), "{said}: {}", error(&images));
        assert!(error(&images).contains("idx"), "{}", error(&images));
    }
    fs::write(&images, idx(&[2, 3, 2], &pixels)).unwrap();
    fs::write(&labels, idx(&[2], &[7])).unwrap();
    assert!(error(&images).contains("labels: ends too early"), "{}", error(&images));
    fs::remove_file(&labels).unwrap();
    assert!(error(&images).contains("no labels beside"), "{}", error(&images));
}

fn codes(elem: ElemType, shape: &[usize], codes: &[i64]) -> Tensor {
    Tensor::codes(TensorType::new(elem, shape, Layout::anonymous(shape.len())), codes.iter().copied())
}

#[test]
fn archives_of_inputs_and_labels_are_read() {
    let dir = scratch("npz");
    let (bytes, i64s) = (ElemType::Int(IntType::unsigned(8)), ElemType::signed(64));
    let path = dir.join("d.npz");
    // The writer of this workspace stores bytes as 16-bit words: NumPy's header for bytes is made by hand.
    let x = unfloat_npy::write_npy_bytes(&vec![2, 1, 2].into(), "|u1", &[1, 2, 3, 255]);
    let y = unfloat_npy::write_npy(&codes(i64s.clone(), &[2, 1], &[4, 0]));
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    for (name, member) in [("x_test.npy", &x), ("y_test.npy", &y)] {
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(member).unwrap();
    }
    zip.finish().unwrap();
    let samples = all(&path, &Options { split: Some(Split::Test), ..Options::default() }).unwrap();
    assert_eq!(names(&samples), [("4_0", 4), ("0_1", 0)]);
    assert_eq!((samples[1].2.as_slice(), samples[1].3.as_slice()), (&[3, 255][..], &[1, 2][..]));

    let floats = Tensor::f32([2, 2], Layout::anonymous(2), vec![0.5, -1.0, 2.0, f32::NAN]);
    let write = |pairs: &[(&str, &Tensor)]| {
        fs::write(&path, unfloat_npy::write_npz(pairs.iter().copied()).unwrap()).unwrap();
    };
    write(&[("x", &floats), ("y", &codes(bytes.clone(), &[2], &[1, 0]))]);
    let samples = all(&path, &Options::default()).unwrap();
    assert_eq!(samples[0].2, [0.5f32, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    for (pairs, said) in [
        (vec![("x", &floats)], "no `x` with `y`"),
        (
            vec![("x", &floats), ("y", &codes(i64s.clone(), &[3], &[0, 1, 2]))],
            "holds 2 samples, and `y` 3 labels",
        ),
        (vec![("x", &floats), ("y", &codes(i64s.clone(), &[2, 3], &[0, 1, 0, 1, 0, 0]))], "numpy.argmax"),
        (vec![("x", &floats), ("y", &codes(i64s.clone(), &[2], &[0, -1]))], "`y`[1]: is no class"),
        (
            vec![("x", &codes(i64s.clone(), &[1], &[16777217])), ("y", &codes(i64s.clone(), &[1], &[0]))],
            "no float32",
        ),
    ] {
        write(&pairs);
        assert!(error(&path).contains(said), "{said}: {}", error(&path));
    }
}

fn rgb(pixels: &[u8]) -> Picture {
    Picture { shape: [1, pixels.len() / 3, 3], pixels: pixels.to_vec() }
}

#[test]
fn folders_of_images_are_sorted_by_class_and_index() {
    let dir = scratch("flat");
    for (name, kind) in
        [("1_10.bmp", Kind::Bmp), ("1_9.png", Kind::Png), ("0_100.BMP", Kind::Bmp), ("10_0.bmp", Kind::Bmp)]
    {
        fs::write(dir.join(name), encode(&rgb(&[1, 2, 3, 250, 0, 9]), kind).unwrap()).unwrap();
    }
    fs::write(dir.join("notes.txt"), "no image").unwrap();
    let samples = all(&dir, &Options::default()).unwrap();
    assert_eq!(names(&samples), [("0_100.BMP", 0), ("1_9.png", 1), ("1_10.bmp", 1), ("10_0.bmp", 10)]);
    assert!(samples.iter().all(|s| s.2 == [1, 2, 3, 250, 0, 9] && s.3 == [1, 2, 3]));
    fs::write(dir.join("cat.bmp"), "").unwrap();
    fs::write(dir.join("_3.bmp"), "").unwrap();
    assert!(
        error(&dir).contains("2 images have no label in their names: _3.bmp, cat.bmp"),
        "{}",
        error(&dir)
    );

    let dir = scratch("folders");
    for name in ["ship/b.png", "ship/a.png", "cat/z.png"] {
        fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        fs::write(dir.join(name), encode(&rgb(&[1, 2, 3]), Kind::Png).unwrap()).unwrap();
    }
    let samples = all(&dir, &Options::default()).unwrap();
    assert_eq!(names(&samples), [("cat/z.png", 0), ("ship/a.png", 1), ("ship/b.png", 1)]);
    fs::write(dir.join("1_1.bmp"), "").unwrap();
    assert!(error(&dir).contains("beside folders"), "{}", error(&dir));
    fs::remove_file(dir.join("1_1.bmp")).unwrap();
    fs::write(dir.join("cat/broken.jpg"), b"\xff\xd8\xff\xe0 broken").unwrap();
    assert!(error(&dir).contains("broken.jpg"), "{}", error(&dir));
    assert!(error(&scratch("nothing")).contains("has no images"));
    assert!(
        all(&dir, &Options { split: Some(Split::Test), ..Options::default() })
            .unwrap_err()
            .contains("--split")
    );
}

#[test]
fn images_survive_a_round_trip() {
    let grey = Picture { shape: [2, 3, 1], pixels: vec![0, 1, 127, 128, 254, 255] };
    assert_eq!(decode(&encode(&grey, Kind::Png).unwrap()).unwrap(), grey);
    // A bitmap of grey has a table of colours, and comes back in three equal channels.
    let read = decode(&encode(&grey, Kind::Bmp).unwrap()).unwrap();
    assert_eq!(read.shape, [2, 3, 3]);
    assert!(read.pixels.chunks(3).zip(&grey.pixels).all(|(p, g)| p == [*g; 3]));
    let color = rgb(&[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for kind in [Kind::Bmp, Kind::Png] {
        let bytes = encode(&color, kind).unwrap();
        assert_eq!(decode(&bytes).unwrap(), color);
        for cut in 0..bytes.len() {
            let _ = decode(&bytes[..cut]);
        }
    }
    assert!(
        encode(&Picture { shape: [1, 1, 2], pixels: vec![0, 0] }, Kind::Bmp).unwrap_err().contains("found 2")
    );
    assert!(encode(&Picture { shape: [0, 1, 3], pixels: vec![] }, Kind::Bmp).is_err());
}

#[test]
fn an_image_larger_than_its_file_can_be_is_refused() {
    // A bitmap's header that promises 20 000 × 20 000 pixels, and none of them.
    let mut bytes = encode(&rgb(&[1, 2, 3]), Kind::Bmp).unwrap();
    bytes[18..22].copy_from_slice(&20_000u32.to_le_bytes());
    bytes[22..26].copy_from_slice(&20_000u32.to_le_bytes());
    assert!(decode(&bytes).is_err());
}

#[test]
fn what_is_no_dataset_is_told_so() {
    let dir = scratch("none");
    let path = dir.join("a.dat");
    fs::write(&path, b"hello there").unwrap();
    assert!(error(&path).contains("it begins with 68 65 6c 6c") && error(&path).contains("LABEL_INDEX"));
    fs::write(&path, b"").unwrap();
    assert!(error(&path).contains("empty"));
    fs::write(&path, gz(b"a tar archive, perhaps")).unwrap();
    assert!(error(&path).contains("no IDX file"), "{}", error(&path));
    assert!(error(&dir.join("missing")).contains("missing"));
}

/// Numbers that look random, the same each time.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) as usize
}

#[test]
fn mutants_of_every_format_are_read_or_refused() {
    let dir = scratch("mutants");
    let pixels: Vec<u8> = (0..12).collect();
    fs::write(dir.join("x-labels-idx1-ubyte"), idx(&[2], &[7, 1])).unwrap();
    let x = Tensor::f32([2, 2], Layout::anonymous(2), vec![0.5, -1.0, 2.0, 1.0]);
    let y = codes(ElemType::signed(64), &[2], &[4, 0]);
    fs::create_dir_all(dir.join("images")).unwrap();
    let originals = [
        ("batch", fixture("cifar10_python2")),
        ("batch5", fixture("cifar10_protocol5")),
        ("x-images-idx3-ubyte", idx(&[2, 3, 2], &pixels)),
        ("x-images-idx3-ubyte", gz(&idx(&[2, 3, 2], &pixels))),
        ("d.npz", unfloat_npy::write_npz([("x", &x), ("y", &y)]).unwrap()),
        ("images/1_1.png", encode(&rgb(&[1, 2, 3, 4, 5, 6]), Kind::Png).unwrap()),
        ("images/1_1.bmp", encode(&rgb(&[1, 2, 3, 4, 5, 6]), Kind::Bmp).unwrap()),
    ];
    let mut state = 1;
    let (mut read, mut refused) = (0, 0);
    for (name, bytes) in &originals {
        let path = dir.join(name);
        let folder = dir.join("images");
        for _ in 0..300 {
            let mut mutant = bytes.clone();
            // Where headers are, mostly: pixels can be anything.
            let reach =
                if random(&mut state).is_multiple_of(4) { mutant.len() } else { mutant.len().min(120) };
            for _ in 0..1 + random(&mut state) % 3 {
                mutant[random(&mut state) % reach] ^= 1 << (random(&mut state) % 8);
            }
            if random(&mut state).is_multiple_of(8) {
                mutant.truncate(random(&mut state) % mutant.len());
            }
            fs::write(&path, mutant).unwrap();
            match all(if name.starts_with("images") { &folder } else { &path }, &Options::default()) {
                Ok(_) => read += 1,
                Err(e) => refused += usize::from(!e.is_empty()),
            }
        }
        fs::remove_file(&path).unwrap();
    }
    assert!(read + refused == 2100 && read > 200 && refused > 200, "{read} read, {refused} refused");
}
