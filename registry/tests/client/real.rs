//! A real registry, filled by a real tool, with and without a password.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rbuild_image::manifest::{Descriptor, Document};
use rbuild_image::media::{OCI_INDEX, OCI_MANIFEST};
use rbuild_registry::{Client, Login, Placed, PushEvent, PushOptions, RegistryError, Secret};

use crate::fake::{Memory, image as pushed_image};
use crate::image::{Image, noise};
use crate::server::{settings, shown};

const TOOLS: [&str; 3] = ["docker-registry", "skopeo", "htpasswd"];

/// `docker-registry` of Debian on a free port; killed when dropped.
struct Registry {
    child: Child,
    host: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    /// Starts a registry; with the user `me` if there is a `password`. `None`, with a notice, if a
    /// tool is missing.
    fn start(password: Option<&str>) -> Option<Self> {
        for tool in TOOLS {
            let found = Command::new(tool)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if found.is_err() {
                eprintln!("skipped: there is no {tool}");
                return None;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let config = write_config(folder.path(), password);
        let log = folder.path().join("log");
        let output = fs_err::File::create(&log).unwrap().into_file();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut registry = Self {
            child,
            host: String::new(),
            _folder: folder,
        };
        // The system gives it a port, which it tells: one that is chosen before may be taken by then.
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let said = fs_err::read_to_string(&log).unwrap();
            if let Some((_, rest)) = said.split_once("listening on ") {
                let port = rest.trim_start_matches("127.0.0.1:");
                let end = port.find(|c: char| !c.is_ascii_digit());
                if let Some(end) = end {
                    registry.host = format!("127.0.0.1:{}", &port[..end]);
                    return Some(registry);
                }
            }
            let is_gone = registry.child.try_wait().unwrap().is_some();
            assert!(
                !is_gone && Instant::now() < deadline,
                "docker-registry does not start: {said}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Copies an OCI layout there.
    fn fill(&self, layout: &Path, tag: &str, name: &str, login: Option<&str>) {
        let mut command = Command::new("skopeo");
        command.args([
            "--insecure-policy",
            "copy",
            "-q",
            "--all",
            "--preserve-digests",
        ]);
        command.arg("--dest-tls-verify=false");
        command.args(login.map(|login| format!("--dest-creds={login}")));
        command.arg(format!("oci:{}:{tag}", layout.display()));
        command.arg(format!("docker://{}/{name}", self.host));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn write_config(folder: &Path, password: Option<&str>) -> PathBuf {
    let mut config = format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: 127.0.0.1:0\n",
        folder.join("data").display()
    );
    if let Some(password) = password {
        let made = Command::new("htpasswd")
            .args(["-Bbn", "me", password])
            .output()
            .unwrap();
        let users = folder.join("htpasswd");
        fs_err::write(&users, made.stdout).unwrap();
        config = format!(
            "{config}auth:\n  htpasswd:\n    realm: Registry\n    path: {}\n",
            users.display()
        );
    }
    let path = folder.join("config.yml");
    fs_err::write(&path, config).unwrap();
    path
}

/// Writes an OCI layout with `one` (a manifest) and `many` (an index with it); returns the index.
fn write_layout(folder: &Path, image: &Image) -> Descriptor {
    let blobs = folder.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).unwrap();
    let store = |descriptor: &Descriptor, bytes: &[u8]| {
        fs_err::write(blobs.join(descriptor.digest.hex()), bytes).unwrap();
    };
    store(&image.layer_descriptor, &image.layer);
    store(&image.config_descriptor, &image.config);
    store(&image.manifest_descriptor, &image.manifest);
    let entry = |descriptor: &Descriptor, more: &str| {
        let Descriptor {
            media_type,
            digest,
            size,
            ..
        } = descriptor;
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}{more}}}"#)
    };
    let platform = r#","platform":{"os":"linux","architecture":"amd64"}"#;
    let index = format!(
        r#"{{ "schemaVersion":2, "mediaType":"{OCI_INDEX}",  "manifests":[{}]}}"#,
        entry(&image.manifest_descriptor, platform)
    );
    let index_descriptor = Descriptor::of(OCI_INDEX, index.as_bytes());
    store(&index_descriptor, index.as_bytes());
    let tag =
        |tag: &str| format!(r#","annotations":{{"org.opencontainers.image.ref.name":"{tag}"}}"#);
    let top = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        entry(&image.manifest_descriptor, &tag("one")),
        entry(&index_descriptor, &tag("many"))
    );
    fs_err::write(folder.join("index.json"), top).unwrap();
    fs_err::write(
        folder.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
    index_descriptor
}

fn client(registry: &Registry, password: Option<&str>) -> Client {
    let mut settings = settings();
    let login = password.map(|password| Login::Basic {
        user: "me".into(),
        password: Secret::new(password),
    });
    settings
        .logins
        .extend(login.map(|login| (registry.host.clone(), login)));
    Client::new(settings).unwrap()
}

/// Resolves both tags and reads everything they name.
fn pull_all(registry: &Registry, client: &Client, image: &Image, index: &Descriptor) {
    let reference = format!("{}/team/app:one", registry.host).parse().unwrap();
    let one = client.resolve(&reference).unwrap();
    assert_eq!(one.descriptor, image.manifest_descriptor);
    assert_eq!(one.bytes, image.manifest);
    assert_eq!(
        client.peek(&reference).unwrap().unwrap().digest,
        one.descriptor.digest
    );
    assert_eq!(
        client.config(&reference, &image.config_descriptor).unwrap(),
        image.config
    );
    let mut layer = Vec::new();
    let mut reader = client.blob(&reference, &image.layer_descriptor).unwrap();
    reader.read_to_end(&mut layer).unwrap();
    assert!(reader.is_verified() && layer == image.layer);
    let mut rest = Vec::new();
    client
        .resume_blob(
            &reference,
            &image.layer_descriptor,
            &mut &image.layer[..100_000],
        )
        .unwrap()
        .read_to_end(&mut rest)
        .unwrap();
    assert_eq!(rest, &image.layer[100_000..]);

    let many = format!("{}/team/app:many", registry.host).parse().unwrap();
    let resolved = client.resolve(&many).unwrap();
    assert_eq!(&resolved.descriptor, index);
    let Document::Index(document) = &resolved.document else {
        panic!("not an index");
    };
    let child = client.child(&many, &document.manifests[0]).unwrap();
    assert_eq!(child.bytes, image.manifest);
    assert_eq!(child.descriptor.media_type, OCI_MANIFEST);
    assert_eq!(
        client.manifest(&many, &index.digest).unwrap(),
        resolved.bytes
    );
}

/// A layer that skopeo does not look into, but a config that it does.
fn layout() -> (tempfile::TempDir, Image, Descriptor) {
    let folder = tempfile::tempdir().unwrap();
    let image = Image::new(300_000);
    let index = write_layout(folder.path(), &image);
    (folder, image, index)
}

#[test]
fn without_a_password() {
    let Some(registry) = Registry::start(None) else {
        return;
    };
    let (folder, image, index) = layout();
    registry.fill(folder.path(), "one", "team/app:one", None);
    registry.fill(folder.path(), "many", "team/app:many", None);
    let client = client(&registry, None);
    pull_all(&registry, &client, &image, &index);
    for name in ["team/app:none", "nobody/app:one"] {
        let reference = format!("{}/{name}", registry.host).parse().unwrap();
        let error = client.resolve(&reference).unwrap_err();
        let text = shown(&error);
        assert!(
            error.is_not_found() && text.contains("MANIFEST_UNKNOWN"),
            "{text}"
        );
    }
    let reference = format!("{}/team/app:one", registry.host).parse().unwrap();
    let missing = Descriptor::of("x", b"not there");
    let error = client.blob(&reference, &missing).unwrap_err();
    assert!(
        error.is_not_found() && error.to_string().contains("BLOB_UNKNOWN"),
        "{error}"
    );
}

#[test]
fn with_a_password() {
    let Some(registry) = Registry::start(Some("hunter2")) else {
        return;
    };
    let (folder, image, index) = layout();
    registry.fill(folder.path(), "one", "team/app:one", Some("me:hunter2"));
    registry.fill(folder.path(), "many", "team/app:many", Some("me:hunter2"));
    pull_all(
        &registry,
        &client(&registry, Some("hunter2")),
        &image,
        &index,
    );
    let reference = format!("{}/team/app:one", registry.host).parse().unwrap();
    for (password, whose) in [(None, "no credentials"), (Some("wrong-one"), "user me of")] {
        let error = client(&registry, password).resolve(&reference).unwrap_err();
        let text = shown(&error);
        assert!(
            matches!(error, RegistryError::Unauthorized { .. }),
            "{text}"
        );
        assert!(
            text.contains(whose) && !text.contains("wrong-one"),
            "{text}"
        );
    }
}

#[test]
fn credentials_of_docker_and_podman() {
    let Some(registry) = Registry::start(Some("hunter2")) else {
        return;
    };
    let (folder, _, _) = layout();
    registry.fill(folder.path(), "one", "team/app:one", Some("me:hunter2"));
    let reference = format!("{}/team/app:one", registry.host).parse().unwrap();
    // As `docker login` and `podman login` leave them, and by a helper.
    let auths = format!(
        r#"{{"auths":{{"{}":{{"auth":"bWU6aHVudGVyMg=="}}}}}}"#,
        registry.host
    );
    let helped = format!(
        r#"{{"auths":{{"{0}":{{}}}},"credHelpers":{{"{0}":"test"}}}}"#,
        registry.host
    );
    let home = tempfile::tempdir().unwrap();
    let helper = home.path().join("docker-credential-test");
    // Written by another process: one that a thread of ours is just starting would have the file open
    // for writing, and such a file cannot be run.
    let text = "#!/bin/sh\necho '{\"Username\":\"me\",\"Secret\":\"hunter2\"}'";
    let written = Command::new("sh")
        .args(["-c", "echo \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", text])
        .arg(&helper)
        .status()
        .unwrap();
    assert!(written.success());
    for (variable, name, content) in [
        ("REGISTRY_AUTH_FILE", "auth.json", &auths),
        ("DOCKER_CONFIG", "config.json", &auths),
        ("DOCKER_CONFIG", "config.json", &helped),
        ("XDG_RUNTIME_DIR", "containers/auth.json", &auths),
    ] {
        let path = home.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, content).unwrap();
        let value = if variable == "REGISTRY_AUTH_FILE" {
            path.as_path()
        } else {
            home.path()
        };
        let from_env = rbuild_registry::Settings::from_env(&|asked| match asked {
            "PATH" => Some(home.path().display().to_string()),
            asked if asked == variable => Some(value.display().to_string()),
            _ => None,
        });
        let found = Client::new(from_env).unwrap().resolve(&reference);
        assert!(
            found.is_ok(),
            "{variable} {content}: {}",
            shown(&found.unwrap_err())
        );
        fs_err::remove_file(&path).unwrap();
    }
}

/// How the blobs came to be there.
fn push(
    client: &Client,
    content: &Memory,
    root: &Descriptor,
    name: &str,
) -> Result<Vec<Placed>, RegistryError> {
    let placed = std::sync::Mutex::new(Vec::new());
    let progress = |event: PushEvent<'_>| {
        if let PushEvent::Placed(_, how) = event {
            placed.lock().unwrap().push(how.clone());
        }
    };
    let reference = name.parse().unwrap();
    client.push(
        content,
        root,
        &reference,
        &PushOptions::default(),
        &progress,
    )?;
    Ok(placed.into_inner().unwrap())
}

