//! `completions` and `man`: made from the same declarations as the command line itself.

use crate::cli::Cli;
use crate::output::{CommandResult, Outcome, fault, print};
use clap::CommandFactory;

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) -> CommandResult {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "unfloat", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}

/// Prints the manual page, one section per command.
pub fn man() -> CommandResult {
    let mut page = Vec::new();
    let render = |command: clap::Command, page: &mut Vec<u8>| {
        clap_mangen::Man::new(command)
            .render(page)
            .map_err(|e| fault(format!("rendering the manual page: {e}")))
    };
    // Without a build the subcommands do not know the program's name.
    let mut command = Cli::command();
    command.build();
    render(command.clone(), &mut page)?;
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
        render(sub.clone(), &mut page)?;
    }
    print(&String::from_utf8_lossy(&page))?;
    Ok(Outcome::Done)
}
