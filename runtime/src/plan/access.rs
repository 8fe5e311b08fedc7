//! Reading, writing and executing: how a profile grants them, how a policy is asked for them, and which
//! Landlock rights they become.

use std::path::Path;

use aegis_policy::What;
use aegis_sys::landlock::fs;

/// What may be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `files.read`.
    Read,
    /// `files.write`.
    Write,
    /// `files.overlay`: as reading, for all that reaches the host.
    Overlay,
    /// `shell.exec`, or the command itself.
    Exec,
}

impl Access {
    /// This access as a policy is asked for it. `name`: the program's.
    pub fn what(self, path: &Path, tree: bool, name: Option<String>) -> What {
        let (except, path) = (Vec::new(), path.into());
        match self {
            Self::Read | Self::Overlay => What::Read { except, path, tree },
            Self::Write => What::Write { except, path, tree },
            Self::Exec => What::Exec {
                except,
                name,
                path,
                tree,
            },
        }
    }
}

/// What may be done in a directory that is granted for reading.
pub const READ_TREE: u64 = fs::READ_FILE | fs::READ_DIR;
const WRITE_FILE: u64 = fs::READ_FILE | fs::WRITE_FILE | fs::TRUNCATE;
/// What may be done in a directory that is granted for writing, or is the sandbox's own.
pub const WRITE_TREE: u64 = READ_TREE
    | WRITE_FILE
    | fs::REMOVE_DIR
    | fs::REMOVE_FILE
    | fs::MAKE_DIR
    | fs::MAKE_REG
    | fs::MAKE_SOCK
    | fs::MAKE_FIFO
    | fs::MAKE_SYM
    | fs::REFER;
/// What may be done with device nodes.
pub const DEVICE: u64 = fs::READ_FILE | fs::WRITE_FILE | fs::IOCTL_DEV;

/// The rights to read a file or a tree, and to write and execute it.
pub fn rights(tree: bool, write: bool, exec: bool) -> u64 {
    let rights = match (tree, write) {
        (true, false) => READ_TREE,
        (false, false) => fs::READ_FILE,
        (true, true) => WRITE_TREE,
        (false, true) => WRITE_FILE,
    };
    rights | if exec { fs::EXECUTE } else { 0 }
}