#[test]
fn pushed_mounted_and_read_again() {
    for password in [None, Some("hunter2")] {
        let Some(registry) = Registry::start(password) else {
            return;
        };
        let client = client(&registry, password);
        let name = |rest: &str| format!("{}/{rest}", registry.host);
        let (mut content, one) = pushed_image(3_000_000);
        let two = content.add_image(&noise(10), "");
        let root = content.add_index(&[one, two]);
        let placed = push(&client, &content, &root, &name("team/app:1")).unwrap();
        assert_eq!(placed, vec![Placed::Uploaded; 4]);
        let placed = push(&client, &content, &root, &name("team/app:1")).unwrap();
        assert_eq!(placed, vec![Placed::Exists; 4]);
        content.sources = vec![name("team/app").parse().unwrap()];
        let placed = push(&client, &content, &root, &name("other/app:2")).unwrap();
        assert_eq!(placed, vec![Placed::Mounted("team/app".into()); 4]);

        let reference = name("other/app:2").parse().unwrap();
        let resolved = client.resolve(&reference).unwrap();
        assert_eq!(resolved.descriptor.digest, root.digest);
        for (digest, bytes) in &content.bytes {
            let mut read = Vec::new();
            let descriptor = Descriptor::of("x", bytes);
            match client.blob(&reference, &descriptor) {
                Ok(mut blob) => drop(blob.read_to_end(&mut read).unwrap()),
                Err(_) => read = client.manifest(&reference, digest).unwrap(),
            }
            assert_eq!(&read, bytes);
        }
        assert_eq!(client.tags(&reference).unwrap(), ["2"]);
        client.check_login(&registry.host).unwrap();
    }
}

#[test]
fn pushing_with_the_wrong_password() {
    let Some(registry) = Registry::start(Some("hunter2")) else {
        return;
    };
    let (content, root) = pushed_image(1000);
    let client = client(&registry, Some("wrong-one"));
    let name = format!("{}/team/app:1", registry.host);
    let error = push(&client, &content, &root, &name).unwrap_err();
    let text = shown(&error);
    assert!(
        matches!(error, RegistryError::Unauthorized { .. }),
        "{text}"
    );
    assert!(!text.contains("wrong-one"), "{text}");
    let error = client.check_login(&registry.host).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "login attempt to http://{}/v2/ failed with status: 401 Unauthorized",
            registry.host
        )
    );
}
