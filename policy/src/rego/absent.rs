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
            Some(module) => Err(BadModule {
                file: module.name.clone(),
                line: 0,
                column: 0,
                message: "this build has no Rego".into(),
                help: "build it with the feature `rego`, or remove `rego:`".into(),
            }),
        }
    }

    pub fn ask(&self, _: &Context, _: &What) -> Vec<Said> {
        match *self {}
    }
}
