//! `rbuild login` and `rbuild logout`

use std::io::{IsTerminal as _, Read as _, Write as _};

use clap::Args;
use rbuild_image::reference::{DEFAULT_DOMAIN, Reference};
use rbuild_registry::{
    Client, Keeper, Login, Secret, Settings, erase_login, find_login, store_login,
};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::environment::registry_settings;
use crate::output;
use crate::progress::clean_text;
use crate::report::Failure;

/// What Docker calls its own registry where it names servers.
const HUB: &str = "https://index.docker.io/v1/";
/// Longest user name or password that is read.
const MAX_INPUT: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct LoginArguments {
    /// User name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Password or access token; anybody on this machine can see it here
    #[arg(short, long, value_name = "SECRET")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// The registry (default: Docker Hub)
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArguments {
    /// The registry (default: Docker Hub)
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Keeps credentials for a registry once it has accepted them.
pub(crate) fn log_in(options: &LoginArguments) -> Result<(), Failure> {
    if options.password.is_some() && options.password_stdin {
        return Err(Failure::message(
            "conflicting options: cannot specify both --password and --password-stdin",
        ));
    }
    if options.password_stdin && options.username.is_none() {
        return Err(Failure::message(
            "the --password-stdin option requires --username to be set",
        ));
    }
    if options.password.is_some() {
        output::note("WARNING! Using --password via the CLI is insecure. Use --password-stdin.\n");
    }
    let host = host_of(options.server.as_deref())?;
    let settings = registry_settings()?;
    let mut known_user = None;
    if options.username.is_none()
        && options.password.is_none()
        && let Some(known) = find_login(&settings, &host).ok().flatten()
    {
        let user = match &known {
            Login::Basic { user, .. } => user.as_str(),
            _ => "",
        };
        output::result(&existing(user))?;
        match check(&settings, &host, &known) {
            Ok(_) => return output::result("Login Succeeded\n"),
            Err(failure) => {
                let reason = failure.render();
                output::note(&format!("Login did not succeed, error:\n{reason}"));
                known_user = Some(user.to_owned()).filter(|user| !user.is_empty());
            }
        }
    }
    let mut login = asked_for(options, known_user.as_deref())?;
    // A token can be taken back, and opens nothing else.
    if let Some(token) = check(&settings, &host, &login)?
        && let Login::Basic { user, .. } = login
    {
        login = Login::Identity { user, token };
    }
    if let Keeper::File(path) = store_login(&settings, &host, &login)? {
        output::note(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\n\
             Configure a credential helper to remove this warning. See\n\
             https://docs.docker.com/go/credential-store/\n\n",
            path.display()
        ));
    }
    output::result("Login Succeeded\n")
}

/// What Docker says before it tries what it knows.
fn existing(user: &str) -> String {
    let of_user = match user {
        "" => String::new(),
        _ => format!(" [Username: {}]", clean_text(user)),
    };
    format!(
        "Authenticating with existing credentials...{of_user}\n\n\
         i Info → To login with a different account, run 'rbuild logout' followed by 'rbuild login'\n\n\n"
    )
}

/// Forgets the credentials for a registry.
pub(crate) fn log_out(options: &LogoutArguments) -> Result<(), Failure> {
    let host = host_of(options.server.as_deref())?;
    let shown = if host == DEFAULT_DOMAIN { HUB } else { &host };
    output::result(&format!("Removing login credentials for {shown}\n"))?;
    let settings = registry_settings()?;
    if let Err(error) = erase_login(&settings, &host) {
        let reason = crate::report::chain(&error);
        output::note(&format!(
            "WARNING: could not erase credentials:\n{reason}\n"
        ));
    }
    Ok(())
}

/// Returns the host as references name it. Docker takes URLs as well.
fn host_of(server: Option<&str>) -> Result<String, Failure> {
    let Some(server) = server.filter(|server| !server.is_empty()) else {
        return Ok(DEFAULT_DOMAIN.to_owned());
    };
    let bare = ["https://", "http://"]
        .iter()
        .find_map(|scheme| server.strip_prefix(scheme))
        .unwrap_or(server);
    let host = bare.split('/').next().unwrap_or_default();
    if ["index.docker.io", "registry-1.docker.io", DEFAULT_DOMAIN].contains(&host) {
        return Ok(DEFAULT_DOMAIN.to_owned());
    }
    // A host is what can stand before a repository; one without a dot or port can, too.
    let names_host = |text: &str| {
        Reference::parse(&format!("{text}/x")).is_ok_and(|reference| {
            reference.domain == text
                || (!host.contains(['.', ':']) && reference.path == format!("{text}/x"))
        })
    };
    if !names_host(host) {
        return Err(Failure::message(format!(
            "invalid registry \"{server}\": not a host name"
        )));
    }
    Ok(host.to_owned())
}

fn check(settings: &Settings, host: &str, login: &Login) -> Result<Option<Secret>, Failure> {
    let mut settings = settings.clone();
    settings.logins.insert(host.to_owned(), login.clone());
    Ok(Client::new(settings)?.check_login(host)?)
}

/// Returns the credentials on the command line, and asks for what it lacks.
fn asked_for(options: &LoginArguments, known_user: Option<&str>) -> Result<Login, Failure> {
    let has_password = options.password.is_some() || options.password_stdin;
    let is_complete = options.username.is_some() && has_password;
    if !is_complete && !std::io::stdin().is_terminal() {
        return Err(Failure::message(
            "Cannot perform an interactive login from a non TTY device",
        ));
    }
    let user = match (&options.username, known_user) {
        (Some(user), _) => user.clone(),
        (None, None) => prompt("Username: ")?.trim().to_owned(),
        (None, Some(known)) => {
            let typed = prompt(&format!("Username ({}): ", clean_text(known)))?;
            match typed.trim() {
                "" => known.to_owned(),
                typed => typed.to_owned(),
            }
        }
    };
    if user.is_empty() {
        return Err(Failure::message("Non-null Username Required"));
    }
    let password = match &options.password {
        Some(password) => password.clone(),
        None if options.password_stdin => password_of_stdin()?,
        None => without_echo(|| prompt("Password: "))?,
    };
    if password.is_empty() {
        return Err(Failure::message("Password Required"));
    }
    Ok(Login::Basic {
        user,
        password: Secret::new(password),
    })
}

/// All of standard input but one line break at its end.
fn password_of_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(MAX_INPUT)
        .read_to_string(&mut text)
        .map_err(|error| Failure::message(format!("cannot read the password: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn prompt(text: &str) -> Result<String, Failure> {
    let failed = |error| Failure::message(format!("cannot ask: {error}"));
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(failed)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Keeps what is typed off the terminal; a signal does not leave it so.
fn without_echo(ask: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
    let failed = |error| Failure::message(format!("cannot hide what is typed: {error}"));
    let before = tcgetattr(std::io::stdin()).map_err(failed)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    let show = move || {
        let shown = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
        output::note("\n");
        shown.map_err(failed)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for signal in &mut signals {
                // What cannot be shown again is no reason to stay.
                drop(show());
                drop(signal_hook::low_level::emulate_default_handler(signal));
            }
        });
        let answer = tcsetattr(std::io::stdin(), OptionalActions::Flush, &hidden)
            .map_err(failed)
            .and_then(|()| ask());
        handle.close();
        show()?;
        answer
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let check = |server: Option<&str>, expected: &str| {
            let host = host_of(server);
            assert_eq!(host.as_deref().unwrap_or("-"), expected, "{server:?}");
        };
        check(None, "docker.io");
        check(Some(""), "docker.io");
        check(Some("https://index.docker.io/v1/"), "docker.io");
        check(Some("registry-1.docker.io"), "docker.io");
        check(Some("ghcr.io"), "ghcr.io");
        check(Some("http://localhost:5000/v2/"), "localhost:5000");
        check(Some("[::1]:5000"), "[::1]:5000");
        check(Some("myhost"), "myhost");
        check(Some("ghcr.io/team"), "ghcr.io");
        for bad in ["a b", "u@host", "-", "host:port"] {
            check(Some(bad), "-");
        }
    }
}
