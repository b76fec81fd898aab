//! What each command does.

mod key;
mod migrate;
mod operator;

use std::{
    ffi::OsString,
    fmt::Display,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::{CommandFactory as _, Parser as _};
use sotto_store::{Store as _, StoreError};

use crate::{
    cli::{BackupCommand, Cli, Command, ConfigCommand, KeyCommand, Place, RunArgs, UtilCommand},
    config::{self, Config, ConfigError, parse_host, parse_listen},
    log, print,
    shell::{
        self, Orders, RunError, admin,
        backup::{self, BackupError},
        desk::{Answer, Ask, Desk},
        folder::{Folder, FolderError},
        identity::Identity,
        listener::Listen,
    },
    tap::{Tap, Untapped},
};

/// Exit codes.
const DATA_TOO_NEW: u8 = 65;
const PORT_IN_USE: u8 = 69;
const FOLDER_IN_USE: u8 = 75;
const BAD_CONFIG: u8 = 78;
/// How long threads that may block (hashing) may take at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a command failed: what to say, and the exit code.
struct Failure {
    code: u8,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn new(code: u8, message: impl Display) -> Self {
        let message = message.to_string();
        Self { code, message, hint: None }
    }

    fn hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(BAD_CONFIG, error).hint("sottod config example")
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::InUse => FOLDER_IN_USE,
            StoreError::TooNew { .. } => DATA_TOO_NEW,
            _ => 1,
        };
        Self::new(code, error)
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        let code = if matches!(error, FolderError::InUse(_)) { FOLDER_IN_USE } else { 1 };
        Self::new(code, error)
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Folder(error) => error.into(),
            BackupError::Store(error) => error.into(),
            error => Self::new(1, error),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::PortInUse(_) => Self::new(PORT_IN_USE, error)
                .hint("give another port: sottod 7778, or stop what listens there"),
            RunError::Folder(error) => error.into(),
            RunError::Store(error) => error.into(),
            RunError::Backup(error) => error.into(),
            error => Self::new(1, error),
        }
    }
}

/// All of the program `sottod`, for a program that has it inside. `args` begin with the program's name.
pub fn main_from(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_tapped(args, Box::new(Untapped))
}

