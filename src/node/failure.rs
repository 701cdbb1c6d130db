//! What ends a process, as a person at a terminal sees it.

use std::{
    fmt,
    io::{self, Write},
};

use crate::kernel::Fault;

/// What went wrong, what to do about it, and the code to exit with.
#[derive(Debug)]
pub struct Failure {
    what: String,
    fix: String,
    code: u8,
}

impl Failure {
    /// Exit code when something could not be done.
    const CODE: u8 = 1;
    /// Exit code when the command line or the configuration is wrong.
    const CODE_USAGE: u8 = 2;
    /// Exit code when this node met a fault (EX_SOFTWARE of sysexits.h).
    const CODE_FAULT: u8 = 70;

    /// Something could not be done.
    pub fn new(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), fix: fix.into(), code: Self::CODE }
    }

    /// The command line or the configuration is wrong.
    pub fn usage(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code: Self::CODE_USAGE, ..Self::new(what, fix) }
    }

    /// This node met a fault and stopped. A text that holds a `; ` says behind it what to do.
    pub fn fault(what: impl fmt::Display) -> Self {
        let what = format!("this node stopped: {what}");
        let fix = if what.contains("; ") {
            ""
        } else {
            "remove the cause (a full disk, a damaged file, an old binary) and start it again, or remove this node from \
             the cluster and join it anew under a new number"
        };
        Self { code: Self::CODE_FAULT, ..Self::new(what, fix) }
    }

    /// Tells it, as the last thing before the process ends.
    pub fn say(&self) {
        say(format_args!("{self}"));
    }

    /// The code to exit with: 1 failure, 2 usage, 70 fault.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.what)?;
        if self.fix.is_empty() { Ok(()) } else { write!(out, "; {}", self.fix) }
    }
}

impl std::error::Error for Failure {}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::fault(fault)
    }
}

impl From<raft::Fault> for Failure {
    fn from(fault: raft::Fault) -> Self {
        Self::fault(fault)
    }
}

/// One line on stderr. Where it goes may be the disk that is full, and `eprintln!` would panic: a node that could
/// not say that it stops would not stop.
pub(super) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "threatflow: {line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_says_what_to_do_is_not_told_something_else_as_well() {
        let plain = Failure::fault("write to x.db: disk is full");
        assert_eq!(plain.code(), 70);
        assert!(
            plain.to_string().starts_with("this node stopped: write to x.db: disk is full; remove the cause")
        );
        let advised = Failure::fault("the log is damaged; put back this disk");
        assert_eq!(advised.to_string(), "this node stopped: the log is damaged; put back this disk");
    }
}
