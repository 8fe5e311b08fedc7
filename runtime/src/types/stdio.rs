/// How the command gets the caller's descriptors 0, 1 and 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StdioMode {
    /// The descriptors themselves, but where the supervisor has to see what is written.
    #[default]
    Inherit,
    /// None of them: the supervisor passes on what is read and written.
    Relay,
}
