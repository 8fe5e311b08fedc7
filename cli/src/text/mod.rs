//! Texts for people: plans, the host, and why a run was refused or failed. No decision is made here.

pub(crate) mod doctor;
pub(crate) mod page;
pub(crate) mod plan;
pub(crate) mod said;
pub(crate) mod why;
