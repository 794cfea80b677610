//! `rbuild`: the command line.

mod annotations;
mod arguments;
mod bases;
mod cap;
mod checks;
mod command_line;
mod commands;
mod context;
mod delivery;
mod destination;
mod docker_config;
mod doctor;
mod engine;
mod environment;
mod export;
mod fetching;
mod files_output;
mod filters;
mod frontend;
mod ground;
mod image_file;
mod image_output;
mod inventory;
mod limits;
mod lint;
mod listing;
mod manifests;
mod metadata;
mod opened;
mod output;
mod page;
mod planning;
mod progress;
mod pushing;
mod relay;
mod report;
mod run_options;
mod secrets;
mod shown_path;
mod size;
mod ssh;
mod stop;
mod table;
mod timeout;
mod transfers;
mod units;
mod workplace;
mod wrong_use;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::{Arguments, BuilderCommand, BuildxCommand, Command, ImageCommand, SystemCommand};
use commands::df;
use commands::images::Called;
use commands::prune::Scope;
use report::Failure;

fn main() -> ExitCode {
    let arguments = match command_line::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(refusal) => {
            refusal.print();
            return ExitCode::from(u8::try_from(refusal.code).unwrap_or(1));
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody may be listening; the exit code tells.
            drop(std::io::stderr().write_all(failure.render().as_bytes()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let root = environment::store_root(arguments.root.as_deref());
    match arguments.command {
        Command::Build(options) => commands::build::run(&root, &options),
        Command::Plan(options) => commands::plan::run(&root, &options),
        Command::Check(options) => commands::check::run(&options),
        Command::Images(options) => commands::images::run(&root, &options, Called::Images),
        Command::Inspect(options) => commands::inspect::run(&root, &options),
        Command::History(options) => commands::history::run(&root, &options),
        Command::Analyze(options) => commands::analyze::run(&root, &options),
        Command::Diff(options) => commands::diff::run(&root, &options),
        Command::Tag(options) => commands::tag::run(&root, &options),
        Command::Search(options) => commands::search::run(&options),
        Command::Rmi(options) => commands::rmi::run(&root, &options),
        Command::Pull(options) => commands::pull::run(&root, &options),
        Command::Login(options) => commands::login::log_in(&options),
        Command::Logout(options) => commands::login::log_out(&options),
        Command::Push(options) => commands::push::run(&root, &options),
        Command::Assemble(options) => commands::assemble::run(&root, &options),
        Command::Export(options) => commands::export::run(&root, &options),
        Command::Manifest(command) => commands::manifest::run(&root, &command),
        Command::Imagetools(command) => commands::imagetools::run(&command),
        Command::Save(options) => commands::save::run(&root, &options),
        Command::Load(options) => commands::load::run(&root, &options),
        Command::Import(options) => commands::import::run(&root, &options),
        Command::Doctor(options) => doctor::run(&root, &options),
        Command::Prune(options) => commands::prune::run(&root, &options, Scope::Everything),
        Command::Df(options) => df::run(&root, &options, df::Called::Df),
        Command::Fsck(options) => commands::fsck::run(&root, &options),
        Command::Builder(command) => match command {
            BuilderCommand::Build(options) => commands::build::run(&root, &options),
            BuilderCommand::Prune(options) => commands::prune::run(&root, &options, Scope::Cache),
            BuilderCommand::Du(options) => df::run(&root, &options, df::Called::Df),
        },
        Command::Buildx(command) => match command {
            BuildxCommand::Build(options) => commands::build::run(&root, &options),
            BuildxCommand::Prune(options) => commands::prune::run(&root, &options, Scope::Cache),
            BuildxCommand::Du(options) => df::run(&root, &options, df::Called::Df),
            BuildxCommand::Imagetools(command) => commands::imagetools::run(&command),
        },
        Command::System(command) => match command {
            SystemCommand::Prune(options) => {
                commands::prune::run(&root, &options, Scope::Everything)
            }
            SystemCommand::Df(options) => df::run(&root, &options, df::Called::SystemDf),
        },
        Command::Image(command) => match command {
            ImageCommand::Prune(options) => commands::prune::run(&root, &options, Scope::Images),
            ImageCommand::Build(options) => commands::build::run(&root, &options),
            ImageCommand::Ls(options) => commands::images::run(&root, &options, Called::ImageLs),
            ImageCommand::Inspect(options) => commands::inspect::run(&root, &options),
            ImageCommand::History(options) => commands::history::run(&root, &options),
            ImageCommand::Tag(options) => commands::tag::run(&root, &options),
            ImageCommand::Rm(options) => commands::rmi::run(&root, &options),
            ImageCommand::Pull(options) => commands::pull::run(&root, &options),
            ImageCommand::Push(options) => commands::push::run(&root, &options),
            ImageCommand::Save(options) => commands::save::run(&root, &options),
            ImageCommand::Load(options) => commands::load::run(&root, &options),
            ImageCommand::Import(options) => commands::import::run(&root, &options),
        },
    }
}
