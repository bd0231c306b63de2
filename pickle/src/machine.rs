//! The opcodes of pickles, protocols 0 to 5.
//!
//! In: bytes. Out: records. Each opcode reads its operands, takes what it needs from the stack and makes at most two
//! records; none calls anything.

use std::collections::HashMap;

use super::{Id, Input, Object, Pickle, Record, Span, text};

/// Reads one pickle, up to its `STOP`.
pub fn parse(input: &mut Input<'_>) -> Result<Pickle, String> {
    // Things without parts are made once.
    let records = vec![Record::None, Record::Bool(false), Record::Bool(true), Record::Tuple(Vec::new())];
    let mut machine = Machine { records, ..Machine::default() };
    loop {
        let at = input.position();
        let opcode = input.byte().map_err(|e| format!("offset {at}: no opcode: {e}"))?;
        if opcode == b'.' {
            let root = machine.pop().map_err(|e| format!("offset {at}: STOP: {e}"))?;
            return Ok(Pickle { records: machine.records, blob: machine.blob, root });
        }
        machine.step(opcode, input).map_err(|e| match e {
            Fault::Unknown => format!("offset {at}: {opcode:#04x} is no opcode of a pickle"),
            Fault::Wrong(text) => format!("offset {at}: opcode {opcode:#04x}: {text}"),
        })?;
    }
}

const NONE: Id = Id(0);
const FALSE: Id = Id(1);
const TRUE: Id = Id(2);
const EMPTY_TUPLE: Id = Id(3);

enum Fault {
    Unknown,
    Wrong(String),
}

impl From<String> for Fault {
    fn from(text: String) -> Self {
        Fault::Wrong(text)
    }
}
impl From<&str> for Fault {
    fn from(text: &str) -> Self {
        Fault::Wrong(text.to_string())
    }
}

#[derive(Default)]
struct Machine {
    records: Vec<Record>,
    blob: Vec<u8>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    /// Looked up only, never walked: its order is of no account.
    memo: HashMap<u32, Id>,
}

impl Machine {
    fn step(&mut self, opcode: u8, input: &mut Input<'_>) -> Result<(), Fault> {
        match opcode {
            // The stack and the memo.
            b'(' => self.marks.push(self.stack.len()),
            b'0' => self.discard()?,
            b'1' => drop(self.since_mark()?),
            b'2' => self.stack.push(self.top()?),
            b'g' => self.recall(index(&input.line()?)?)?,
            b'h' => self.recall(input.byte()?.into())?,
            b'j' => self.recall(u32::from_le_bytes(input.array()?))?,
            b'p' => self.remember(index(&input.line()?)?)?,
            b'q' => self.remember(input.byte()?.into())?,
            b'r' => self.remember(u32::from_le_bytes(input.array()?))?,
            0x94 => self.remember(u32::try_from(self.memo.len()).map_err(|_| "too many records")?)?,
            // What surrounds the data: protocol, frames, buffers.
            0x80 => match input.byte()? {
                0..=5 => {}
                other => return Err(format!("protocol {other}; 0 to 5 are known").into()),
            },
            0x95 => drop(input.array::<8>()?),
            0x97 => return Err("a buffer outside of the pickle, which no file holds".into()),
            0x98 => drop(self.top()?),
            b'R' | b'b' | b'c' | b'i' | b'o' | b'P' | b'Q' | 0x81..=0x84 | 0x92 | 0x93 => {
                self.object(opcode, input)?;
            }
            b']'
            | b'}'
            | b')'
            | b'l'
            | b'd'
            | b't'
            | b'a'
            | b'e'
            | b's'
            | b'u'
            | 0x85..=0x87
            | 0x8f..=0x91 => {
                self.container(opcode)?;
            }
            _ => self.value(opcode, input)?,
        }
        Ok(())
    }

