//! Where a profile lives on this machine.

use std::path::PathBuf;

use sotto_client::api::ErrorKind;

use crate::failure::Failure;

/// The profile where none is named.
const DEFAULT_PROFILE: &str = "default";

/// The data root and the profile in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The folder of all profiles.
    pub(crate) root: PathBuf,
    /// The profile's name.
    pub(crate) profile: String,
}

impl Place {
    /// From the flags, else the configuration, else the defaults.
    pub(crate) fn new(
        data_dir: Option<PathBuf>,
        profile: Option<String>,
        configured: Option<String>,
    ) -> Result<Self, Failure> {
        use etcetera::BaseStrategy;
        let root = match data_dir {
            Some(dir) => std::path::absolute(&dir)
                .map_err(|error| Failure::io(format!("{} is not a folder's name", dir.display()), &error))?,
            None => etcetera::choose_base_strategy()
                .map_err(|error| {
                    Failure::new(ErrorKind::Invalid, "there is no home folder to keep the data in")
                        .cause(error)
                        .hint("name a folder with --data-dir DIR")
                })?
                .data_dir()
                .join("sotto"),
        };
        let profile = profile.or(configured).unwrap_or_else(|| DEFAULT_PROFILE.to_owned());
        Ok(Self { root, profile })
    }

    /// The profile's folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.root.join(&self.profile)
    }
}

/// What this machine calls itself: the first name of a new device. Only the account's own devices are told, sealed.
pub(crate) fn device_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
