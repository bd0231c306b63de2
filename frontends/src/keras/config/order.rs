//! Order of evaluation of the calls of one model.
//!
//! In: layers with resolved connections. Out: every (layer, call), producers first, ties in the order of the
//! configuration, so the result does not depend on anything but the file. Refuses: cycles, naming their layers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Layer;

/// Sorts the calls; on a cycle, returns the names of the layers that never become ready.
pub(crate) fn sort_calls(layers: &[Layer]) -> Result<Vec<(usize, usize)>, Vec<String>> {
    let mut first = Vec::with_capacity(layers.len());
    let mut calls = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        first.push(calls.len());
        calls.extend((0..layer.calls.len()).map(|call| (index, call)));
    }
    let mut waiting = vec![0usize; calls.len()];
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); calls.len()];
    for (node, &(layer, call)) in calls.iter().enumerate() {
        for arg in layers.get(layer).and_then(|l| l.calls.get(call)).map_or(&[][..], |c| &c.args) {
            let producer = first.get(arg.layer).map(|start| start + arg.call);
            if let Some(list) = producer.and_then(|p| users.get_mut(p)) {
                list.push(node);
                if let Some(count) = waiting.get_mut(node) {
                    *count += 1;
                }
            }
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(node, _)| Reverse(node)).collect();
    let mut order = Vec::with_capacity(calls.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.extend(calls.get(node));
        for &user in users.get(node).map_or(&[][..], Vec::as_slice) {
            if let Some(count) = waiting.get_mut(user) {
                *count -= 1;
                if *count == 0 {
                    ready.push(Reverse(user));
                }
            }
        }
    }
    if order.len() == calls.len() {
        return Ok(order);
    }
    let mut stuck: Vec<String> = Vec::new();
    for (&(layer, _), _) in calls.iter().zip(&waiting).filter(|(_, count)| **count > 0) {
        if let Some(layer) = layers.get(layer)
            && stuck.last() != Some(&layer.name)
        {
            stuck.push(layer.name.clone());
        }
    }
    Err(stuck)
}

#[cfg(test)]
mod tests {
    use super::super::{Call, TensorRef};
    use super::*;

    fn layer(name: &str, calls: &[&[(usize, usize)]]) -> Layer {
        let call = |args: &&[(usize, usize)]| Call {
            args: args.iter().map(|&(layer, call)| TensorRef { layer, call, tensor: 0 }).collect(),
            extra: vec![],
        };
        Layer {
            name: name.to_owned(),
            class: "Dense".to_owned(),
            written_class: "Dense".to_owned(),
            place: String::new(),
            config: serde_json::Map::new(),
            body: None,
            calls: calls.iter().map(call).collect(),
            implied: false,
            operator: false,
        }
    }

    #[test]
    fn producers_come_first_and_ties_follow_the_file() {
        // 2 feeds 1, and 1 is called twice: on 2 and on its own first result.
        let layers =
            [layer("in", &[&[]]), layer("twice", &[&[(2, 0)], &[(1, 0)]]), layer("pre", &[&[(0, 0)]])];
        assert_eq!(sort_calls(&layers), Ok(vec![(0, 0), (2, 0), (1, 0), (1, 1)]));
    }

    #[test]
    fn a_cycle_names_its_layers() {
        let layers = [layer("in", &[&[]]), layer("a", &[&[(2, 0)]]), layer("b", &[&[(1, 0), (0, 0)]])];
        assert_eq!(sort_calls(&layers), Err(vec!["a".to_owned(), "b".to_owned()]));
    }
}