    /// Opcodes that push a number, a text or bytes.
    fn value(&mut self, opcode: u8, input: &mut Input<'_>) -> Result<(), Fault> {
        let known = match opcode {
            b'N' => Some(NONE),
            0x88 => Some(TRUE),
            0x89 => Some(FALSE),
            _ => None,
        };
        if let Some(id) = known {
            self.stack.push(id);
            return Ok(());
        }
        let record = match opcode {
            b'I' | b'L' => self.decimal(&input.line()?)?,
            b'J' => Record::Int(i32::from_le_bytes(input.array()?).into()),
            b'K' => Record::Int(input.byte()?.into()),
            b'M' => Record::Int(u16::from_le_bytes(input.array()?).into()),
            0x8a => self.binary_int(u64::from(input.byte()?), input)?,
            0x8b => self.binary_int(size4(input.array()?)?, input)?,
            b'F' => Record::Float(float(&input.line()?)?),
            b'G' => Record::Float(f64::from_be_bytes(input.array()?)),
            b'S' => {
                let text = text::unquote(&input.line()?)?;
                Record::Bytes(self.keep(&text))
            }
            b'V' => {
                let text = text::raw_unicode(&input.line()?)?;
                Record::Text(self.keep(text.as_bytes()))
            }
            b'U' | b'C' => {
                let len = u64::from(input.byte()?);
                Record::Bytes(input.take(len, &mut self.blob)?)
            }
            b'T' => {
                let len = size4(input.array()?)?;
                Record::Bytes(input.take(len, &mut self.blob)?)
            }
            b'B' => {
                let len = u32::from_le_bytes(input.array()?).into();
                Record::Bytes(input.take(len, &mut self.blob)?)
            }
            0x8e | 0x96 => {
                let len = u64::from_le_bytes(input.array()?);
                Record::Bytes(input.take(len, &mut self.blob)?)
            }
            0x8c => {
                let len = u64::from(input.byte()?);
                Record::Text(input.take(len, &mut self.blob)?)
            }
            b'X' => {
                let len = u32::from_le_bytes(input.array()?).into();
                Record::Text(input.take(len, &mut self.blob)?)
            }
            0x8d => {
                let len = u64::from_le_bytes(input.array()?);
                Record::Text(input.take(len, &mut self.blob)?)
            }
            _ => return Err(Fault::Unknown),
        };
        self.push(record)
    }

