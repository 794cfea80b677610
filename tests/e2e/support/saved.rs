//! Images as `docker save` wrote them, made here.

use serde_json::{Value, json};

use super::TestEnv;
use super::image::sha256;

/// A tar with one file of so many zeros.
fn layer(name: &str, size: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let zeros = std::io::Read::take(std::io::repeat(0), size);
    tar.append_data(&mut header, name, zeros).unwrap();
    tar.into_inner().unwrap()
}

/// A line of a history: the second it was made, the instruction, a remark, the bytes of its layer.
pub(crate) type Line<'a> = (u32, &'a str, &'a str, Option<u64>);

/// An image as `docker save` writes them.
#[derive(Debug)]
pub(crate) struct Saved {
    names: Vec<String>,
    config: Vec<u8>,
    layers: Vec<Vec<u8>>,
}

impl Saved {
    /// History lines are newest first, as `history` shows them; those with a size have a layer.
    pub(crate) fn new(
        names: &[&str],
        created: &str,
        mut settings: Value,
        history: &[Line<'_>],
    ) -> Self {
        let mut layers = Vec::new();
        let mut lines = Vec::new();
        for (second, by, comment, size) in history.iter().rev() {
            lines.push(json!({
                "created": format!("2026-11-21T01:13:{second}Z"), "created_by": by, "comment": comment,
                "empty_layer": size.is_none(),
            }));
            layers.extend(size.map(|size| layer(&format!("file{}", layers.len()), size)));
        }
        let diff_ids: Vec<_> = layers.iter().map(|layer| sha256(layer)).collect();
        settings["architecture"] = json!("amd64");
        settings["os"] = json!("linux");
        settings["created"] = json!(created);
        settings["history"] = json!(lines);
        settings["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        Self {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            config: serde_json::to_vec(&settings).unwrap(),
            layers,
        }
    }

    /// Docker's IMAGE ID.
    pub(crate) fn id(&self) -> String {
        sha256(&self.config)
    }

    /// The first digits of the ID.
    pub(crate) fn short_id(&self) -> String {
        self.id()["sha256:".len()..][..12].to_owned()
    }

    /// Digests of the layers' tars, base first.
    pub(crate) fn diff_ids(&self) -> Vec<String> {
        self.layers.iter().map(|layer| sha256(layer)).collect()
    }

    /// The archive.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        let layers: Vec<_> = (0..self.layers.len())
            .map(|n| format!("{n}/layer.tar"))
            .collect();
        for (name, layer) in layers.iter().zip(&self.layers) {
            add(name, layer);
        }
        add("config.json", &self.config);
        let tags = (!self.names.is_empty()).then_some(&self.names);
        let manifest = json!([{"Config": "config.json", "RepoTags": tags, "Layers": layers}]);
        add("manifest.json", &serde_json::to_vec(&manifest).unwrap());
        tar.into_inner().unwrap()
    }

    /// Loads it.
    pub(crate) fn load(&self, env: &TestEnv) {
        let file = env.out("load.tar");
        fs_err::write(&file, self.archive()).unwrap();
        env.rbuild(["load", "-q", "-i", file.to_str().unwrap()])
            .ok();
    }
}

/// The host of the registry in the recorded sessions.
pub(crate) const RECORDED_HOST: &str = "127.0.0.1:5701";

/// The images of the recorded sessions, named for a registry: a base, an image on it, and one
/// without a name.
pub(crate) fn recorded_images(host: &str) -> [Saved; 3] {
    let base = (19, "", "imported base", Some(1_982_298));
    let label = (
        19,
        "/bin/sh -c #(nop)  LABEL stage=demo maintainer=moi",
        "",
        None,
    );
    let app = json!({"config": {
        "User": "1000:1000",
        "ExposedPorts": {"80/tcp": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=1", "B=two words"],
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", "echo hello"],
        "Volumes": {"/data": {}},
        "WorkingDir": "/app",
        "Labels": {"maintainer": "moi", "stage": "demo"},
        "Healthcheck": {"Test": ["CMD-SHELL", "/bin/ls"], "Interval": 5_000_000_000_u64},
    }});
    let lines = [
        (
            23,
            "/bin/sh -c #(nop)  CMD [\"-c\" \"echo hello\"]",
            "",
            None,
        ),
        (22, "/bin/sh -c #(nop)  ENTRYPOINT [\"/bin/sh\"]", "", None),
        (
            22,
            "/bin/sh -c #(nop)  HEALTHCHECK &{[\"CMD-SHELL\" \"/bin/ls\"] \"5s\"}",
            "",
            None,
        ),
        (22, "/bin/sh -c #(nop)  USER 1000:1000", "", None),
        (22, "/bin/sh -c #(nop)  VOLUME [/data]", "", None),
        (22, "/bin/sh -c #(nop)  EXPOSE 80/tcp", "", None),
        (21, "/bin/sh -c #(nop) WORKDIR /app", "", None),
        (
            21,
            "/bin/sh -c #(nop) COPY file:a85dcd91fd4c1d65aaaa in /app",
            "",
            Some(333),
        ),
        (21, "/bin/sh -c touch /etc/y", "", Some(0)),
        (
            20,
            "/bin/sh -c dd if=/dev/zero of=/big bs=1000 count=1500",
            "",
            Some(1_500_007),
        ),
        (19, "/bin/sh -c #(nop)  ENV A=1 B=two words", "", None),
        label,
        base,
    ];
    [
        Saved::new(
            &[&format!("{host}/base:1"), "base:1"],
            "2026-11-21T01:13:19Z",
            json!({}),
            &[base],
        ),
        Saved::new(
            &[&format!("{host}/team/app:1.0"), "app:1"],
            "2026-11-21T01:13:23.442163399Z",
            app,
            &lines,
        ),
        Saved::new(&[], "2026-11-21T01:13:23Z", json!({}), &[label, base]),
    ]
}
