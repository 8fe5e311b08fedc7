//! The plan for a person.
