//! In place of Rego where it was not built in: a policy with modules is refused.

use super::{BadModule, Said};
use crate::model::RegoModule;
use crate::request::{Context, What};

/// Never made.
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

    pub fn ask(&self, _: &Context, _: &What) -> Vec<Said> {
        match *self {}
    }
}
