//! Networks of look-up tables as arrays in one `.npz`, wherever they were trained.
//!
//! In: the bytes of an archive with `0.connections` and `0.tables`, and the same for layers 1, 2, …; README.md describes the
//! format. Out: a graph at stage `imported`: thermometer encoder, layers, sums of groups, as far as the archive has them.
//! Refuses, all at once, each with the array's name: arrays that are missing, not understood or of a wrong shape, connections
//! that name no bit of the layer before, entries of tables that are neither 0 nor 1, counts that do not divide.
//!
//! A layer reads the one before it alone, so there are no cycles. What is allocated is bounded by the archive's size.

use std::collections::BTreeMap;

use unfloat_ir::ops::{Cast, Compare, Lut, Reduce, ReduceFn, Reshape};
use unfloat_ir::{
    Diagnostic, Diagnostics, ElemType, Graph, IntType, Layout, Location, Origin, Shape, Tensor, TensorType,
    ValueId,
};
use unfloat_npy::Npz;

/// What messages say of the format.
const HELP: &str = "a network of look-up tables has `0.connections` [outputs, pins] and `0.tables` [outputs, 2^pins], the \
                    same for layers 1, 2, …, and `inputs`, the shape of its input bits, or `thresholds`; README.md describes it";

/// Whether arrays of these names are a network of look-up tables.
pub fn recognise(names: &[String]) -> bool {
    ["0.connections", "0.tables"].iter().all(|wanted| names.iter().any(|n| n == wanted))
}

/// Reads an archive. `label` is the file's base name, for messages and origins; `name` becomes the graph's.
pub fn import(label: &str, bytes: &[u8], name: &str) -> Result<Graph, Diagnostics> {
    let mut reader = Reader { label, arrays: BTreeMap::new(), found: Diagnostics::new() };
    reader.read(bytes)?;
    let net = reader.network();
    let leftover: Vec<String> = reader.arrays.keys().cloned().collect();
    for array in leftover {
        reader.fail(&array, "is an array that is not understood");
    }
    reader.found.into_result(())?;
    match net {
        Some(net) => net.graph(label, name).map_err(Diagnostics::from),
        None => Err(Diagnostic::error(Location::file(label), "holds no network").help(HELP).into()),
    }
}

struct Reader<'a> {
    label: &'a str,
    arrays: BTreeMap<String, Tensor>,
    found: Diagnostics,
}

/// What an archive holds, checked.
struct Network {
    inputs: Inputs,
    layers: Vec<Layer>,
    /// Classes, each the sum of as many neighbouring bits of the last layer.
    groups: Option<usize>,
}

enum Inputs {
    /// Bits of that shape.
    Bits(Shape),
    /// Numbers of the thresholds' type; each becomes a bit for each of its thresholds, set where it is greater.
    Thermometer(Tensor),
}

struct Layer {
    connections: Tensor,
    tables: Tensor,
}

