//! The binary. Everything is in the library, beginning with `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    threatflow::cli::main()
}
