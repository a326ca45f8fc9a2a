// SPDX-License-Identifier: GPL-2.0

//! Type information, well-formed and not: what BTF_LOAD has to judge. Tests on the host use the list too.

use super::blobs::{kind, made, Blob, KFLAG};

/// Bytes where words of a good blob are replaced: (offset, value).
fn patched(words: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = made(|b| {
        let int = b.int();
        b.ptr(int);
    });
    for &(at, word) in words {
        bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The list: name and bytes.
pub fn list() -> Vec<(String, Vec<u8>)> {
    let mut list: Vec<(String, Vec<u8>)> = Vec::new();
    headers(&mut list);
    scalars(&mut list);
    references(&mut list);
    structs(&mut list);
    functions(&mut list);
    sections(&mut list);
    special(&mut list);
    list
}

type List = Vec<(String, Vec<u8>)>;

fn put(list: &mut List, name: &str, f: impl FnOnce(&mut Blob)) {
    list.push((name.to_string(), made(f)));
}

fn headers(list: &mut List) {
    let good = patched(&[]);
    for len in [0, 1, 4, 7, 8, 12, 23, 24, 25, good.len() - 1, good.len()] {
        list.push((format!("the first {len} bytes"), good[..len].to_vec()));
    }
    let cases: &[(&str, &[(usize, u32)])] = &[
        ("another magic", &[(0, 0x0001_eb9e)]),
        ("version 2", &[(0, 0x0002_eb9f)]),
        ("flags", &[(0, 0x0101_eb9f)]),
        ("header of 0", &[(4, 0)]),
        ("header of 4", &[(4, 4)]),
        ("header of 20", &[(4, 20)]),
        ("header of 28", &[(4, 28)]),
        ("header as long as all", &[(4, good.len() as u32)]),
        ("header longer than all", &[(4, 1 << 20)]),
        ("types at 1", &[(8, 1)]),
        ("types at 4", &[(8, 4)]),
        ("types far away", &[(8, 0xffff_fff0)]),
        ("no types", &[(12, 0)]),
        ("few types", &[(12, 16)]),
        ("too many types", &[(12, 1 << 20)]),
        ("strings at 0", &[(16, 0)]),
        ("strings too far", &[(16, 1 << 20)]),
        ("no strings", &[(20, 0)]),
        ("strings too short", &[(20, 3)]),
        ("strings too long", &[(20, 100)]),
        ("no empty string", &[(24 + 28, 0x746e_6941)]),
        ("no type, but strings", &[(12, 0), (16, 0), (20, 33)]),
    ];
    for (name, words) in cases {
        list.push(((*name).to_string(), patched(words)));
    }
    let mut open = good.clone();
    if let Some(last) = open.last_mut() {
        *last = b'x';
    }
    list.push(("the last string without end".into(), open));
    let mut more = good.clone();
    more.extend_from_slice(&[0; 4]);
    list.push(("bytes at the end".into(), more));
    // A header with a section of layouts: known to newer kernels.
    for (name, off, len, pad) in [
        ("layouts", 32, 8, 8),
        ("layouts of 3 bytes", 32, 3, 3),
        ("layouts of 6 bytes", 32, 6, 6),
    ] {
        let mut b = vec![0x9f, 0xeb, 1, 0];
        for word in [32u32, 0, 28, 28, 5, off, len] {
            b.extend_from_slice(&word.to_le_bytes());
        }
        b.extend_from_slice(&good[24..]);
        b.truncate(32 + 28 + 5);
        b.extend(std::iter::repeat_n(0u8, pad));
        list.push((name.to_string(), b));
    }
    let mut swapped = vec![0x9f, 0xeb, 1, 0];
    for word in [24u32, 8, 12, 0, 8] {
        swapped.extend_from_slice(&word.to_le_bytes());
    }
    swapped.extend_from_slice(b"\0ab\0cd\0\0");
    for word in [0u32, kind::PTR << 24, 0] {
        swapped.extend_from_slice(&word.to_le_bytes());
    }
    list.push(("strings before types".into(), swapped));
}

fn scalars(list: &mut List) {
    for (name, size, data) in [
        ("int", 4, 0x0100_0020),
        ("char", 1, 0x0200_0008),
        ("bool", 1, 0x0400_0008),
        ("a plain number", 8, 64),
        ("two encodings", 4, 0x0300_0020),
        ("an unknown encoding", 4, 0x0800_0020),
        ("a high bit", 4, 0x1000_0020),
        ("129 bits", 32, 129),
        ("128 bits", 16, 128),
        ("more bits than bytes", 4, 33),
        ("bits at an offset", 4, 0x0010_0010),
        ("bits behind the end", 4, 0x0011_0010),
        ("an offset past 128", 32, 0x00ff_0008),
        ("no size", 0, 0),
    ] {
        put(list, &format!("int: {name}"), |b| {
            b.add("i", kind::INT, 0, size, &[data]);
        });
    }
    put(list, "int: parts", |b| {
        b.add("i", kind::INT, 1, 4, &[32]);
    });
    put(list, "int: flag", |b| {
        b.add("i", kind::INT, KFLAG, 4, &[32]);
    });
    put(list, "int: cut", |b| {
        b.add("i", kind::INT, 0, 4, &[]);
    });
    put(list, "int: a name out of the strings", |b| {
        b.raw(1000, kind::INT, 0, 4, &[32]);
    });
    put(list, "int: any name", |b| {
        b.add("1 a-b", kind::INT, 0, 4, &[32]);
    });
    for size in [0, 1, 2, 4, 8, 16, 12] {
        put(list, &format!("float of {size}"), |b| {
            b.add("f", kind::FLOAT, 0, size, &[]);
        });
    }
    put(list, "float: parts", |b| {
        b.add("f", kind::FLOAT, 3, 4, &[]);
    });
    put(list, "float: flag", |b| {
        b.add("f", kind::FLOAT, KFLAG, 4, &[]);
    });
    for (what, kind) in [("enum", kind::ENUM), ("enum64", kind::ENUM64)] {
        let extra: &[u32] = if kind == kind::ENUM64 { &[1] } else { &[] };
        for size in [0, 1, 3, 4, 8, 16] {
            put(list, &format!("{what} of {size}"), |b| {
                let one = b.name("ONE");
                let mut more = vec![one, 0xffff_ffff];
                more.extend_from_slice(extra);
                b.add("e", kind, 1, size, &more);
            });
        }
        put(list, &format!("{what}: signed"), |b| {
            let one = b.name("ONE");
            let mut more = vec![one, 0xffff_ffff];
            more.extend_from_slice(extra);
            b.add("e", kind, 1 | KFLAG, 4, &more);
        });
        put(list, &format!("{what}: a value without name"), |b| {
            let mut more = vec![0, 1];
            more.extend_from_slice(extra);
            b.add("e", kind, 1, 4, &more);
        });
        put(list, &format!("{what}: a value with a bad name"), |b| {
            let bad = b.name("1x");
            let mut more = vec![bad, 1];
            more.extend_from_slice(extra);
            b.add("e", kind, 1, 4, &more);
        });
        put(
            list,
            &format!("{what}: a value's name out of the strings"),
            |b| {
                let mut more = vec![5000, 1];
                more.extend_from_slice(extra);
                b.add("e", kind, 1, 4, &more);
            },
        );
        put(list, &format!("{what}: cut"), |b| {
            b.add("e", kind, 4, 4, &[1, 1]);
        });
        put(list, &format!("{what}: bad name"), |b| {
            b.add("e!", kind, 0, 4, &[]);
        });
        put(list, &format!("{what}: empty"), |b| {
            b.add("", kind, 0, 4, &[]);
        });
    }
    for kind in [0, 20, 21, 31] {
        put(list, &format!("kind {kind}"), |b| {
            b.add("k", kind, 0, 4, &[0; 4]);
        });
    }
    put(list, "less than a type", |b| {
        b.int();
        b.junk(&[0; 8]);
    });
}

fn references(list: &mut List) {
    for (what, kind) in [
        ("ptr", kind::PTR),
        ("typedef", kind::TYPEDEF),
        ("volatile", kind::VOLATILE),
        ("const", kind::CONST),
        ("restrict", 11),
        ("type tag", kind::TYPE_TAG),
    ] {
        let named = matches!(kind, kind::TYPEDEF | kind::TYPE_TAG);
        let name = if named { "n" } else { "" };
        let other = if named { "" } else { "n" };
        for (case, name, vlen, to) in [
            ("void", name, 0, 0),
            ("int", name, 0, 1),
            ("itself", name, 0, 2),
            ("what is not there", name, 0, 3),
            ("a number too large", name, 0, 0x10_0000),
            ("the name", other, 0, 1),
            ("parts", name, 1, 1),
            ("flag", name, KFLAG, 1),
        ] {
            put(list, &format!("{what}: {case}"), |b| {
                b.int();
                b.add(name, kind, vlen, to, &[]);
            });
        }
        for (case, target) in [
            ("a forward", kind::FWD),
            ("a prototype", kind::FUNC_PROTO),
            ("a function", kind::FUNC),
            ("a variable", kind::VAR),
            ("a section", kind::DATASEC),
            ("a tag", kind::DECL_TAG),
        ] {
            for first in [true, false] {
                put(list, &format!("{what}: {case}, {first}"), |b| {
                    b.int();
                    b.proto(0, &[]);
                    if first {
                        b.add(name, kind, 0, 4, &[]);
                    } else {
                        b.int();
                    }
                    match target {
                        kind::FWD => b.add("f", target, 0, 0, &[]),
                        kind::FUNC_PROTO => b.proto(0, &[]),
                        kind::FUNC => b.func("f", 0, 2),
                        kind::VAR => b.add("v", target, 0, 1, &[0]),
                        kind::DATASEC => b.add(".d", target, 0, 4, &[]),
                        _ => b.add("t", target, 0, 2, &[u32::MAX]),
                    };
                    if !first {
                        b.add(name, kind, 0, 4, &[]);
                    }
                });
            }
        }
    }
    for n in [2u32, 30, 31, 32, 33, 34, 40] {
        put(list, &format!("{n} qualifiers, last first"), |b| {
            for i in 0..n {
                b.add("", kind::CONST, 0, i + 2, &[]);
            }
            b.int();
        });
        put(list, &format!("{n} qualifiers, in order"), |b| {
            b.int();
            for i in 0..n {
                b.add("", kind::CONST, 0, i + 1, &[]);
            }
        });
        put(list, &format!("{n} pointers, last first"), |b| {
            for i in 0..n {
                b.ptr(i + 2);
            }
            b.int();
        });
    }
    put(list, "typedefs in a circle", |b| {
        b.typedef("a", 2);
        b.typedef("b", 3);
        b.typedef("c", 1);
    });
    put(list, "a pointer in a circle with a typedef", |b| {
        b.typedef("a", 2);
        b.ptr(1);
    });
    put(list, "forward: type", |b| {
        b.add("f", kind::FWD, 0, 1, &[]);
    });
    put(list, "forward: union", |b| {
        b.add("f", kind::FWD, KFLAG, 0, &[]);
    });
    put(list, "forward: no name", |b| {
        b.add("", kind::FWD, 0, 0, &[]);
    });
    put(list, "forward: parts", |b| {
        b.add("f", kind::FWD, 1, 0, &[]);
    });
    arrays(list);
}

fn arrays(list: &mut List) {
    for (case, elem, index, count) in [
        ("of int", 1, 1, 10),
        ("of none", 1, 1, 0),
        ("of void", 0, 1, 1),
        ("with void for index", 1, 0, 1),
        ("of itself", 3, 1, 1),
        ("with itself for index", 1, 3, 1),
        ("of what is not there", 4, 1, 1),
        ("with a pointer for index", 1, 2, 1),
        ("of pointers", 2, 1, 1),
        ("as large as there may be", 1, 1, 0x3fff_ffff),
        ("too large", 1, 1, 0x4000_0000),
        ("a number too large", 0x10_0000, 1, 1),
        ("an index too large", 1, 0x10_0000, 1),
    ] {
        put(list, &format!("array {case}"), |b| {
            b.int();
            b.ptr(1);
            b.array(elem, index, count);
        });
    }
    put(list, "array: name", |b| {
        b.int();
        b.add("a", kind::ARRAY, 0, 0, &[1, 1, 1]);
    });
    put(list, "array: size", |b| {
        b.int();
        b.add("", kind::ARRAY, 0, 4, &[1, 1, 1]);
    });
    put(list, "array: parts, flag, cut", |b| {
        b.int();
        b.add("", kind::ARRAY, 1, 0, &[1, 1, 1]);
    });
    put(list, "array: flag", |b| {
        b.int();
        b.add("", kind::ARRAY, KFLAG, 0, &[1, 1, 1]);
    });
    put(list, "array: cut", |b| {
        b.int();
        b.add("", kind::ARRAY, 0, 0, &[1, 1]);
    });
    put(list, "array of parts of int", |b| {
        b.add("i", kind::INT, 0, 4, &[0x0000_0007]);
        b.int();
        b.array(1, 2, 4);
    });
    put(list, "array of forwards", |b| {
        b.int();
        b.add("f", kind::FWD, 0, 0, &[]);
        b.array(2, 1, 4);
    });
    put(list, "array of typedefs of void", |b| {
        b.int();
        b.typedef("v", 0);
        b.array(2, 1, 4);
    });
    put(list, "arrays in arrays", |b| {
        b.int();
        for i in 0..40 {
            b.array(i + 1, 1, 1);
        }
    });
    put(list, "arrays in arrays, outermost first", |b| {
        for i in 0..40 {
            b.array(i + 2, 41, 1);
        }
        b.int();
    });
    put(list, "an array and a struct in a circle", |b| {
        b.int();
        b.array(3, 1, 1);
        b.structure("s", 4, &[("a", 2, 0)]);
    });
}

fn structs(list: &mut List) {
    type Members<'a> = &'a [(&'a str, u32, u32)];
    let cases: &[(&str, u32, u32, Members<'_>)] = &[
        ("empty", 0, 0, &[]),
        ("one int", 4, 0, &[("a", 1, 0)]),
        ("an int at an odd bit", 8, 0, &[("a", 1, 3)]),
        ("an int behind the end", 4, 0, &[("a", 1, 8)]),
        ("an int far behind", 4, 0, &[("a", 1, 0xffff_ff00)]),
        ("backwards", 8, 0, &[("a", 1, 32), ("b", 1, 0)]),
        ("two at once", 8, 0, &[("a", 1, 0), ("b", 1, 0)]),
        ("no names", 8, 0, &[("", 1, 0), ("", 1, 32)]),
        ("a bad name", 4, 0, &[("a b", 1, 0)]),
        ("void", 4, 0, &[("a", 0, 0)]),
        ("itself", 4, 0, &[("a", 5, 0)]),
        ("a pointer to itself", 8, 0, &[("a", 6, 0)]),
        ("a pointer at an odd bit", 16, 0, &[("a", 2, 4)]),
        ("a pointer too large", 4, 0, &[("a", 2, 0)]),
        ("an array", 12, 0, &[("a", 3, 0)]),
        ("an array too large", 11, 0, &[("a", 3, 0)]),
        ("a float", 8, 0, &[("a", 4, 0)]),
        ("a float at 2 bytes", 8, 0, &[("a", 4, 16)]),
        ("a float too far", 8, 0, &[("a", 4, 64)]),
        ("what is not there", 8, 0, &[("a", 99, 0)]),
        ("a number too large", 8, 0, &[("a", 0x10_0000, 0)]),
        ("flag: a bit field", 4, KFLAG, &[("a", 1, (3 << 24) | 5)]),
        ("flag: an int", 4, KFLAG, &[("a", 1, 0)]),
        ("flag: an int at an odd bit", 8, KFLAG, &[("a", 1, 5)]),
        ("flag: a field of 33 bits", 8, KFLAG, &[("a", 1, 33 << 24)]),
        (
            "flag: a field behind the end",
            4,
            KFLAG,
            &[("a", 1, (8 << 24) | 25)],
        ),
        ("flag: a field of a pointer", 8, KFLAG, &[("a", 2, 8 << 24)]),
        ("flag: a pointer", 8, KFLAG, &[("a", 2, 0)]),
        ("flag: an array", 12, KFLAG, &[("a", 3, 0)]),
        ("flag: a float", 8, KFLAG, &[("a", 4, 0)]),
        ("an enum", 4, 0, &[("a", 7, 0)]),
        ("an enum at an odd bit", 8, 0, &[("a", 7, 1)]),
        (
            "flag: a field of an enum",
            4,
            KFLAG,
            &[("a", 7, (2 << 24) | 3)],
        ),
        (
            "flag: a field of an enum, 33 bits",
            8,
            KFLAG,
            &[("a", 7, 33 << 24)],
        ),
        ("flag: an enum too far", 4, KFLAG, &[("a", 7, 8)]),
        ("flag: an enum at an odd bit", 8, KFLAG, &[("a", 7, 8 + 1)]),
        ("an enum too far", 4, 0, &[("a", 7, 8)]),
        ("a typedef", 4, 0, &[("a", 8, 0)]),
        ("a typedef too far", 4, 0, &[("a", 8, 8)]),
        (
            "flag: a field of a typedef",
            4,
            KFLAG,
            &[("a", 8, (3 << 24) | 5)],
        ),
        ("a typedef of void", 4, 0, &[("a", 9, 0)]),
        ("a forward", 4, 0, &[("a", 10, 0)]),
        ("a function", 4, 0, &[("a", 12, 0)]),
        ("a prototype", 4, 0, &[("a", 11, 0)]),
        ("part of an int", 4, 0, &[("a", 13, 2)]),
        ("flag: part of an int", 4, KFLAG, &[("a", 13, 2)]),
        ("a wide int", 32, 0, &[("a", 14, 8)]),
        ("a wide int at an odd bit", 32, 0, &[("a", 14, 1)]),
    ];
    for (what, kind) in [("struct", kind::STRUCT), ("union", kind::UNION)] {
        for &(case, size, flag, members) in cases {
            put(list, &format!("{what}: {case}"), |b| {
                let int = b.int();
                b.ptr(int);
                b.array(int, int, 3);
                b.add("f", kind::FLOAT, 0, 4, &[]);
                b.of_members("s", kind, flag, size, members);
                b.ptr(5);
                let one = b.name("ONE");
                b.add("e", kind::ENUM, 1, 4, &[one, 1]);
                b.typedef("t", int);
                b.typedef("v", 0);
                b.add("w", kind::FWD, 0, 0, &[]);
                let proto = b.proto(0, &[]);
                b.func("g", 1, proto);
                b.add("part", kind::INT, 0, 4, &[0x0002_0005]);
                b.add("wide", kind::INT, 0, 16, &[128]);
            });
        }
    }
    put(list, "struct: bad name", |b| {
        b.structure("s s", 0, &[]);
    });
    put(list, "struct: cut", |b| {
        b.add("s", kind::STRUCT, 2, 8, &[0, 0, 0]);
    });
    put(list, "struct: a member's name out of the strings", |b| {
        let int = b.int();
        b.add("s", kind::STRUCT, 1, 8, &[777, int, 0]);
    });
    for n in [31, 32, 33] {
        put(list, &format!("{n} structs in each other"), |b| {
            for i in 0..n {
                b.structure(&format!("s{i}"), 4, &[("m", i + 2, 0)]);
            }
            b.int();
        });
    }
    put(list, "structs in a circle", |b| {
        b.structure("a", 4, &[("m", 2, 0)]);
        b.structure("b", 4, &[("m", 1, 0)]);
    });
    put(list, "a list's node", |b| {
        let int = b.int();
        b.structure("node", 16, &[("next", 3, 0), ("v", int, 64)]);
        b.ptr(2);
    });
    let long = "n".repeat(512);
    put(list, "a name of 512", |b| {
        b.structure(&long, 0, &[]);
    });
    put(list, "a name of 513", |b| {
        b.structure(&format!("{long}x"), 0, &[]);
    });
}

fn functions(list: &mut List) {
    type Params<'a> = &'a [(&'a str, u32)];
    let cases: &[(&str, u32, Params<'_>)] = &[
        ("nothing", 0, &[]),
        ("int", 1, &[("a", 1)]),
        ("a pointer", 2, &[("a", 2), ("b", 1)]),
        ("no name", 0, &[("", 1)]),
        ("any number", 0, &[("a", 1), ("", 0)]),
        ("only any number", 0, &[("", 0)]),
        ("a named any number", 0, &[("a", 1), ("x", 0)]),
        ("void in between", 0, &[("a", 0), ("b", 1)]),
        ("what is not there", 0, &[("a", 99)]),
        ("returns what is not there", 99, &[]),
        ("returns a function", 4, &[]),
        ("returns a forward", 5, &[]),
        ("returns a typedef of void", 6, &[]),
        ("takes a forward", 0, &[("a", 5)]),
        ("takes a typedef of void", 0, &[("a", 6)]),
        ("takes a variable", 0, &[("a", 7)]),
        ("returns a variable", 7, &[]),
        ("takes a struct", 0, &[("a", 8)]),
        ("a bad name", 0, &[("a-b", 1)]),
        (
            "seven",
            0,
            &[
                ("a", 1),
                ("b", 1),
                ("c", 1),
                ("d", 1),
                ("e", 1),
                ("f", 1),
                ("g", 1),
            ],
        ),
    ];
    for &(case, ret, params) in cases {
        for linkage in [0, 1] {
            put(list, &format!("function, {linkage}: {case}"), |b| {
                let int = b.int();
                b.ptr(int);
                let proto = b.proto(ret, params);
                b.func("f", linkage, proto);
                b.add("w", kind::FWD, 0, 0, &[]);
                b.typedef("v", 0);
                b.add("x", kind::VAR, 0, int, &[1]);
                b.structure("s", 4, &[("m", int, 0)]);
            });
        }
    }
    put(list, "function: linkage 2", |b| {
        b.proto(0, &[]);
        b.func("f", 2, 1);
    });
    put(list, "function: linkage 3", |b| {
        b.proto(0, &[]);
        b.func("f", 3, 1);
    });
    put(list, "function: no prototype", |b| {
        b.int();
        b.func("f", 0, 1);
    });
    put(list, "function: flag", |b| {
        b.proto(0, &[]);
        b.func("f", KFLAG, 1);
    });
    put(list, "function: no name", |b| {
        b.proto(0, &[]);
        b.func("", 0, 1);
    });
    put(list, "prototype: name", |b| {
        b.add("p", kind::FUNC_PROTO, 0, 0, &[]);
    });
    put(list, "prototype: flag", |b| {
        b.add("", kind::FUNC_PROTO, KFLAG, 0, &[]);
    });
    put(list, "prototype: cut", |b| {
        b.add("", kind::FUNC_PROTO, 2, 0, &[0, 0]);
    });
    put(list, "prototype: a name out of the strings", |b| {
        b.int();
        b.add("", kind::FUNC_PROTO, 1, 0, &[999, 1]);
    });
}

fn sections(list: &mut List) {
    for (case, name, vlen, to, linkage) in [
        ("static", "x", 0, 1, 0),
        ("global", "x", 0, 1, 1),
        ("extern", "x", 0, 1, 2),
        ("void", "x", 0, 0, 1),
        ("no name", "", 0, 1, 1),
        ("parts", "x", 1, 1, 1),
        ("flag", "x", KFLAG, 1, 1),
        ("a forward", "x", 0, 3, 1),
        ("itself", "x", 0, 2, 1),
        ("what is not there", "x", 0, 50, 1),
        ("a typedef of void", "x", 0, 4, 1),
        ("a pointer to it", "x", 0, 5, 1),
    ] {
        put(list, &format!("variable: {case}"), |b| {
            b.int();
            b.add(name, kind::VAR, vlen, to, &[linkage]);
            b.add("w", kind::FWD, 0, 0, &[]);
            b.typedef("v", 0);
            b.ptr(2);
        });
    }
    put(list, "variable: pointer", |b| {
        b.add("x", kind::VAR, 0, 2, &[1]);
        b.ptr(0);
    });
    let cases: &[(&str, u32, &[u32])] = &[
        ("empty", 4, &[]),
        ("size 0", 0, &[]),
        ("one", 4, &[2, 0, 4]),
        ("too small for the variable", 4, &[2, 0, 3]),
        ("larger than the variable", 8, &[2, 0, 8]),
        ("size 0 of a variable", 4, &[2, 0, 0]),
        ("behind the end", 4, &[2, 4, 4]),
        ("over the end", 6, &[2, 4, 4]),
        ("too large", 4, &[2, 0, 5]),
        ("two", 8, &[2, 0, 4, 3, 4, 4]),
        ("overlap", 8, &[2, 0, 4, 3, 2, 4]),
        ("gap", 12, &[2, 0, 4, 3, 8, 4]),
        ("void", 4, &[0, 0, 4]),
        ("no variable", 4, &[1, 0, 4]),
        ("what is not there", 4, &[77, 0, 4]),
        ("a number too large", 4, &[0x10_0000, 0, 4]),
        (
            "an end that wraps",
            0xffff_fff0,
            &[2, 0xffff_ffe0, 0xf000_0000, 3, 8, 8],
        ),
    ];
    for &(case, size, vars) in cases {
        put(list, &format!("section: {case}"), |b| {
            b.int();
            b.add("x", kind::VAR, 0, 1, &[1]);
            b.add("y", kind::VAR, 0, 1, &[0]);
            b.add(".data", kind::DATASEC, vars.len() as u32 / 3, size, vars);
        });
        put(list, &format!("section first: {case}"), |b| {
            let vars: Vec<u32> = vars
                .iter()
                .enumerate()
                .map(|(i, &v)| match (i % 3, v) {
                    (0, 1..=3) => v + 1,
                    _ => v,
                })
                .collect();
            b.add(".data", kind::DATASEC, vars.len() as u32 / 3, size, &vars);
            b.int();
            b.add("x", kind::VAR, 0, 2, &[1]);
            b.add("y", kind::VAR, 0, 2, &[0]);
        });
    }
    for (case, name, flag) in [
        ("no name", "", 0),
        ("flag", ".d", KFLAG),
        ("spaces in the name", ".d a-b", 0),
        ("a tab in the name", ".d\t", 0),
    ] {
        put(list, &format!("section: {case}"), |b| {
            b.add(name, kind::DATASEC, flag, 4, &[]);
        });
    }
    for (case, name, vlen, to, index) in [
        ("a struct", "t", 0, 2, -1),
        ("a member", "t", 0, 2, 0),
        ("a member not there", "t", 0, 2, 1),
        ("an int", "t", 0, 1, -1),
        ("a function", "t", 0, 4, -1),
        ("an argument", "t", 0, 4, 0),
        ("an argument not there", "t", 0, 4, 1),
        ("a variable", "t", 0, 5, -1),
        ("an index of a variable", "t", 0, 5, 0),
        ("a typedef", "t", 0, 6, -1),
        ("an index of a typedef", "t", 0, 6, 0),
        ("itself", "t", 0, 7, -1),
        ("what is not there", "t", 0, 70, -1),
        ("index -2", "t", 0, 2, -2),
        ("no value", "", 0, 2, -1),
        ("parts", "t", 1, 2, -1),
        ("flag", "t", KFLAG, 2, -1),
        ("any value", "a: b, c", 0, 2, -1),
    ] {
        put(list, &format!("tag: {case}"), |b| {
            b.int();
            b.structure("s", 4, &[("m", 1, 0)]);
            b.proto(1, &[("a", 1)]);
            b.func("f", 1, 3);
            b.add("x", kind::VAR, 0, 1, &[1]);
            b.typedef("y", 1);
            b.add(name, kind::DECL_TAG, vlen, to, &[index as u32]);
        });
    }
}

fn special(list: &mut List) {
    let lock = |b: &mut Blob| {
        let int = b.int();
        b.structure("bpf_spin_lock", 4, &[("val", int, 0)])
    };
    for (case, size, at) in [
        ("a lock", 8, &[32][..]),
        ("an unaligned lock", 12, &[16]),
        ("two locks", 8, &[0, 32]),
        ("a lock and more", 16, &[64]),
    ] {
        put(list, &format!("object: {case}"), |b| {
            let lock = lock(b);
            let members: Vec<_> = at.iter().map(|&at| ("l", lock, at)).collect();
            b.structure("s", size, &members);
        });
    }
    put(list, "object: a lock of another size", |b| {
        let int = b.int();
        let lock = b.structure("bpf_spin_lock", 8, &[("val", int, 0)]);
        b.structure("s", 8, &[("l", lock, 0)]);
    });
    put(list, "object: an array of locks", |b| {
        let lock = lock(b);
        let array = b.array(lock, 1, 2);
        b.structure("s", 8, &[("l", array, 0)]);
    });
    put(list, "object: a lock in a struct in a struct", |b| {
        let lock = lock(b);
        let inner = b.structure("in", 8, &[("l", lock, 32)]);
        b.structure(
            "out",
            24,
            &[("a", inner, 0), ("b", lock, 64), ("c", inner, 128)],
        );
    });
    put(list, "object: a list without lock", |b| {
        let int = b.int();
        let long = b.long();
        let array = b.array(long, int, 2);
        let head = b.structure("bpf_list_head", 16, &[("o", array, 0)]);
        b.structure("s", 16, &[("h", head, 0)]);
    });
    put(list, "object: a node of a list", |b| {
        let int = b.int();
        let long = b.long();
        let array = b.array(long, int, 3);
        let node = b.structure("bpf_list_node", 24, &[("o", array, 0)]);
        b.structure("s", 32, &[("n", node, 64)]);
    });
    put(list, "object: a reference count", |b| {
        let int = b.int();
        let array = b.array(int, int, 1);
        let count = b.structure("bpf_refcount", 4, &[("o", array, 0)]);
        b.structure("s", 8, &[("n", count, 0), ("m", count, 32)]);
    });
    put(list, "object: a bit before the lock", |b| {
        let lock = lock(b);
        b.of_members(
            "s",
            kind::STRUCT,
            KFLAG,
            8,
            &[("a", 1, (1 << 24) | 1), ("l", lock, 32)],
        );
    });
}
