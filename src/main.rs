//! The `unfloat` program.

use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;
use unfloat::cli::{Cli, Command};
use unfloat::commands;
use unfloat::output::{exit_code, note, print};

/// Lets Ctrl-C and a request to end leave nothing half-made behind. The program still ends as others do then.
#[cfg(unix)]
fn tidy_up_on_signals() {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::{iterator::Signals, low_level::emulate_default_handler};
    // Without a handler the program ends at once, which is no reason not to run.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        for signal in &mut signals {
            unfloat_backends::scratch::interrupt(|| {
                let _ = emulate_default_handler(signal);
            });
        }
    });
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version go to stdout and are no error; all else goes to stderr with status 2.
        Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let _ = print(&e.render().to_string());
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            note(e.render().to_string().trim_end());
            return ExitCode::from(2);
        }
    };
    #[cfg(unix)]
    tidy_up_on_signals();
    exit_code(match &cli.command {
        Command::Convert(args) => commands::convert::run(args),
        Command::Export(args) => commands::export::run(args),
        Command::Eval(args) => commands::eval::run(args),
        Command::Data(command) => commands::data::run(command),
        Command::Run(args) => commands::run::run(args),
        Command::Verify(args) => commands::verify::run(args),
        Command::Prove(args) => commands::prove::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Audit(args) => commands::audit::run(args),
        Command::Recipe(args) => commands::recipe::run(args),
        Command::Opt(args) => commands::opt::run(args),
        Command::Passes { name, json } => commands::passes::run(name.as_deref(), *json),
        Command::Completions { shell } => commands::meta::completions(*shell),
        Command::Man => commands::meta::man(),
    })
}
