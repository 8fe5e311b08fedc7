//! Whole programs under `aegis-run`, started as root and as an ordinary user: one file for each feature.
//!
//! `cargo nextest run -p aegis-tests limits` runs those of one file. Needs root.

mod approvals;
mod bad_input_commands;
mod bad_input_profiles;
mod bad_input_surroundings;
mod denials;
mod documents;
mod evidence;
mod export;
mod files;
mod files_denied;
mod files_denied_policy;
mod front_end;
mod init;
mod learning;
mod leftovers;
mod limits;
mod mounts;
mod network;
mod observation;
mod overlay;
mod passphrases;
mod policy;
mod policy_attacks;
mod policy_names;
mod processes;
mod profile_run;
mod registry;
mod relay;
mod resources;
mod results;
mod show;
mod skills;
mod sockets;
mod standard_error;
mod stdio;
mod suggest;
mod syscalls;
mod terminal;
mod top;
mod workloads_build;
mod workloads_git;
mod workloads_languages;
mod workloads_profiles;
mod workloads_tools;