/// The same, with somebody between the connections and the core.
pub fn main_tapped(args: impl IntoIterator<Item = OsString>, tap: Box<dyn Tap>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error.
            let code = if error.use_stderr() { 2 } else { 0 };
            drop(error.print());
            return ExitCode::from(code);
        }
    };
    match dispatch(cli, tap) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            if let Some(hint) = failure.hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(cli: Cli, tap: Box<dyn Tap>) -> Result<(), Failure> {
    match cli.command {
        None => run(&cli.run, cli.port, tap),
        Some(Command::Run(args)) => run(&args, None, tap),
        Some(Command::Status { place, json }) => ask(&place, Ask::Status, json),
        Some(Command::Users { place, json }) => ask(&place, Ask::Users, json),
        Some(Command::User { command }) => operator::user(&command),
        Some(Command::Invite { command }) => operator::invite(command),
        Some(Command::Kill { room, place }) => ask(&place, Ask::Kill { room }, false),
        Some(Command::Address { place, qr }) => address(&place, qr),
        Some(Command::Healthcheck { place }) => healthcheck(&place),
        Some(Command::Doctor { place }) => doctor(&place),
        Some(Command::Version) => {
            print(&format!("sottod {}\n", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Some(Command::Backup { command }) => backup(&command),
        Some(Command::Key { command: KeyCommand::Rotate { json, place } }) => key::rotate(&place, json),
        Some(Command::Migrate { command }) => migrate::migrate(&command),
        Some(Command::Config { command }) => config_command(&command),
        Some(Command::Util { command }) => util(&command),
    }
}

fn load(place: &Place) -> Result<Config, ConfigError> {
    let wrong = |problem| ConfigError { place: "data folder".to_owned(), problem };
    let default = shell::default_data_dir().map_err(wrong)?;
    let file = place.config.clone().or_else(shell::default_config_file);
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(default, file.as_deref(), variables)?;
    if let Some(dir) = &place.data_dir {
        config.data_dir.clone_from(dir);
    }
    Ok(config)
}

fn load_run(args: &RunArgs, port: Option<u16>) -> Result<Config, ConfigError> {
    let flag = |name: &str| {
        let place = format!("--{name}");
        move |problem| ConfigError { place, problem }
    };
    let mut config = load(&args.place)?;
    if let Some(port) = port {
        config.listen = Listen::Everywhere(port);
    }
    if let Some(listen) = &args.listen {
        config.listen = parse_listen(listen).map_err(flag("listen"))?;
    }
    if let Some(host) = &args.public_host {
        config.public_host = Some(parse_host(host).map_err(flag("public-host"))?);
    }
    if let Some(clients) = args.max_clients {
        if clients == 0 {
            return Err(flag("max-clients")("at least 1".to_owned()));
        }
        config.max_clients = clients;
    }
    if let Some(format) = args.log_format {
        config.log_format = format;
    }
    Ok(config)
}

fn run(args: &RunArgs, port: Option<u16>, tap: Box<dyn Tap>) -> Result<(), Failure> {
    let config = load_run(args, port)?;
    let _flush = log::start(config.log_format, &config.log_level, args.verbose);
    let args = args.clone();
    let reload = Box::new(move || load_run(&args, port));
    let lobby = shell::lobby::runtime().map_err(|error| Failure::new(1, error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(1, error))?;
    let result = runtime.block_on(shell::run(config, reload, tap, lobby.handle()));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    lobby.shutdown_timeout(SHUTDOWN_TIMEOUT);
    Ok(result?)
}

/// Runs something short on a runtime of its own.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(1, error))?;
    runtime.block_on(future)
}

/// Asks the daemon, or the data folder itself where none runs.
async fn answer(config: &Config, ask: Ask) -> Result<Answer, Failure> {
    let asked = admin::ask(&config.data_dir, &ask).await;
    if let Some(answer) = asked.map_err(|error| Failure::new(1, format!("the admin socket: {error}")))? {
        return Ok(answer);
    }
    // Not to make a folder where somebody mistyped its name.
    Identity::load(&config.data_dir).map_err(|error| Failure::new(1, error))?;
    let folder = Folder::take(&config.data_dir)?;
    backup::finished(folder.path())?;
    // Also for a backup, which copies the files.
    let identity = Identity::settle(folder.path()).map_err(|error| Failure::new(1, error))?;
    let store = Arc::new(crate::storage::open(&folder.store(), config)?);
    let listening = shell::listening_of(config.listen);
    // Accounts are changed by a core, as in the daemon.
    let core = if ask.changes_accounts() {
        Some(Orders::start(config, &identity, Arc::clone(&store))?)
    } else {
        None
    };
    let desk = Desk {
        store: Arc::clone(&store),
        data_dir: folder.path().to_owned(),
        driver: core.as_ref().map(|core| core.sender.clone()),
        running: false,
        address: shell::public_address(config, listening, &identity).to_string(),
        started: Instant::now(),
    };
    let answer = desk.answer(ask).await;
    if let Some(core) = core {
        core.finish().await?;
    }
    store.close().await?;
    Ok(answer)
}

fn ask(place: &Place, ask: Ask, json: bool) -> Result<(), Failure> {
    let config = load(place)?;
    match block_on(answer(&config, ask))? {
        Answer::Error(error) => Err(Failure::new(1, error)),
        Answer::Users(users) if json => {
            for user in users {
                print_json(&user)?;
            }
            Ok(())
        }
        Answer::Status(status) if json => print_json(&status),
        answer => {
            print(&format!("{}\n", shell::show(answer)));
            Ok(())
        }
    }
}

fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(value).map_err(|error| Failure::new(1, error))?;
    print(&format!("{line}\n"));
    Ok(())
}

/// Takes the data folder of a server that does not run.
fn take_stopped(config: &Config, why: &str) -> Result<Folder, Failure> {
    // Not to make a folder where somebody mistyped its name.
    Identity::load(&config.data_dir).map_err(|error| Failure::new(1, error))?;
    let folder = Folder::take(&config.data_dir).map_err(|error| {
        let in_use = matches!(error, FolderError::InUse(_));
        let failure = Failure::from(error);
        if in_use { failure.hint(why) } else { failure }
    })?;
    backup::finished(folder.path())?;
    Ok(folder)
}

/// Needs no store: the key and the configuration say it, unless a daemon knows better (a free port).
fn address(place: &Place, qr: bool) -> Result<(), Failure> {
    let config = load(place)?;
    let asked = block_on(async { Ok(admin::ask(&config.data_dir, &Ask::Address).await) })?;
    let address = if let Ok(Some(Answer::Address(address))) = asked {
        address
    } else {
        let identity = Identity::load(&config.data_dir).map_err(|error| Failure::new(1, error))?;
        shell::public_address(&config, shell::listening_of(config.listen), &identity).to_string()
    };
    print(&format!("{address}\n"));
    if qr {
        print(&crate::qr::code(&address.to_ascii_uppercase()).unwrap_or_default());
        print("\n");
    }
    Ok(())
}

fn healthcheck(place: &Place) -> Result<(), Failure> {
    let config = load(place)?;
    let asked = block_on(async { Ok(admin::ask(&config.data_dir, &Ask::Status).await) })?;
    match asked {
        Ok(Some(Answer::Status(_))) => {
            print("ok\n");
            Ok(())
        }
        Ok(Some(Answer::Error(error))) => Err(Failure::new(1, error)),
        Ok(Some(_)) => Err(Failure::new(1, "the daemon answered something else")),
        Ok(None) => {
            Err(Failure::new(1, format!("no daemon runs on {}", config.data_dir.display())).hint("sottod"))
        }
        Err(error) => Err(Failure::new(1, format!("the daemon does not answer: {error}"))),
    }
}

fn backup(command: &BackupCommand) -> Result<(), Failure> {
    let summary = match command {
        BackupCommand::Create { path, place } => {
            let config = load(place)?;
            Identity::load(&config.data_dir).map_err(|error| Failure::new(1, error))?;
            backup::prepare(path)?;
            // The daemon has another working folder.
            let folder = path.canonicalize().map_err(|error| Failure::new(1, error))?;
            return ask(place, Ask::Backup { folder }, false);
        }
        BackupCommand::Check { path } => backup::check(path)?,
        BackupCommand::Restore { path, place } => backup::restore(path, &load(place)?)?,
    };
    print(&format!("{} rows, {} bytes\n", summary.rows, summary.bytes));
    Ok(())
}

fn config_command(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { place } => {
            load(place)?;
            print("the configuration is valid\n");
        }
        ConfigCommand::Show { place } => print(&load(place)?.show()),
        ConfigCommand::Example => print(&config::example()),
    }
    Ok(())
}

/// Looks at one thing after the other, and says of each how it stands.
fn doctor(place: &Place) -> Result<(), Failure> {
    let mut problems = 0;
    let mut say = |what: &str, result: Result<String, String>| match result {
        Ok(how) => print(&format!("ok       {what}: {how}\n")),
        Err(problem) => {
            problems += 1;
            print(&format!("PROBLEM  {what}: {problem}\n"));
        }
    };
    let config = match load(place) {
        Ok(config) => {
            say("configuration", Ok("valid".to_owned()));
            config
        }
        Err(error) => {
            say("configuration", Err(error.to_string()));
            return Err(Failure::new(1, "1 problem"));
        }
    };
    say("data folder", folder_state(&config.data_dir));
    if config.data_dir.exists() {
        let identity = Identity::load(&config.data_dir);
        let identity = identity.map(|identity| sotto_proto::ids::base32(&identity.fingerprint()));
        say("key", identity.map_err(|error| error.to_string()));
    }
    let running = block_on(async { Ok(admin::ask(&config.data_dir, &Ask::Status).await) })?;
    match running {
        Ok(Some(Answer::Status(status))) => say("daemon", Ok(format!("runs, {}", status.address))),
        Ok(Some(_)) => say("daemon", Err("runs, but cannot read its store".to_owned())),
        Err(error) => say("daemon", Err(format!("does not answer: {error}"))),
        Ok(None) => {
            say("daemon", Ok("does not run".to_owned()));
            say("port", block_on(async { Ok(port_state(config.listen)) })?);
            if Identity::load(&config.data_dir).is_ok() {
                let opened = block_on(answer(&config, Ask::Status)).map_err(|failure| failure.message);
                say(
                    "store",
                    opened.and_then(|answer| match answer {
                        Answer::Status(status) => {
                            Ok(format!("opens, {} accounts, {} envelopes", status.accounts, status.envelopes))
                        }
                        _ => Err("cannot be read".to_owned()),
                    }),
                );
            }
        }
    }
    if problems == 0 { Ok(()) } else { Err(Failure::new(1, format!("{problems} problems"))) }
}

fn folder_state(path: &Path) -> Result<String, String> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(format!("{} is no folder", path.display())),
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => {
            Err(format!("{0} is open to others; chmod 700 {0}", path.display()))
        }
        Ok(_) => Ok(path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(format!("{} (made at the first start)", path.display()))
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn port_state(listen: Listen) -> Result<String, String> {
    shell::listener::bind(listen)
        .map(|_| format!("{listen} is free"))
        .map_err(|error| format!("{listen}: {error}"))
}

fn util(command: &UtilCommand) -> Result<(), Failure> {
    match command {
        UtilCommand::Completion { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "sottod", &mut std::io::stdout());
            Ok(())
        }
        UtilCommand::Man { dir } => man(dir).map_err(|error| Failure::new(1, error)),
        UtilCommand::Systemd => {
            let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/local/bin/sottod"));
            print(&systemd(&program));
            Ok(())
        }
    }
}

fn man(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

fn systemd(program: &Path) -> String {
    format!(
        "[Unit]\nDescription=Sotto server\nAfter=network-online.target\nWants=network-online.target\n\n\
         [Service]\nType=notify\nExecStart={} run --data-dir /var/lib/sottod\nExecReload=/bin/kill -HUP $MAINPID\n\
         Restart=on-failure\nRestartPreventExitStatus=65 69 75 78\nDynamicUser=yes\nStateDirectory=sottod\n\
         StateDirectoryMode=0700\nLimitNOFILE=65536\nNoNewPrivileges=yes\nProtectSystem=strict\nProtectHome=yes\n\
         PrivateTmp=yes\n\n[Install]\nWantedBy=multi-user.target\n",
        program.display()
    )
}