impl Reader<'_> {
    fn fail(&mut self, array: &str, text: impl Into<String>) {
        let at = Location::file(self.label).at(format!("{array}.npy"));
        self.found.push(Diagnostic::error(at, text).help(HELP));
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Diagnostics> {
        let fault = |text: String| Diagnostic::error(Location::file(self.label), text);
        let mut npz = Npz::open(bytes).map_err(|e| fault(e.to_string()))?;
        let mut found = Diagnostics::new();
        for name in npz.names() {
            match npz.get(&name) {
                Ok(Some(tensor)) => drop(self.arrays.insert(name, tensor)),
                Ok(None) => {}
                Err(e) => found.push(fault(e.to_string())),
            }
        }
        found.into_result(())
    }

    fn network(&mut self) -> Option<Network> {
        let inputs = self.inputs();
        let mut bits = match &inputs {
            Some(Inputs::Bits(shape)) => Some(shape.num_elements()),
            Some(Inputs::Thermometer(thresholds)) => Some(thresholds.len()),
            None => None,
        };
        let mut layers = Vec::new();
        loop {
            let names = ["connections", "tables"].map(|part| format!("{}.{part}", layers.len()));
            let [connections, tables] = names.each_ref().map(|n| self.arrays.remove(n));
            match (connections, tables) {
                (None, None) => break,
                (Some(connections), Some(tables)) => {
                    let layer = self.layer(&names, connections, tables, bits);
                    bits = layer.as_ref().map(|l| l.connections.shape()[0]);
                    layers.push(layer);
                }
                (None, Some(_)) => {
                    self.fail(&names[0], "is missing beside the layer's tables");
                    break;
                }
                (Some(_), None) => {
                    self.fail(&names[1], "is missing beside the layer's connections");
                    break;
                }
            }
        }
        if layers.is_empty() {
            self.fail("0.connections", "is missing");
        }
        let groups = self.groups(bits);
        let layers = layers.into_iter().collect::<Option<Vec<Layer>>>()?;
        Some(Network { inputs: inputs?, layers, groups })
    }

    fn inputs(&mut self) -> Option<Inputs> {
        let (shape, thresholds) = (self.arrays.remove("inputs"), self.arrays.remove("thresholds"));
        match (shape, thresholds) {
            (None, None) => {
                self.fail("inputs", "is missing: how many bits come in, or their shape");
                None
            }
            (Some(_), Some(_)) => {
                self.fail("inputs", "stands beside `thresholds`, which say how many bits come in");
                None
            }
            (Some(shape), None) => {
                let dims: Option<Vec<usize>> =
                    whole(&shape).into_iter().map(|d| usize::try_from(d?).ok()).collect();
                let shape = dims.map(Shape::from).filter(|s| {
                    let most = unfloat_ir::verify::MAX_ELEMENTS;
                    s.rank() > 0
                        && s.rank() <= Shape::MAX_RANK
                        && s.checked_len().is_some_and(|n| n > 0 && n <= most)
                });
                if shape.is_none() {
                    self.fail("inputs", "expected the shape of the input bits, positive whole numbers");
                }
                shape.map(Inputs::Bits)
            }
            (None, Some(thresholds)) => {
                let number = thresholds.ty.elem.is_float() || matches!(thresholds.ty.elem, ElemType::Int(_));
                if thresholds.shape().rank() != 2 || thresholds.is_empty() || !number {
                    let text = format!("expected numbers [features, thresholds], found {}", thresholds.ty);
                    self.fail("thresholds", text);
                    return None;
                }
                if thresholds.as_f32().is_some_and(|v| v.iter().any(|x| x.is_nan())) {
                    self.fail("thresholds", "a threshold is NaN, which nothing is greater than");
                    return None;
                }
                Some(Inputs::Thermometer(thresholds))
            }
        }
    }

    /// Checks a layer behind `bits` bits, where that number is known.
    fn layer(
        &mut self,
        names: &[String; 2],
        connections: Tensor,
        tables: Tensor,
        bits: Option<usize>,
    ) -> Option<Layer> {
        let before = self.found.0.len();
        let &[outputs, pins] = connections.shape().dims() else {
            self.fail(&names[0], format!("expected connections [outputs, pins], found {}", connections.ty));
            return None;
        };
        if outputs == 0 || !(1..=Lut::MAX_PINS).contains(&pins) {
            let most = Lut::MAX_PINS;
            let text = format!("expected one table or more of 1 to {most} pins, found [{outputs}, {pins}]");
            self.fail(&names[0], text);
            return None;
        }
        match (connections.ty.elem.is_float(), bits) {
            (true, _) => self.fail(&names[0], format!("expected whole numbers, found {}", connections.ty)),
            (false, Some(bits)) => {
                let inside = |c: i64| usize::try_from(c).is_ok_and(|c| c < bits);
                let stray = whole(&connections).into_iter().flatten().position(|c| !inside(c));
                if let Some(i) = stray {
                    let c = connections.data.code(i).unwrap_or_default();
                    let text = format!(
                        "pin {} of table {} reads bit {c}; the layer has {bits} input bits, 0 to {}",
                        i % pins,
                        i / pins,
                        bits - 1
                    );
                    self.fail(&names[0], text);
                }
            }
            (false, None) => {}
        }
        let entries = 1usize << pins;
        if tables.shape().dims() != [outputs, entries] {
            let text = format!(
                "expected tables [{outputs}, {entries}] (2^{pins} entries for {pins} pins), found {}",
                tables.ty.shape
            );
            self.fail(&names[1], text);
        } else if let Some(i) = whole(&tables).iter().position(|v| !matches!(v, Some(0 | 1))) {
            let text = format!("entry {} of table {} is neither 0 nor 1", i % entries, i / entries);
            self.fail(&names[1], text);
        }
        (self.found.0.len() == before).then_some(Layer { connections, tables })
    }

    fn groups(&mut self, bits: Option<usize>) -> Option<usize> {
        let array = self.arrays.remove("groups")?;
        let groups = match whole(&array)[..] {
            [Some(n)] => usize::try_from(n).ok().filter(|&n| n > 0),
            _ => None,
        };
        let Some(groups) = groups else {
            self.fail("groups", format!("expected one whole number from 1, found {}", array.ty));
            return None;
        };
        if bits.is_some_and(|bits| bits % groups != 0) {
            let text =
                format!("{groups} groups do not divide the {} bits of the last layer", bits.unwrap_or(0));
            self.fail("groups", text);
        }
        Some(groups)
    }
}

