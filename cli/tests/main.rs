//! The programs, started by a person or a script: one test program, a file for each subject.

mod aegis;
mod aegis_audit;
mod aegis_audit_show;
mod aegis_decides;
mod aegis_ps;
mod aegis_replay;
mod aegis_run;
mod aegis_run_account;
mod ask;
mod completion;
mod docs;
mod options;
mod policy_effect;
mod policy_files;
mod support;
