//! The one form of a profile that is hashed: what it means, without where it came from.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::limits::Limits;
use crate::model::{Capabilities, Environment, Outbound, Profile, Syscalls};

impl Profile {
    /// The profile as JSON, the same bytes for the same meaning. Keys are those of the file, in the
    /// order of the file format; quantities are numbers (bytes, milliseconds, thousandths of a
    /// processor). What is absent is left out, and so is what says nothing of authority or identity:
    /// origins, `sources`, and `extends`, which is merged in.
    pub fn canonical_json(&self) -> String {
        // Writing plain data to memory cannot fail; an empty text would be no valid profile either.
        serde_json::to_string(&Canonical(self)).unwrap_or_default()
    }
}

/// A value in its canonical form.
struct Canonical<'p, T>(&'p T);

/// Writes the entries of a map, leaving out what is absent.
struct Entries<M>(M);

impl<M: SerializeMap> Entries<M> {
    fn text(&mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), M::Error> {
        self.0.serialize_entry(key, value)
    }

    fn list<T>(
        &mut self,
        key: &str,
        items: &[T],
        to: impl Fn(&T) -> String,
    ) -> Result<(), M::Error> {
        if items.is_empty() {
            return Ok(());
        }
        self.0
            .serialize_entry(key, &items.iter().map(to).collect::<Vec<_>>())
    }
}

impl Serialize for Canonical<'_, Profile> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let p = self.0;
        let mut out = Entries(serializer.serialize_map(None)?);
        out.text("aegis", &1)?;
        out.text("name", &p.name)?;
        if let Some(description) = &p.description {
            out.text("description", description)?;
        }
        out.list("run", &p.run, Clone::clone)?;
        if p.capabilities != Capabilities::default() {
            out.text("capabilities", &Canonical(&p.capabilities))?;
        }
        if p.environment != Environment::default() {
            out.text("environment", &Canonical(&p.environment))?;
        }
        if p.limits != Limits::default() {
            out.text("limits", &p.limits)?;
        }
        if p.syscalls != Syscalls::default() {
            out.text("syscalls", &Canonical(&p.syscalls))?;
        }
        out.0.end()
    }
}

impl Serialize for Canonical<'_, Capabilities> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let c = self.0;
        let mut out = Entries(serializer.serialize_map(None)?);
        out.list("files.read", &c.files_read, |i| i.value.to_string())?;
        out.list("files.write", &c.files_write, |i| i.value.to_string())?;
        out.list("shell.exec", &c.shell_exec, |i| i.value.to_string())?;
        match &c.net_outbound {
            Outbound::None => {}
            Outbound::Host(_) => out.text("net.outbound", "host")?,
            Outbound::Named(named) => out.list("net.outbound", named, |i| i.value.to_string())?,
        }
        if !c.net_listen.is_empty() {
            out.text("net.listen", &c.net_listen)?;
        }
        if !c.secrets_use.is_empty() {
            out.text("secrets.use", &c.secrets_use)?;
        }
        out.list("devices", &c.devices, |i| i.value.to_string())?;
        out.0.end()
    }
}

impl Serialize for Canonical<'_, Environment> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = Entries(serializer.serialize_map(None)?);
        out.list("pass", &self.0.pass, |i| i.value.clone())?;
        if !self.0.set.is_empty() {
            out.text("set", &self.0.set)?;
        }
        out.0.end()
    }
}

impl Serialize for Canonical<'_, Syscalls> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = Entries(serializer.serialize_map(None)?);
        if let Some(base) = &self.0.base {
            out.text("base", &base.value)?;
        }
        out.list("allow", &self.0.allow, |i| i.value.clone())?;
        out.list("deny", &self.0.deny, |i| i.value.clone())?;
        out.0.end()
    }
}
