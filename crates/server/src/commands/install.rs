//! `ftl-server install --user`: systemd runs the service.

use std::net::SocketAddr;
use std::process::ExitCode;

use ftl_client::places;
use ftl_server::data_dir::running_in;
use ftl_server::systemd::install::{self, Change, InstallError};
use ftl_server::systemd::units::{SERVICE, Unit};

use super::{FAILED, REFUSED, failed, print};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For this user, below ~/.config/systemd/user. There is no service for all users: it works with one user's files.
    #[arg(long, required = true)]
    user: bool,
    /// Also start it, and have it run while nobody is logged in.
    #[arg(long, conflicts_with_all = ["uninstall", "print"])]
    now: bool,
    /// Stop it and take the units away. Jobs and data stay.
    #[arg(long, conflicts_with = "print")]
    uninstall: bool,
    /// Print the units and change nothing.
    #[arg(long)]
    print: bool,
    /// Also listen on TCP, as `serve --listen`.
    #[arg(long, value_name = "127.0.0.1:PORT", conflicts_with = "uninstall")]
    listen: Option<SocketAddr>,
}

/// Runs it.
pub fn run(arguments: &Args) -> ExitCode {
    let Args { user: _, now, uninstall, print: shows, listen } = arguments;
    let done = match (shows, uninstall) {
        (true, _) => show(*listen),
        (false, true) => take_away(),
        (false, false) => put_there(*listen, if *now { Then::Start } else { Then::Say }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = match &error {
                InstallError::NoSystemd(_)
                | InstallError::NoHome
                | InstallError::Unwritable(_)
                | InstallError::Foreign(_)
                | InstallError::NotLoopback(_)
                | InstallError::Running(_) => REFUSED,
                InstallError::Refused(_) | InstallError::Failed { .. } | InstallError::Io { .. } => FAILED,
            };
            failed(&error, code)
        }
    }
}

/// What is done after the units are there.
enum Then {
    Start,
    Say,
}

fn show(listen: Option<SocketAddr>) -> Result<(), InstallError> {
    for Unit { name, text } in install::own_units(listen)? {
        print(&format!("# {name}\n{text}\n"));
    }
    Ok(())
}

fn put_there(listen: Option<SocketAddr>, then: Then) -> Result<(), InstallError> {
    let units = install::own_units(listen)?;
    install::check_systemd()?;
    let was_active = install::is_active();
    if let (Then::Start, false) = (&then, was_active) {
        // systemd would take its socket away, and then not get its data.
        let owner = places::data_dir().ok().and_then(|data_dir| running_in(&data_dir));
        if let Some(owner) = owner {
            return Err(InstallError::Running(owner));
        }
    }
    let changes = install::write(&install::directory()?, &units)?;
    for (path, change) in &changes {
        let what = match change {
            Change::Written => "wrote",
            Change::Replaced => "replaced",
            Change::Same => "is up to date:",
        };
        print(&format!("{what} {}\n", path.display()));
    }
    match then {
        Then::Start => {
            install::start()?;
            print("the service runs now, and will after each start of this machine\n");
        }
        Then::Say => {
            print("to start it now and with this machine, call this, or the same command with --now:\n");
            for words in install::START {
                print(&format!("  {}\n", words.join(" ")));
            }
        }
    }
    let is_changed = changes.iter().any(|(_, change)| *change != Change::Same);
    if was_active && is_changed {
        print(&format!("what runs is still the old one: systemctl --user restart {SERVICE}\n"));
    }
    Ok(())
}

fn take_away() -> Result<(), InstallError> {
    let directory = install::directory()?;
    let has_systemd = install::check_systemd().is_ok();
    if has_systemd && directory.join(SERVICE).exists() {
        install::stop()?;
    }
    let removed = install::remove(&directory)?;
    if removed.is_empty() {
        print(&format!("nothing of the service is in {}\n", directory.display()));
    }
    for path in removed {
        print(&format!("removed {}\n", path.display()));
    }
    if has_systemd { install::reload() } else { Ok(()) }
}
