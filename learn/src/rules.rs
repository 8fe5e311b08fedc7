//! The rules by which single sights become the lines of a profile: one table, which a person can print. Those that say "No line" make none,
//! and are there to be read.

macro_rules! rules {
    ($($name:ident $word:literal $does:literal;)*) => {
        /// A rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = $does] $name,)*
        }

        impl Rule {
            /// All of them, in the order in which they are printed.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            /// What it does, in a sentence or two.
            pub const fn does(self) -> &'static str {
                match self {
                    $(Self::$name => $does,)*
                }
            }
        }
    };
}

rules! {
    Variables "variables" "A path in `$WORK`, `$SKILL` or `$HOME` begins with that variable, the innermost first.";
    OwnPlaces "own-places" "`/proc`, `/sys`, `/dev/null` and its like, `/etc/passwd`, `/etc/group`, `/etc/hosts`: every sandbox has its own. No line.";
    Temporary "temporary" "What is made in `/tmp`, `/var/tmp` or `/dev/shm` is in the sandbox's own. No line.";
    Absent "absent" "What was asked for and is not there (library search paths, optional settings) needs no line.";
    OnTheWay "on-the-way" "Directories on the way to what is granted are there anyway.";
    Sensitive "sensitive" "What policy always blocks is never granted, nor a directory that contains it.";
    ByteCode "byte-code" "Python does without writing `__pycache__`. No line; reading is granted with what it was compiled from.";
    PrivateHome "private-home" "What is written to caches in `$HOME`, or is made in `$HOME` itself or its `.config` and `.local`, is in the sandbox's own home, and gone after the run. No line. Nor is there one for what is read in a cache that is written.";
    Work "own-directories" "In `$WORK` and `$SKILL`: the directory itself where something directly in it was read, it was listed, or something below three of its entries was read; else the directory that has all that was read below one of its entries.";
    Packages "packages" "A language's package directory (`site-packages`, `node_modules`, `/usr/lib/python3.*`, gems, crates, headers of compilers) is one tree.";
    DataSets "data-sets" "Locales, time zones, terminals, fonts, types of files, certificates are read as whole sets.";
    SystemPackages "system-packages" "`/usr/share/NAME`, `/usr/lib/NAME` and the like are one tree, where two files of it or something in a subdirectory was read.";
    ChangingNames "changing-names" "A file whose name has a temporary name, a hash, a timestamp or a long number in it stands for its directory.";
    SeveralFiles "several-files" "Three or more files of one directory stand for the directory, if it has at most 16 files or three times as many; 64 files always do.";
    Listed "listed" "A directory that was listed is granted where files in it were read, or it is empty.";
    SingleFiles "single-files" "Anything else that was read is a line of its own. A file that was only looked at (`stat`) is too: there is no lesser grant.";
    Written "written" "What is written, made, renamed or removed needs the directory that it is in: the nearest that was there before. Three such directories beside each other are their parent.";
    ByName "by-name" "A program that its name leads to in the system's directories of `PATH` is listed by name, any other by path.";
    Scripts "scripts" "A script needs its interpreter too.";
    Libraries "libraries" "A library (`*.so`, `*.node`) outside of `/usr` is listed as a program is: its code is mapped to be executed.";
    Helpers "helpers" "Programs in `/usr/lib/NAME` and `/usr/libexec/NAME` are one tree.";
    MadePrograms "made-programs" "A program that the run itself made: the directory in which it was made, or `$TMP`.";
    BuiltIn "built-in" "A built-in profile is extended when its main program was executed, and it has at most 32 programs more than twice as many as were. What it covers needs no line.";
    Sockets "sockets" "Unix sockets inside: `sockets: private`. Those of the host are never granted.";
    Network "network" "Addresses are reported, but for those that stand for hosts by name in an observation of such a run. `net.outbound: host` only when the run was given the host's network and used it.";
    EquivalentCalls "equivalent-calls" "System calls stand for those that do the same (`open`, `openat`), so that an update of a library does not break the profile.";
    Headroom "headroom" "Limits are what was measured with room above it, rounded up.";
}
