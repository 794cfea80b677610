//! The cache key of a `RUN`. The leaves: `docs/cache-keys.md`.

use rbuild_cache::key::{CacheKey, KeyBuilder, Leaf};
use rbuild_planner::{Limits, Network, Run, RunMount, Security, Step};

use super::inputs::Inputs;
use crate::step::StepContext;

/// Returns the key and its leaves.
pub(super) fn key(context: &StepContext<'_>, run: &Run, inputs: &Inputs) -> (CacheKey, Vec<Leaf>) {
    let Run {
        argv,
        env,
        proxy_env: _, // may change without changing the result
        cwd,
        user,
        hostname,
        network,
        extra_hosts,
        pipe_scripts,
        mounts,
        security,
        limits,
    } = run;
    let Step {
        kind: _,
        platform,
        ignore_cache: _,
        origin: _,
    } = context.build.plan.step(context.step);
    let mut key = context.key("run");
    key.text(
        "platform",
        &format!(
            "{platform} {} {}",
            platform.os_version,
            platform.os_features.join(",")
        ),
    );
    key.digest("parent", &context.parent.content_chain());
    for argument in argv {
        key.text("argument", argument);
    }
    for variable in env {
        let name = variable.split('=').next().unwrap_or_default();
        key.text(&format!("env {name}"), variable);
    }
    key.text("cwd", cwd)
        .text("user", user)
        .text("hostname", hostname);
    key.text(
        "network",
        match network {
            Network::Default => "default",
            Network::None => "none",
            Network::Host => "host",
        },
    );
    for (host, _address) in extra_hosts {
        key.text("extra host", host);
    }
    for (name, script) in pipe_scripts {
        key.text(&format!("script {name}"), script);
    }
    for (number, mount) in mounts.iter().enumerate() {
        add_mount(&mut key, mount);
        if let Some(input) = inputs.get(number) {
            key.digest("mount source", &input.digest);
        }
    }
    if *security == Security::Insecure {
        key.text("security", "insecure");
    }
    add_limits(&mut key, limits);
    key.finish()
}

/// What a mount is counts, and where it stands; what is in a cache or a secret does not.
fn add_mount(key: &mut KeyBuilder, mount: &RunMount) {
    let optional = |required: &bool| if *required { "required" } else { "optional" };
    match mount {
        RunMount::Bind {
            target,
            from: _,   // by its content
            source: _, // by its content
            writable,
        } => {
            let access = if *writable { "writable" } else { "read-only" };
            key.text("bind mount", &format!("{access} {target}"));
        }
        RunMount::Cache {
            target,
            id: _,
            seed: _, // by its content
            sharing: _,
            read_only,
            mode: _,
            uid: _,
            gid: _,
        } => {
            let access = if *read_only { "read-only" } else { "writable" };
            key.text("cache mount", &format!("{access} {target}"));
        }
        RunMount::Tmpfs { target, size } => {
            let size = size.map_or("unlimited".to_owned(), |size| size.to_string());
            key.text("tmpfs mount", &format!("{size} {target}"));
        }
        RunMount::Secret {
            id,
            target,
            env,
            required,
            mode,
            uid,
            gid,
        } => {
            let terms = format!("{} {mode:o} {uid}:{gid}", optional(required));
            key.text("secret mount", &terms).text("secret id", id);
            if let Some(target) = target {
                key.text("secret target", target);
            }
            if let Some(env) = env {
                key.text("secret variable", env);
            }
        }
        RunMount::Ssh {
            id,
            target,
            required,
            mode,
            uid,
            gid,
        } => {
            let terms = format!("{} {mode:o} {uid}:{gid}", optional(required));
            key.text("ssh mount", &terms)
                .text("ssh id", id)
                .text("ssh target", target);
        }
    }
}

fn add_limits(key: &mut KeyBuilder, limits: &Limits) {
    let Limits {
        ulimits,
        shm_size: _, // a matter of whether it works, not of what comes out
        cgroup_parent,
    } = limits;
    for (name, soft, hard) in ulimits {
        key.text("ulimit", &format!("{name}={soft}:{hard}"));
    }
    if let Some(parent) = cgroup_parent {
        key.text("cgroup parent", parent);
    }
}
