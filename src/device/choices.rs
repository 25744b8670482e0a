//! Which variant of a kernel a device takes at which sizes: measured once, then kept, so that a run's sums are always
//! added up in the same order.

use crate::atomic_file;
use crate::error::{Error, Result};
use crate::plan::{Call, Plan, Variant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The names of variants, by [`Call::key`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choices(BTreeMap<String, String>);

impl Choices {
    /// The variant to compute a call with: the one chosen, else the first.
    pub fn variant_of(&self, call: &Call) -> Variant {
        let mut variants = call.variants();
        if variants.len() == 1 {
            return variants.swap_remove(0);
        }
        let chosen = self.0.get(&call.key());
        let index = chosen.and_then(|chosen| variants.iter().position(|variant| variant.name == chosen));
        variants.swap_remove(index.unwrap_or(0))
    }

    /// Whether there is a choice for a call, of a variant that there is.
    pub fn has(&self, call: &Call) -> bool {
        let chosen = self.0.get(&call.key());
        chosen.is_some_and(|chosen| call.variants().iter().any(|variant| variant.name == chosen))
    }

    /// Keeps a choice.
    pub fn choose(&mut self, call: &Call, variant: &Variant) {
        self.0.insert(call.key(), variant.name.to_string());
    }

    /// Takes over all of `other`'s choices.
    pub fn adopt(&mut self, other: &Self) {
        self.0.extend(other.0.iter().map(|(key, name)| (key.clone(), name.clone())));
    }

    /// What these plans are computed with, wherever there are several ways, chosen or not.
    pub fn of_plans(&self, plans: &[&Plan]) -> Self {
        let several = plans.iter().flat_map(|plan| &plan.calls).filter(|call| call.variants().len() > 1);
        Self(several.map(|call| (call.key(), self.variant_of(call).name.to_string())).collect())
    }

    /// What was measured on this machine before, on the device of this description; nothing if that cannot be read.
    pub fn cached(device: &str) -> Self {
        let text = cache_file(device).and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Keeps the choices for [`Choices::cached`], beside what is kept already.
    ///
    /// # Errors
    /// [`Io`](Error::Io); [`Input`](Error::Input) if the system names no folder for caches.
    pub fn cache(&self, device: &str) -> Result<()> {
        let path = cache_file(device).ok_or_else(|| Error::input("the system names no folder for caches"))?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let mut all = Self::cached(device);
        all.adopt(self);
        let text = serde_json::to_string_pretty(&all).map_err(|error| Error::input(error.to_string()))?;
        atomic_file::write(&path, text.as_bytes())
    }
}

/// One file for every device, driver and version of this program, in `AQUATINT_CACHE` or in the user's cache folder.
fn cache_file(device: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os("AQUATINT_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => dirs::cache_dir()?.join("aquatint"),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = device.chars().map(plain).take(150).collect();
    Some(folder.join(format!("tuning-{}-{name}.json", env!("CARGO_PKG_VERSION"))))
}
