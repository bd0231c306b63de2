//! Text to graph. All faulty lines are reported at once; what reads a faulty line's value is not blamed too.

use super::lexer::{Token, tokens};
use super::print::type_and_data_hash;
use crate::attrs::{Attr, AttrReader};
use crate::diag::{Diagnostic, Diagnostics, Location};
use crate::graph::{Graph, ValueId};
use crate::ops::{Op, OpDef};
use crate::origin::Origin;
use crate::tensor::{Data, Tensor};
use crate::types::{Affine, ElemType, IntType, Layout, Q, Stage, TensorType};
use crate::verify::verify;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Parses a graph and verifies it.
///
/// `file` names the text in errors; `blob` gives the constants that stand outside, by name.
pub fn parse(
    text: &str,
    file: &str,
    blob: &mut dyn FnMut(&str) -> Option<Arc<Tensor>>,
) -> Result<Graph, Diagnostics> {
    let mut reader = Reader { graph: None, values: BTreeMap::new(), blob };
    let mut found = Diagnostics::new();
    let mut headed = false;
    for (index, line) in text.lines().enumerate() {
        let at = |column: usize| Location::file(file).at(format!("line {}, column {column}", index + 1));
        let line = match tokens(line) {
            Ok(line) if line.is_empty() => continue,
            Ok(line) => line,
            Err((column, message)) => {
                found.push(Diagnostic::error(at(column), message));
                continue;
            }
        };
        let mut cursor = Cursor { tokens: &line, next: 0 };
        let result =
            if headed { reader.line(&mut cursor) } else { cursor.word("uir").and_then(|_| cursor.word("1")) };
        headed = true;
        if let Err(message) = result.and_then(|()| cursor.end()) {
            // A line that reads a value of an earlier faulty line has nothing new to say.
            if message != POISONED {
                let column = line.get(cursor.next.min(line.len() - 1)).map_or(1, |t| t.0);
                found.push(Diagnostic::error(at(column), message));
            }
            if let Some((_, Token::Name(name))) = line.iter().find(|t| matches!(t.1, Token::Name(_))) {
                reader.values.entry(name.clone()).or_insert(None);
            }
        }
    }
    if found.has_errors() {
        return Err(found);
    }
    let Some(graph) = reader.graph else {
        let message = "expected `uir 1` and a graph, found neither";
        return Err(Diagnostic::error(Location::file(file), message).into());
    };
    verify(&graph).map_err(|faults| {
        Diagnostics(
            faults
                .into_iter()
                .map(|d| {
                    if d.at.file.is_empty() {
                        Diagnostic { at: Box::new(Location::file(file)), ..d }
                    } else {
                        d
                    }
                })
                .collect(),
        )
    })?;
    Ok(graph)
}

const POISONED: &str = "reads a value of a faulty line";

struct Reader<'a> {
    graph: Option<Graph>,
    /// Values by name; nothing for those whose line was faulty.
    values: BTreeMap<String, Option<ValueId>>,
    blob: &'a mut dyn FnMut(&str) -> Option<Arc<Tensor>>,
}

