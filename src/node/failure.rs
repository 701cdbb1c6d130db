//! What ends a process, as a person at a terminal sees it.

use std::fmt;

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

    /// This node met a fault and stopped.
    pub fn fault(what: impl fmt::Display) -> Self {
        let fix = "remove the cause (a full disk, a damaged file, an old binary) and start it again, or remove its data and join it anew";
        Self { code: Self::CODE_FAULT, ..Self::new(format!("this node stopped: {what}"), fix) }
    }

    /// The code to exit with: 1 failure, 2 usage, 70 fault.
    pub fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}; {}", self.what, self.fix)
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
