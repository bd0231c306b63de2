//! `prove`: are the emitted modules of layers of tables what they should be, for every input?
//!
//! In: a folder that `convert` made with Verilog in it. Out: a line for each module; what was found goes into the folder's
//! `certificate.json`, and its new hash into `manifest.json`. Refuses what holds no Verilog.

use crate::cli::Prove;
use crate::output::{CommandResult, Failure, Outcome, fault, io_fault, print, print_json};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;
use unfloat_backends::Manifest;
use unfloat_backends::verilog::{Proof, prove};

/// Runs the command.
pub fn run(args: &Prove) -> CommandResult {
    let proofs = prove(&args.dir)?;
    certify(&args.dir, &proofs)?;
    let equal = proofs.iter().all(|p| p.equal);
    if args.json {
        print_json(&json!({ "equal": equal, "proofs": proofs }))?;
    } else {
        let line = |p: &Proof| match p.equal {
            true => format!("{}: proved, {} bits ({})\n", p.module, p.outputs, p.by),
            false => format!("{}: differs from its tables\n{}\n", p.module, p.text),
        };
        print(&proofs.iter().map(line).collect::<String>())?;
    }
    Ok(if equal { Outcome::Done } else { Outcome::Differs })
}

/// Writes the proofs into the certificate.
fn certify(dir: &Path, proofs: &[Proof]) -> Result<(), Failure> {
    let path = dir.join("certificate.json");
    if !path.is_file() {
        return Ok(());
    }
    let bytes = fs::read(&path).map_err(|e| io_fault(&path, "cannot be read", &e))?;
    let mut certificate: Value =
        serde_json::from_slice(&bytes).map_err(|e| fault(format!("{}: {e}", path.display())))?;
    let mut manifest = Manifest::read(dir)?;
    certificate["proofs"] = json!(proofs);
    let text = serde_json::to_string_pretty(&certificate).unwrap_or_default() + "\n";
    for entry in manifest.files.iter_mut().filter(|e| e.path == "certificate.json") {
        entry.size = text.len() as u64;
        entry.sha256 = format!("{:x}", Sha256::digest(text.as_bytes()));
    }
    for (path, text) in [(path, text), (dir.join("manifest.json"), manifest.to_json())] {
        fs::write(&path, text).map_err(|e| io_fault(&path, "cannot be written", &e))?;
    }
    Ok(())
}