impl Reader<'_> {
    fn line(&mut self, line: &mut Cursor) -> Result<(), String> {
        match line.peek() {
            Some(Token::Word(w)) if w == "graph" => {
                line.next += 1;
                let name = line.text()?;
                let stage = line.any_word()?;
                let stage = Stage::from_name(&stage).ok_or_else(|| format!("there is no stage `{stage}`"))?;
                if self.graph.is_some() {
                    return Err("a second graph".to_string());
                }
                let mut graph = Graph::new(name);
                graph.stage = stage;
                self.graph = Some(graph);
                Ok(())
            }
            Some(Token::Word(w)) if w == "input" => {
                line.next += 1;
                let name = self.fresh(line)?;
                line.mark(':')?;
                let ty = line.tensor_type()?;
                let id = self.graph()?.add_input(&name, ty);
                self.values.insert(name, Some(id));
                Ok(())
            }
            Some(Token::Word(w)) if w == "const" => {
                line.next += 1;
                self.constant(line)
            }
            Some(Token::Word(w)) if w == "output" => {
                line.next += 1;
                let name = line.text()?;
                let value = self.value(line)?;
                self.graph()?.add_output(&name, value);
                Ok(())
            }
            Some(Token::Name(_)) => self.node(line),
            _ => Err("expected `graph`, `input`, `const`, `output` or `%name = op …`".to_string()),
        }
    }

    fn graph(&mut self) -> Result<&mut Graph, String> {
        self.graph.as_mut().ok_or_else(|| "expected a line `graph \"NAME\" STAGE` first".to_string())
    }

    /// A name that no earlier line has made.
    fn fresh(&self, line: &mut Cursor) -> Result<String, String> {
        let name = line.name()?;
        if self.values.contains_key(&name) {
            line.next -= 1;
            return Err(format!("`%{name}` is already there"));
        }
        Ok(name)
    }

    fn value(&self, line: &mut Cursor) -> Result<ValueId, String> {
        let name = line.name()?;
        match self.values.get(&name) {
            Some(Some(id)) => Ok(*id),
            Some(None) => Err(POISONED.to_string()),
            None => {
                line.next -= 1;
                Err(format!("`%{name}` is made by no earlier line"))
            }
        }
    }

    fn constant(&mut self, line: &mut Cursor) -> Result<(), String> {
        let name = self.fresh(line)?;
        line.mark(':')?;
        let ty = line.tensor_type()?;
        line.mark('=')?;
        let tensor = if line.take('@') {
            line.word("blob")?;
            line.word("sha256")?;
            line.mark('=')?;
            let hash = line.any_word()?;
            let tensor = (self.blob)(&name)
                .ok_or_else(|| format!("the constants beside this text do not hold `{name}`"))?;
            // The archive knows plain arrays; the text says what they mean.
            let tensor = Arc::new(Tensor { ty, data: tensor.data.clone() });
            if type_and_data_hash(&tensor) != hash {
                return Err(format!(
                    "the constant `{name}` beside this text is another one: its hash differs"
                ));
            }
            tensor
        } else {
            let data = line.elements(&ty.elem)?;
            Arc::new(Tensor { ty, data })
        };
        if let Some(fault) = tensor.fault() {
            return Err(fault);
        }
        let id = self.graph()?.add_const(&name, tensor);
        self.values.insert(name, Some(id));
        Ok(())
    }

    fn node(&mut self, line: &mut Cursor) -> Result<(), String> {
        let name = self.fresh(line)?;
        line.mark('=')?;
        let op_name = line.any_word()?;
        let mut inputs = Vec::new();
        while matches!(line.peek(), Some(Token::Name(_))) {
            inputs.push(self.value(line)?);
            if !line.take(',') {
                break;
            }
        }
        let mut attrs = AttrReader::new(line.attrs()?)?;
        let op = Op::parse(&op_name, &mut attrs)?;
        attrs.finish()?;
        line.mark(':')?;
        let ty = line.tensor_type()?;
        let origin = line.origin()?;
        let graph = self.graph()?;
        let id = graph.add_node(op, &inputs, &name, &origin).map_err(|e| e.message)?;
        if *graph.ty(id) != ty {
            return Err(format!("the op makes {}, the line says {ty}", graph.ty(id)));
        }
        self.values.insert(name, Some(id));
        Ok(())
    }
}

