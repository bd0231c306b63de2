//! Every Keras fixture, through import, passes and the fast executor, gives its framework's own outputs.

mod common;

use unfloat::compare;

#[test]
fn the_executor_gives_the_frameworks_outputs() {
    let mut faults = Vec::new();
    for fixture in common::fixtures() {
        let subject = common::open(&fixture);
        let (inputs, expected) = common::data(&fixture, &subject);
        let found = subject.run(&inputs, 2).unwrap_or_else(|e| panic!("{}: {e}", fixture["model"]));
        let tolerance = fixture["tolerance"].as_f64().unwrap();
        assert!(tolerance <= 2e-5, "{} asks for a tolerance of {tolerance}", fixture["model"]);
        for difference in compare::outputs(&subject.output_types(), &found, &expected) {
            if !difference.within(tolerance) {
                faults.push(format!("{}: {difference:?}", fixture["model"]));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
