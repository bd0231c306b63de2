//! Emitted C++ gives what the reference evaluator gives, for every op, under both compilers and all warnings.
//!
//! Each test is one graph with many outputs, since compiling takes longer than running.

mod support;

use support::agree;

#[test]
fn the_cifar10_network() {
    let mut net = support::cifar10_cnn();
    let samples = net.samples(3);
    agree(&net.graph, &samples, &[], &["-O3", "-march=native"]);
}