/// The tokens of one line, read from left to right.
struct Cursor<'a> {
    tokens: &'a [(usize, Token)],
    next: usize,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|t| &t.1)
    }
    fn found(&self) -> String {
        self.peek().map_or("the end of the line".to_string(), Token::describe)
    }
    fn take(&mut self, mark: char) -> bool {
        let there = self.peek() == Some(&Token::Mark(mark));
        self.next += usize::from(there);
        there
    }
    fn mark(&mut self, mark: char) -> Result<(), String> {
        if self.take(mark) { Ok(()) } else { Err(format!("expected `{mark}`, found {}", self.found())) }
    }
    fn word(&mut self, word: &str) -> Result<(), String> {
        match self.peek() {
            Some(Token::Word(w)) if w == word => {
                self.next += 1;
                Ok(())
            }
            _ => Err(format!("expected `{word}`, found {}", self.found())),
        }
    }
    fn any_word(&mut self) -> Result<String, String> {
        let Some(Token::Word(w)) = self.peek() else {
            return Err(format!("expected a word, found {}", self.found()));
        };
        let w = w.clone();
        self.next += 1;
        Ok(w)
    }
    fn name(&mut self) -> Result<String, String> {
        let Some(Token::Name(n)) = self.peek() else {
            return Err(format!("expected a %name, found {}", self.found()));
        };
        let n = n.clone();
        self.next += 1;
        Ok(n)
    }
    fn text(&mut self) -> Result<String, String> {
        let Some(Token::Text(t)) = self.peek() else {
            return Err(format!("expected a quoted name, found {}", self.found()));
        };
        let t = t.clone();
        self.next += 1;
        Ok(t)
    }
    fn end(&self) -> Result<(), String> {
        if self.next == self.tokens.len() {
            Ok(())
        } else {
            Err(format!("expected the end of the line, found {}", self.found()))
        }
    }
    fn number<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.any_word()?;
        word.parse().map_err(|_| {
            self.next -= 1;
            format!("expected {what}, found `{word}`")
        })
    }
    /// `[a, b, …]`, each read by `item`.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, String>) -> Result<Vec<T>, String> {
        self.mark('[')?;
        let mut items = Vec::new();
        if !self.take(']') {
            loop {
                items.push(item(self)?);
                if self.take(']') {
                    break;
                }
                self.mark(',')?;
            }
        }
        Ok(items)
    }
    fn float(&mut self) -> Result<f32, String> {
        if self.peek() == Some(&Token::Word("nan".to_string())) {
            self.next += 1;
            self.mark('(')?;
            let word = self.any_word()?;
            self.mark(')')?;
            let bits = word.strip_prefix("0x").and_then(|h| u32::from_str_radix(h, 16).ok());
            return bits
                .map(f32::from_bits)
                .ok_or_else(|| format!("expected the bits of a NaN, found `{word}`"));
        }
        self.number("a number")
    }
    fn elements(&mut self, elem: &ElemType) -> Result<Data, String> {
        if elem.is_float() {
            return Ok(Data::F32(self.list(Self::float)?));
        }
        let codes = self.list(|c| c.number::<i64>("an integer"))?;
        match codes.iter().find(|&&c| !elem.has_code(c)) {
            Some(c) => Err(format!("{elem} has no code {c}")),
            None => Ok(Data::from_codes(elem, codes)),
        }
    }

    fn tensor_type(&mut self) -> Result<TensorType, String> {
        let elem = self.elem()?;
        let shape = self.list(|c| c.number::<usize>("a size"))?;
        if shape.len() > crate::types::Shape::MAX_RANK {
            return Err(format!(
                "{} axes; at most {} are supported",
                shape.len(),
                crate::types::Shape::MAX_RANK
            ));
        }
        let layout = if shape.is_empty() {
            Layout::anonymous(0)
        } else {
            let word = self.any_word()?;
            Layout::new(&word)
                .filter(|l| l.rank() == shape.len())
                .ok_or_else(|| format!("`{word}` does not name {} axes", shape.len()))?
        };
        Ok(TensorType::new(elem, shape, layout))
    }

    fn elem(&mut self) -> Result<ElemType, String> {
        let word = self.any_word()?;
        match word.as_str() {
            "fixed" | "ufixed" => {
                self.mark('<')?;
                let width: u8 = self.number("a width")?;
                self.mark(',')?;
                let integer: i16 = self.number("the number of integer bits")?;
                self.mark('>')?;
                let frac = i16::from(width).checked_sub(integer).ok_or("the binary point is too far away")?;
                Ok(ElemType::Fixed(Q { signed: word == "fixed", width, frac }))
            }
            "quant" => self.affine(),
            other => ElemType::from_name(other).ok_or_else(|| format!("there is no element type `{other}`")),
        }
    }

    fn affine(&mut self) -> Result<ElemType, String> {
        self.mark('<')?;
        let word = self.any_word()?;
        let int =
            IntType::from_name(&word).ok_or_else(|| format!("expected an integer type, found `{word}`"))?;
        self.mark(',')?;
        let mut axis = None;
        if self.word("axis").is_ok() {
            self.mark('=')?;
            axis = Some(self.number("an axis")?);
            self.mark(',')?;
        }
        self.word("scale")?;
        self.mark('=')?;
        let scale = self.list(Self::float)?;
        self.mark(',')?;
        self.word("zero")?;
        self.mark('=')?;
        let zero = self.list(|c| c.number::<i64>("an integer"))?;
        self.mark('>')?;
        Ok(ElemType::Quant(Arc::new(Affine { int, axis, scale, zero })))
    }

    fn attrs(&mut self) -> Result<Vec<(String, Attr)>, String> {
        let mut attrs = Vec::new();
        if !self.take('{') {
            return Ok(attrs);
        }
        loop {
            let name = self.any_word()?;
            self.mark('=')?;
            attrs.push((name, self.attr()?));
            if self.take('}') {
                return Ok(attrs);
            }
            self.mark(',')?;
        }
    }

    fn attr(&mut self) -> Result<Attr, String> {
        if self.peek() == Some(&Token::Mark('[')) {
            let words = self.list(Self::any_word)?;
            let ints: Option<Vec<i64>> = words.iter().map(|w| w.parse().ok()).collect();
            let floats = || words.iter().map(|w| w.parse().ok()).collect::<Option<Vec<f32>>>();
            return ints
                .map(Attr::Ints)
                .or_else(|| floats().map(Attr::Floats))
                .ok_or_else(|| format!("expected a list of numbers, found [{}]", words.join(",")));
        }
        let word = self.any_word()?;
        if let Ok(i) = word.parse::<i64>() {
            return Ok(Attr::Int(i));
        }
        match word.as_str() {
            "true" => Ok(Attr::Bool(true)),
            "false" => Ok(Attr::Bool(false)),
            _ => Ok(word.parse::<f32>().map_or(Attr::Word(word), Attr::Float)),
        }
    }

    fn origin(&mut self) -> Result<Origin, String> {
        if !self.take('@') {
            return Ok(Origin::default());
        }
        let format = self.any_word()?;
        self.mark('(')?;
        let file = self.text()?;
        self.mark(',')?;
        let place = self.text()?;
        self.mark(',')?;
        let layer = self.text()?;
        self.mark(')')?;
        Ok(Origin::new(&format, &file, &place, &layer))
    }
}
