//! What moderators and operators have decided, in a file beside the control
//! socket: a crash forgets nobody's mute. (A restart has the handover.)

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::task::spawn_blocking;
use tracing::warn;

use crate::chat::Moderation;
use crate::net::Hub;

/// The file's name.
const NAME: &str = "moderation.json";

/// Where decisions are kept; nowhere without a control socket, for then nobody
/// has said where the daemon may write.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    file: Option<PathBuf>,
}

impl Decisions {
    /// Decisions beside the control socket at `socket`.
    pub fn beside(socket: &Path) -> Self {
        Self { file: Some(socket.with_file_name(NAME)) }
    }

    /// What was decided last; nothing if nothing was, or if it cannot be read.
    pub fn load(&self) -> Moderation {
        let Some(file) = &self.file else { return Moderation::default() };
        let read = fs::read(file).and_then(|json| Ok(serde_json::from_slice(&json)?));
        read.unwrap_or_else(|error| {
            if error.kind() != ErrorKind::NotFound {
                let file = file.display();
                warn!(%error, "what was decided is lost, for {file} cannot be read: {error}");
            }
            Moderation::default()
        })
    }

    /// Writes every decision down, for as long as this is polled.
    pub async fn keep(self, hub: Hub) {
        let Some(file) = self.file else { return };
        let mut decisions = hub.decisions();
        // What a handover brought may differ from what the file says.
        decisions.mark_changed();
        let mut well = true;
        while decisions.changed().await.is_ok() {
            let (file, moderation) = (file.clone(), hub.moderation().clone());
            let written = spawn_blocking(move || write(&file, &moderation)).await;
            let result = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
            if let Err(error) = &result
                && well
            {
                warn!(%error, "decisions are not kept for the case of a crash: {error}");
            }
            well = result.is_ok();
        }
    }
}

/// Writes the file as a whole: whoever reads it finds the old one or the new one.
fn write(file: &Path, moderation: &Moderation) -> io::Result<()> {
    if *moderation == Moderation::default() && !file.exists() {
        return Ok(());
    }
    let next = file.with_extension("json.new");
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    out.write_all(&serde_json::to_vec_pretty(moderation)?)?;
    fs::rename(next, file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::{Act, By, Target, Tim};

    #[test]
    fn what_is_written_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let decisions = Decisions::beside(&folder.path().join("control.sock"));
        let file = folder.path().join("moderation.json");
        assert_eq!(decisions.load(), Moderation::default());
        write(&file, &Moderation::default()).unwrap();
        assert!(!file.exists(), "there is nothing to keep");

        let mut moderation = Moderation::default();
        let (act, by) = (Act::Mute(Target::name("bob"), None), By::Operator { uid: 0 });
        moderation.decide(&act, &by, Tim::default()).unwrap();
        write(&file, &moderation).unwrap();
        assert_eq!(decisions.load(), moderation);
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 1, "nothing else is left behind");

        write(&file, &Moderation::default()).unwrap();
        assert_eq!(decisions.load(), Moderation::default());
        fs::write(&file, "rubbish").unwrap();
        assert_eq!(decisions.load(), Moderation::default());
        assert_eq!(Decisions::default().load(), Moderation::default());
    }
}
