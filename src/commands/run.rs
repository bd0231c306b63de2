//! `run`: samples through the native executor, or through an artefact as it was emitted.

use crate::cli::Run;
use crate::model::{self, Subject};
use crate::output::{CommandResult, Outcome, fault};
use crate::samples;
use unfloat_ir::Diagnostics;

/// Runs the command.
pub fn run(args: &Run) -> CommandResult {
    let subject = Subject::open_quantized(&args.model, &args.import, &args.quantization)?;
    let outputs = subject.output_types();
    if args.output.len() != outputs.len() {
        let names: Vec<&str> = outputs.iter().map(|o| o.0.as_str()).collect();
        let text = format!(
            "the model has {} outputs ({}), {} files were named",
            outputs.len(),
            names.join(", "),
            args.output.len()
        );
        return Err(fault(text).help("give --output once for each, in that order").into());
    }
    let inputs = samples::read(&args.input, "input", &subject.input_types())?;
    let threads = args.threads.unwrap_or_else(model::default_threads);
    let results =
        if args.reference { subject.run_reference(&inputs)? } else { subject.run(&inputs, threads)? };
    let mut found = Diagnostics::new();
    for (i, (path, (_, ty))) in args.output.iter().zip(&outputs).enumerate() {
        found.extend(samples::write(path, ty, &results, i).err());
    }
    found.into_result(Outcome::Done).map_err(Into::into)
}
