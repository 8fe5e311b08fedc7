//! Tests of the crate's public interface: one program, a file for each subject.

mod approvals;
mod log_append;
mod log_archive;
mod log_canonical;
mod log_missing;
mod log_ocsf;
mod log_processes;
mod log_prune;
mod log_remembered;
mod log_repeated;
mod log_samples;
mod log_schema;
mod log_support;
mod log_tampering;
mod log_unsafe;
mod records;
mod replay;
