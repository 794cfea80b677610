//! Builds whose image goes to a Docker engine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crate::support::engine::Engine;
use crate::support::image::Image;
use crate::support::run::Run;
use crate::support::{TestEnv, need};

fn context(env: &TestEnv) -> PathBuf {
    let files = [
        ("Dockerfile", "FROM scratch\nCOPY a /\nCMD [\"/a\"]\n"),
        ("a", "the file\n"),
    ];
    env.context("ctx", &files)
}

fn build(env: &TestEnv, host: &str, args: &[&str]) -> Run {
    let context = context(env);
    let mut command = env.command();
    command.env("DOCKER_HOST", host).args(["build", "--load"]);
    Run::of(command.args(args).arg(context))
}

/// Knows no image; answers the first archive that comes, and returns the first line of its request and
/// the chunks of its body.
fn serve(socket: &Path, answer: &'static str) -> JoinHandle<(String, Vec<u8>)> {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        loop {
            let (mut stream, _) = listener.accept().unwrap();
            let mut input = BufReader::new(stream.try_clone().unwrap());
            let next = |input: &mut BufReader<_>| {
                let mut line = String::new();
                input.read_line(&mut line).unwrap();
                line.trim_end().to_owned()
            };
            loop {
                let request = next(&mut input);
                if request.is_empty() {
                    break;
                }
                while !next(&mut input).is_empty() {}
                if request.starts_with("GET") {
                    let nothing = "HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}";
                    stream.write_all(nothing.as_bytes()).unwrap();
                    continue;
                }
                let mut body = Vec::new();
                loop {
                    let length = u64::from_str_radix(&next(&mut input), 16).unwrap();
                    input.by_ref().take(length).read_to_end(&mut body).unwrap();
                    assert_eq!(next(&mut input), "");
                    if length == 0 {
                        break;
                    }
                }
                stream.write_all(answer.as_bytes()).unwrap();
                return (request, body);
            }
        }
    })
}

#[test]
fn an_engine_gets_the_archive() {
    let env = TestEnv::new();
    let socket = env.path("sock");
    let host = format!("unix://{}", socket.display());
    let answer = "HTTP/1.1 200 OK\r\n\r\n{\"stream\":\"Loaded image: app:1\"}\n";
    let server = serve(&socket, answer);
    let run = build(&env, &host, &["-q", "-t", "app:1"]).ok();
    let (request, body) = server.join().unwrap();
    assert!(request.starts_with("POST /images/load"), "{request}");
    let tar = env.out("got.tar");
    fs_err::write(&tar, body).unwrap();
    let (image, names) = &Image::from_docker_archive(&tar)[0];
    assert_eq!(image.id, run.out());
    assert_eq!(*names, ["app:1"]);
    assert_eq!(image.text("a"), "the file\n");
    assert_eq!(env.image("app:1").id, run.out());
}

#[test]
fn an_engine_that_fails_or_is_not_there() {
    let env = TestEnv::new();
    let socket = env.path("sock");
    let host = format!("unix://{}", socket.display());
    build(&env, &host, &[])
        .fails(1)
        .says("cannot reach the engine");
    build(&env, "fd://3", &[])
        .fails(1)
        .says("does not reach the engine at fd://3");
    build(&env, "ssh://me:secret@host", &[])
        .fails(1)
        .says("is not of the form");
    for (answer, text) in [
        (
            "HTTP/1.1 200 OK\r\n\r\n{\"error\":\"no space left\"}\n",
            "did not load the image: no space left",
        ),
        (
            "HTTP/1.1 500 Error\r\n\r\n{\"message\":\"broken\"}\n",
            "did not load the image: broken",
        ),
        ("", "did not load the image: it gave no answer"),
    ] {
        let server = serve(&socket, answer);
        build(&env, &host, &["-t", "app:1"]).fails(1).says(text);
        server.join().unwrap();
        fs_err::remove_file(&socket).unwrap();
    }
}

#[test]
fn a_real_engine_has_the_image() {
    let engine = Engine::shared();
    need!(engine.is_some(), "this needs a Docker engine that starts");
    let engine = engine.unwrap();
    let env = TestEnv::new();
    let name = "loaded.example/app:1";
    build(&env, &engine.host(), &["-t", name]).ok();
    let format = "{{index .RepoTags 0}} {{json .Config.Cmd}}";
    let found = Run::of(&mut engine.command(&["image", "inspect", "-f", format, name])).ok();
    assert_eq!(found.out(), format!("{name} [\"/a\"]"));
}
