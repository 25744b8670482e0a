//! The command line.

fn main() -> std::process::ExitCode {
    aquatint::cli::main()
}