/// The elements, where they are whole numbers.
fn whole(t: &Tensor) -> Vec<Option<i64>> {
    let of_float = |x: f32| (x.fract() == 0.0 && x.abs() < 1e9).then_some(x as i64);
    match t.as_f32() {
        Some(floats) => floats.iter().map(|&x| of_float(x)).collect(),
        None => (0..t.len()).map(|i| t.data.code(i)).collect(),
    }
}

impl Network {
    fn graph(self, label: &str, name: &str) -> Result<Graph, Diagnostic> {
        let mut g = Graph::new(name);
        let origin = |place: &str, layer: &str| Origin::new("npz", label, place, layer);
        let mut x = match self.inputs {
            Inputs::Bits(shape) => {
                let layout = if shape.rank() == 1 {
                    Layout::channels_last(0)
                } else {
                    Layout::anonymous(shape.rank())
                };
                g.add_input("bits", TensorType::new(ElemType::Bit, shape, layout))
            }
            Inputs::Thermometer(thresholds) => {
                let features = thresholds.shape()[0];
                let ty = TensorType::new(thresholds.ty.elem.clone(), [features], Layout::channels_last(0));
                let x = g.add_input("features", ty);
                let at = origin("thresholds", "thermometer");
                let column = Reshape { shape: [features, 1].into(), layout: Layout::anonymous(2) };
                let column = g.add_node(column, &[x], "column", &at)?;
                let thresholds = g.add_const("thresholds", thresholds);
                g.add_node(Compare::Greater, &[column, thresholds], "thermometer", &at)?
            }
        };
        for (i, Layer { connections, tables }) in self.layers.into_iter().enumerate() {
            let at = origin(&format!("{i}.tables"), &format!("layer {i}"));
            let constant = |t: &Tensor, elem| {
                let ty = TensorType::new(elem, t.shape().clone(), Layout::anonymous(2));
                Tensor::codes(ty, whole(t).into_iter().flatten())
            };
            let place = ElemType::Int(IntType::unsigned(31));
            let connections = g.add_const(&format!("layer{i}.connections"), constant(&connections, place));
            let tables = g.add_const(&format!("layer{i}.tables"), constant(&tables, ElemType::Bit));
            x = g.add_node(Lut, &[x, connections, tables], &format!("layer{i}"), &at)?;
        }
        match self.groups {
            None => g.add_output("bits", x),
            Some(groups) => {
                let scores = sums(&mut g, x, groups, &origin("groups", "sums of groups"))?;
                g.add_output("scores", scores);
            }
        }
        Ok(g)
    }
}

/// The number of set bits in each of as many groups of neighbours.
fn sums(g: &mut Graph, bits: ValueId, groups: usize, at: &Origin) -> Result<ValueId, Diagnostic> {
    let each = g.ty(bits).shape.num_elements() / groups;
    let split = Reshape { shape: [groups, each].into(), layout: Layout::anonymous(2) };
    let split = g.add_node(split, &[bits], "groups", at)?;
    let wide = Cast { to: ElemType::Int(IntType::covering(0, each as i64)) };
    let wide = g.add_node(wide, &[split], "counted", at)?;
    let sum = Reduce { f: ReduceFn::Sum, axes: vec![1], keep: false };
    g.add_node(sum, &[wide], "scores", at)
}
