use super::*;

fn read(bytes: &[u8]) -> Result<Pickle, String> {
    let left = bytes.len() as u64;
    parse(&mut Input::new(&mut &*bytes, left))
}

/// A record and its parts as text; parts of parts that were seen before as `…`.
fn text(pickle: &Pickle) -> String {
    fn join(pickle: &Pickle, ids: &[Id], above: &[Id]) -> String {
        ids.iter().map(|&id| show(pickle, id, above)).collect::<Vec<_>>().join(", ")
    }
    fn show(pickle: &Pickle, id: Id, above: &[Id]) -> String {
        if above.contains(&id) {
            return "…".to_string();
        }
        let within: Vec<Id> = above.iter().copied().chain([id]).collect();
        let pairs = |pairs: &[(Id, Id)]| {
            let pair =
                |&(k, v): &(Id, Id)| format!("{}: {}", show(pickle, k, &within), show(pickle, v, &within));
            pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
        };
        match pickle.get(id) {
            Record::None => "None".to_string(),
            Record::Bool(value) => value.to_string(),
            Record::Int(value) => value.to_string(),
            Record::Big(span) => format!("big of {}", span.len),
            Record::Float(value) => format!("{value:?}"),
            Record::Bytes(span) => format!("b{:?}", String::from_utf8_lossy(pickle.slice(*span))),
            Record::Text(span) => format!("{:?}", String::from_utf8_lossy(pickle.slice(*span))),
            Record::List(items) => format!("[{}]", join(pickle, items, &within)),
            Record::Tuple(items) => format!("({})", join(pickle, items, &within)),
            Record::Set(items) => format!("{{{}}}", join(pickle, items, &within)),
            Record::Dict(entries) => format!("{{{}}}", pairs(entries)),
            Record::Global(..) => {
                let (module, name) = pickle.class(id).expect("a class");
                format!("{module}.{name}")
            }
            Record::Persistent(key) => format!("<{}>", show(pickle, *key, &within)),
            Record::Extension => "extension".to_string(),
            Record::Object(object) => {
                let mut out =
                    format!("{}{}", show(pickle, object.class, &within), show(pickle, object.args, &within));
                if let Some(kwargs) = object.kwargs {
                    out += &format!("**{}", show(pickle, kwargs, &within));
                }
                for &state in &object.states {
                    out += &format!("<-{}", show(pickle, state, &within));
                }
                if !object.items.is_empty() {
                    out += &format!("+[{}]", join(pickle, &object.items, &within));
                }
                if !object.pairs.is_empty() {
                    out += &format!("+{{{}}}", pairs(&object.pairs));
                }
                out
            }
        }
    }
    show(pickle, pickle.root, &[])
}

/// What CPython's `pickle` reads from the same bytes, with calls written out instead of made.
#[test]
fn every_opcode_makes_its_record() {
    for (bytes, want) in [
        (&b"N."[..], "None"),
        (b"\x80\x02\x88.", "true"),
        (b"\x89.", "false"),
        (b"I01\n.", "true"),
        (b"I00\n.", "false"),
        (b"I-7\n.", "-7"),
        (b"L12L\n.", "12"),
        (b"L119547037146038801333356L\n.", "big of 24"),
        (b"K\xff.", "255"),
        (b"M\xff\xff.", "65535"),
        (b"J\xff\xff\xff\xff.", "-1"),
        (b"\x8a\x00.", "0"),
        (b"\x8a\x01\x80.", "-128"),
        (b"\x8a\x02\xff\x00.", "255"),
        (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", "-9223372036854775808"),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", "big of 9"),
        (b"\x8b\x02\x00\x00\x00\x00\x01.", "256"),
        (b"F1.5\n.", "1.5"),
        (b"G\xbf\xf8\x00\x00\x00\x00\x00\x00.", "-1.5"),
        (b"S'a\\x41\\n\\101\\\\'\n.", "b\"aA\\nA\\\\\""),
        (b"S\"it's\"\n.", "b\"it's\""),
        (b"U\x02ab.", "b\"ab\""),
        (b"T\x02\x00\x00\x00ab.", "b\"ab\""),
        (b"C\x02ab.", "b\"ab\""),
        (b"B\x02\x00\x00\x00ab.", "b\"ab\""),
        (b"\x8e\x02\x00\x00\x00\x00\x00\x00\x00ab.", "b\"ab\""),
        (b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab\x98.", "b\"ab\""),
        (b"V\xe9\\u20ac\\U0001f600\\\n.", "\"é€😀\\\\\""),
        (b"X\x02\x00\x00\x00ab.", "\"ab\""),
        (b"\x8c\x02ab.", "\"ab\""),
        (b"\x8d\x02\x00\x00\x00\x00\x00\x00\x00ab.", "\"ab\""),
        (b"(K\x01K\x02l.", "[1, 2]"),
        (b"]K\x01a(K\x02K\x03e.", "[1, 2, 3]"),
        (b"(K\x01K\x02t.", "(1, 2)"),
        (b").", "()"),
        (b"K\x01\x85.", "(1)"),
        (b"K\x01K\x02\x86.", "(1, 2)"),
        (b"K\x01K\x02K\x03\x87.", "(1, 2, 3)"),
        (b"(K\x01K\x02d.", "{1: 2}"),
        (b"}K\x01K\x02s(K\x03K\x04u.", "{1: 2, 3: 4}"),
        (b"\x8f(K\x01\x90.", "{1}"),
        (b"(K\x01\x91.", "{1}"),
        (b"K\x01K\x020.", "1"),
        (b"K\x01(0.", "1"),
        (b"K\x01(K\x02K\x031.", "1"),
        (b"K\x012\x86.", "(1, 1)"),
        (b"]p7\n0g7\n.", "[]"),
        (b"]q\x000h\x00.", "[]"),
        (b"]r\x00\x01\x00\x000j\x00\x01\x00\x00.", "[]"),
        (b"\x80\x04\x95\x08\x00\x00\x00\x00\x00\x00\x00\x8c\x01a\x94h\x00\x86.", "(\"a\", \"a\")"),
        (b"cos\nsystem\n.", "os.system"),
        (b"\x8c\x02os\x8c\x06system\x93.", "os.system"),
        (b"\x82\x01.", "extension"),
        (b"\x83\x01\x00.", "extension"),
        (b"\x84\x01\x00\x00\x00.", "extension"),
        (b"cos\nsystem\nU\x02ls\x85R.", "os.system(b\"ls\")"),
        (b"ca\nB\n)\x81}K\x01K\x02sb.", "a.B()<-{1: 2}"),
        (b"ca\nB\n)}K\x01K\x02s\x92.", "a.B()**{1: 2}"),
        (b"(K\x01ia\nB\n.", "a.B(1)"),
        (b"(ca\nB\nK\x01o.", "a.B(1)"),
        (b"ca\nB\n)\x81K\x01aK\x02K\x03s.", "a.B()+[1]+{2: 3}"),
        (b"Pkey\n.", "<\"key\">"),
        (b"K\x05Q.", "<5>"),
        // Cycles: a list in itself, an object in its own state.
        (b"]q\x00h\x00a.", "[…]"),
        (b"ca\nB\n)\x81q\x00}U\x02meh\x00sb.", "a.B()<-{b\"me\": …}"),
    ] {
        let read = read(bytes).unwrap_or_else(|e| panic!("{want}: {e}"));
        assert_eq!(text(&read), want);
    }
}

