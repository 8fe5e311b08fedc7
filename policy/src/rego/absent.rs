//! Stands in for Rego in a build without it: a policy with modules is refused.

use super::{BadModule, RegoOutcome};
use crate::model::RegoModule;
use crate::request::{Context, What};

/// Never constructed.
#[derive(Debug)]
pub(crate) enum Rego {}

impl Rego {
    pub fn load(modules: &[RegoModule]) -> Result<Option<Self>, BadModule> {
        match modules.first() {
            None => Ok(None),
            Some(module) => {
                let help = "build it with the feature `rego`, or remove `rego:`";
                Err(BadModule::of_file(module, "this build has no Rego", help))
            }
        }
    }

    pub fn ask(&self, _: &Context, _: &What, _: usize) -> Vec<RegoOutcome> {
        match *self {}
    }
}