    /// Opcodes that make or fill lists, tuples, dictionaries and sets.
    fn container(&mut self, opcode: u8) -> Result<(), Fault> {
        match opcode {
            b']' => self.push(Record::List(Vec::new())),
            b'}' => self.push(Record::Dict(Vec::new())),
            0x8f => self.push(Record::Set(Vec::new())),
            b')' => {
                self.stack.push(EMPTY_TUPLE);
                Ok(())
            }
            b'l' => {
                let items = self.since_mark()?;
                self.push(Record::List(items))
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Record::Tuple(items))
            }
            0x91 => {
                let items = self.since_mark()?;
                self.push(Record::Set(items))
            }
            b'd' => {
                let pairs = pairs(&self.since_mark()?)?;
                self.push(Record::Dict(pairs))
            }
            0x85..=0x87 => {
                let start = self.stack.len().checked_sub(usize::from(opcode - 0x84));
                let start = start.filter(|&s| s >= self.floor()).ok_or("the stack is too short")?;
                let items = self.stack.drain(start..).collect();
                self.push(Record::Tuple(items))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' | 0x90 => {
                let items = self.since_mark()?;
                self.append(&items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])
            }
            _ => {
                let pairs = pairs(&self.since_mark()?)?;
                self.set(pairs)
            }
        }
    }

    /// Opcodes that name a class, call one or set an object's state: each only records that.
    fn object(&mut self, opcode: u8, input: &mut Input<'_>) -> Result<(), Fault> {
        match opcode {
            b'c' => {
                let class = self.named(input)?;
                self.push(class)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                self.push(Record::Global(module, name))
            }
            0x82 => {
                input.byte()?;
                self.push(Record::Extension)
            }
            0x83 => {
                input.array::<2>()?;
                self.push(Record::Extension)
            }
            0x84 => {
                input.array::<4>()?;
                self.push(Record::Extension)
            }
            b'R' | 0x81 => {
                let (args, class) = (self.pop()?, self.pop()?);
                self.call(class, args, None)
            }
            0x92 => {
                let (kwargs, args, class) = (self.pop()?, self.pop()?, self.pop()?);
                self.call(class, args, Some(kwargs))
            }
            b'i' => {
                let class = self.named(input)?;
                let class = self.add(class)?;
                let items = self.since_mark()?;
                let args = self.tuple(items)?;
                self.call(class, args, None)
            }
            b'o' => {
                let mut items = self.since_mark()?;
                if items.is_empty() {
                    return Err("no class on the stack".into());
                }
                let class = items.remove(0);
                let args = self.tuple(items)?;
                self.call(class, args, None)
            }
            b'b' => {
                let state = self.pop()?;
                match self.target()? {
                    Record::Object(object) => object.states.push(state),
                    _ => return Err("a state for something that has none".into()),
                }
                Ok(())
            }
            b'P' => {
                let line = input.line()?;
                let span = self.keep(&line);
                let key = self.add(Record::Text(span))?;
                self.push(Record::Persistent(key))
            }
            _ => {
                let key = self.pop()?;
                self.push(Record::Persistent(key))
            }
        }
    }

    fn add(&mut self, record: Record) -> Result<Id, Fault> {
        let id = u32::try_from(self.records.len()).map_err(|_| "too many records")?;
        self.records.push(record);
        Ok(Id(id))
    }
    fn tuple(&mut self, items: Vec<Id>) -> Result<Id, Fault> {
        if items.is_empty() { Ok(EMPTY_TUPLE) } else { self.add(Record::Tuple(items)) }
    }
    fn push(&mut self, record: Record) -> Result<(), Fault> {
        let id = self.add(record)?;
        self.stack.push(id);
        Ok(())
    }
    fn keep(&mut self, bytes: &[u8]) -> Span {
        let start = self.blob.len();
        self.blob.extend_from_slice(bytes);
        Span { start, len: bytes.len() }
    }

    /// What lies below the last mark is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }
    fn pop(&mut self) -> Result<Id, String> {
        if self.stack.len() <= self.floor() {
            return Err("the stack is empty".to_string());
        }
        self.stack.pop().ok_or_else(|| "the stack is empty".to_string())
    }
    fn top(&self) -> Result<Id, String> {
        let top = self.stack.last().filter(|_| self.stack.len() > self.floor());
        top.copied().ok_or_else(|| "the stack is empty".to_string())
    }
    /// `POP` takes a mark where one is on top.
    fn discard(&mut self) -> Result<(), String> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }
    fn since_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("no mark on the stack")?;
        // Not `split_off`, which can hand out the whole stack's room with a few elements in it.
        Ok(self.stack.drain(mark.min(self.stack.len())..).collect())
    }
    /// The record on top of the stack, to be filled.
    fn target(&mut self) -> Result<&mut Record, String> {
        let id = self.top()?;
        self.records.get_mut(id.index()).ok_or_else(|| "the stack is empty".to_string())
    }
    fn append(&mut self, new: &[Id]) -> Result<(), Fault> {
        match self.target()? {
            Record::List(items) | Record::Set(items) => items.extend_from_slice(new),
            Record::Object(object) => object.items.extend_from_slice(new),
            _ => return Err("an element for something that is no list".into()),
        }
        Ok(())
    }
    fn set(&mut self, new: Vec<(Id, Id)>) -> Result<(), Fault> {
        match self.target()? {
            Record::Dict(pairs) => pairs.extend(new),
            Record::Object(object) => object.pairs.extend(new),
            _ => return Err("an entry for something that is no dictionary".into()),
        }
        Ok(())
    }

    fn remember(&mut self, index: u32) -> Result<(), Fault> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }
    fn recall(&mut self, index: u32) -> Result<(), Fault> {
        let id = self.memo.get(&index).copied().ok_or_else(|| format!("the memo has no entry {index}"))?;
        self.stack.push(id);
        Ok(())
    }

    /// A class named on two lines.
    fn named(&mut self, input: &mut Input<'_>) -> Result<Record, Fault> {
        let (module, name) = (input.line()?, input.line()?);
        let (module, name) = (self.keep(&module), self.keep(&name));
        let (module, name) = (self.add(Record::Text(module))?, self.add(Record::Text(name))?);
        Ok(Record::Global(module, name))
    }
    fn call(&mut self, class: Id, args: Id, kwargs: Option<Id>) -> Result<(), Fault> {
        let object = Object { class, args, kwargs, states: Vec::new(), items: Vec::new(), pairs: Vec::new() };
        self.push(Record::Object(Box::new(object)))
    }

    /// A decimal integer; `I00` and `I01` are truth values.
    fn decimal(&mut self, line: &[u8]) -> Result<Record, Fault> {
        let digits = line.trim_ascii();
        match digits {
            b"00" => return Ok(Record::Bool(false)),
            b"01" => return Ok(Record::Bool(true)),
            _ => {}
        }
        let digits = digits.strip_suffix(b"L").unwrap_or(digits);
        let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
        if unsigned.is_empty() || !unsigned.iter().all(u8::is_ascii_digit) {
            return Err("no decimal integer".into());
        }
        let value = std::str::from_utf8(digits).ok().and_then(|t| t.parse().ok());
        Ok(match value {
            Some(value) => Record::Int(value),
            None => Record::Big(self.keep(digits)),
        })
    }
    /// An integer of `len` bytes, two's complement.
    fn binary_int(&mut self, len: u64, input: &mut Input<'_>) -> Result<Record, Fault> {
        let span = input.take(len, &mut self.blob)?;
        if span.len > 8 {
            return Ok(Record::Big(span));
        }
        let bytes = self.blob.get(span.start..).unwrap_or(&[]);
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let fill = if negative { -1 } else { 0 };
        Ok(Record::Int(bytes.iter().rev().fold(fill, |value: i64, &b| value << 8 | i64::from(b))))
    }
}

/// Keys and values in turn.
fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Fault> {
    let (pairs, rest) = items.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("a key without a value".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

fn index(line: &[u8]) -> Result<u32, Fault> {
    let text = std::str::from_utf8(line.trim_ascii()).ok();
    text.and_then(|t| t.parse().ok()).ok_or_else(|| "no number of the memo".into())
}

fn float(line: &[u8]) -> Result<f64, Fault> {
    let text = std::str::from_utf8(line.trim_ascii()).ok();
    text.and_then(|t| t.parse().ok()).ok_or_else(|| "no decimal number".into())
}

/// A length of four bytes, which the oldest opcodes have signed.
fn size4(bytes: [u8; 4]) -> Result<u64, Fault> {
    u64::try_from(i32::from_le_bytes(bytes)).map_err(|_| "a negative length".into())
}
