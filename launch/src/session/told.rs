//! What the broker of a run tells: what it has let through is recorded, what it has refused told as well.

use std::time::Instant;

use aegis_audit::event::Event;
use aegis_policy::request::Traffic;
use aegis_runtime::supervise::{self, denials::Denial};

use super::Session;
use crate::broker::{Broker, Refused};
use crate::helper::PATIENCE;

impl Session<'_> {
    /// Takes what the broker has told.
    pub(super) fn take_told(&mut self) {
        let Some(broker) = &mut self.broker else {
            return;
        };
        let told = broker.take();
        let run = self.recorder.run();
        let let_through = told.let_through.into_iter();
        let let_through =
            let_through.map(|(request, decision)| Event::net_request(run, request, decision));
        let secrets = told
            .secrets
            .into_iter()
            .map(|((request, decision), version)| {
                Event::secret_use(run, request, decision, version)
            });
        let context = &self.request.context;
        let refused = (told.refused.iter()).map(|refused| self.recorder.refused(refused, context));
        let events: Vec<Event> = let_through.chain(secrets).chain(refused).collect();
        self.record(&events);
        self.unaccounted.extend(told.lost);
        if told.has_ended {
            (self.recorder.front_end).event(&crate::Event::BrokerEnded);
        }
        for Refused { denial, .. } in told.refused {
            if let Some(registered) = &mut self.registered {
                registered.denied();
            }
            let denied = supervise::Event::Denied(Box::new(denial));
            self.recorder.front_end.event(&crate::Event::Run(denied));
        }
    }

    /// Ends the broker, after the command: takes all that it has told. Returns what was refused, and what was exchanged.
    pub(super) fn end_broker(&mut self) -> (Vec<Denial>, Vec<Traffic>) {
        let deadline = Instant::now() + PATIENCE;
        if let Some(broker) = &mut self.broker {
            broker.close();
        }
        while let Some(broker) = &mut self.broker
            && broker.told().is_some()
        {
            if Instant::now() < deadline {
                self.take_told();
            } else {
                let lost = broker.give_up("it did not end");
                self.unaccounted.push(lost);
            }
        }
        let (refused, traffic) = (self.broker.take())
            .map(Broker::accounted)
            .unwrap_or_default();
        let again = (refused.iter()).filter(|refused| refused.times > 0);
        let context = &self.request.context;
        let events: Vec<Event> = again
            .map(|refused| self.recorder.refused(refused, context))
            .collect();
        self.record(&events);
        let refused = refused.into_iter().map(|refused| refused.denial);
        (refused.collect(), traffic)
    }
}