#[test]
fn broken_pickles_are_refused_with_the_offset() {
    for (bytes, want) in [
        (&b""[..], "offset 0: no opcode"),
        (b".", "the stack is empty"),
        (b"N", "offset 1: no opcode"),
        (b"\xff.", "offset 0: 0xff is no opcode"),
        (b"\x80\x06N.", "protocol 6"),
        (b"(.", "the stack is empty"),
        (b"l.", "no mark"),
        (b"N(\x85.", "too short"),
        (b"(NNNd.", "a key without a value"),
        (b"NNa.", "no list"),
        (b"NNNs.", "no dictionary"),
        (b"NNb.", "a state for something that has none"),
        (b"h\x05.", "the memo has no entry 5"),
        (b"gx\n.", "no number of the memo"),
        (b"U\x05ab.", "expected 5 more bytes, found 3"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xffab.", "more bytes"),
        (b"T\xff\xff\xff\xffab.", "negative length"),
        (b"S'ab\n.", "quotes"),
        (b"S'a\\x4'\n.", "escape"),
        (b"V\\u12\n.", "escape"),
        (b"Ixy\n.", "decimal integer"),
        (b"Fxy\n.", "decimal number"),
        (b"cos", "inside a line"),
        (b"\x97.", "outside of the pickle"),
    ] {
        let fault = read(bytes).expect_err(want);
        assert!(fault.contains(want) && fault.contains("offset"), "{want}: {fault}");
    }
}

#[test]
fn binary_data_of_all_writers() {
    for (bytes, want) in [
        (&b"C\x02\xff\x00."[..], Some(&b"\xff\x00"[..])),
        (b"c_codecs\nencode\n(X\x03\x00\x00\x00\xc3\xbf\x00X\x06\x00\x00\x00latin1tR.", Some(b"\xff\x00")),
        (b"c__builtin__\nbytes\n)R.", Some(b"")),
        (b"cbuiltins\nbytearray\nC\x01a\x85R.", Some(b"a")),
        (b"c__builtin__\nbytearray\n(X\x02\x00\x00\x00\xc3\xbfX\x07\x00\x00\x00latin-1tR.", Some(b"\xff")),
        (b"cos\nsystem\nC\x01a\x85R.", None),
        (b"K\x01.", None),
    ] {
        let pickle = read(bytes).expect("a pickle");
        let found = pickle.binary(pickle.root).map(|b| pickle.read(b).expect("bytes").into_owned());
        assert_eq!(found.as_deref(), want);
    }
    let beyond = read(b"c_codecs\nencode\nX\x03\x00\x00\x00\xe2\x82\xac\x85R.").expect("a pickle");
    let binary = beyond.binary(beyond.root).expect("binary data");
    assert!(beyond.read(binary).expect_err("a refusal").contains("Latin-1"));
}
