//! COPY and ADD: what they become. Rows of the reference's tables C, H and K7 that planning sees.

use rbuild_planner::{Chmod, ContextName, FileSource, Files, StepKind, Tree, Unpack};

use crate::support::case;

/// The one `COPY` or `ADD` of a file.
fn files(line: &str) -> Files {
    case(&format!("F\n{line}")).only_files()
}

/// Checks source patterns and the destination.
fn check(line: &str, sources: &[&str], dest: &str) {
    let files = files(line);
    let found: Vec<_> = files
        .sources
        .iter()
        .map(|source| match source {
            FileSource::Path { pattern, .. } => pattern.clone(),
            FileSource::Inline { name, content } => format!("<<{name} {content}"),
            FileSource::Http(source) => format!("{} as {}", source.url, source.name),
            FileSource::Git(source) => format!(
                "{} {} [{}] {:?} {}",
                source.remote,
                source.reference,
                source.subdir,
                source.keep_git_dir,
                source.submodules
            ),
        })
        .collect();
    assert_eq!(found, sources, "{line}");
    let slash = if files.dest_is_dir && files.dest != "/" {
        "/"
    } else {
        ""
    };
    assert_eq!(format!("{}{slash}", files.dest), dest, "{line}");
}

#[test]
fn c25_c27_c28_sources_and_destinations() {
    check("COPY a /b", &["/a"], "/b");
    check("COPY a b c/", &["/a", "/b"], "/c/");
    check("COPY ../../a/. /b/.", &["/a"], "/b/");
    check("COPY a/ .", &["/a"], "/");
    check("COPY a $E", &["/a"], "/");
    check("COPY . ..", &["/"], "/");
    check("COPY a\\*b /x", &["/a*b"], "/x");
    check("COPY [\"a b\", \"/c d/\"]", &["/a b"], "/c d/");
    check("COPY '$D' /x", &["/$D"], "/x");
}

#[test]
fn destinations_are_relative_to_the_workdir() {
    let dest = |dest: &str| {
        let case = case(&format!("F\nWORKDIR /w\nCOPY a {dest}"));
        let files = case.only_files();
        (files.dest, files.dest_is_dir)
    };
    assert_eq!(dest("x"), ("/w/x".into(), false));
    assert_eq!(dest("."), ("/w".into(), true));
    assert_eq!(dest("$E"), ("/w".into(), true));
    assert_eq!(dest("../y/"), ("/y".into(), true));
    assert_eq!(dest("/"), ("/".into(), true));
}

#[test]
fn patterns_are_marked() {
    for (source, expected) in [
        ("a", false),
        ("a*", true),
        ("a?", true),
        ("arr[[]0].txt", true),
    ] {
        let files = files(&format!("COPY {source} /"));
        let [FileSource::Path { wildcard, from, .. }] = &files.sources[..] else {
            panic!("{files:?}");
        };
        assert_eq!(*wildcard, expected, "{source}");
        assert_eq!(*from, Tree::Context(ContextName::default()));
    }
}

#[test]
fn a_blank_in_a_variable_splits_nothing() {
    let case = case("F\nENV D='a b'\nCOPY $D /x");
    assert_eq!(case.only_files().sources.len(), 1);
    case.check_history(&["-ENV D=a b", "+COPY a b /x # buildkit"]);
}

#[test]
fn k7_history_leaves_flags_out() {
    let text = "F\nCOPY --link --parents --chown=1 --chmod=0644 --exclude=z a b /d/";
    case(text).check_history(&["+COPY --parents --chown=1 --chmod=0644 a b /d/ # buildkit"]);
    let files = case(text).only_files();
    assert!(files.parents);
    assert_eq!(files.exclude, ["z"]);
    assert_eq!(files.chmod, Some(Chmod::Octal(0o644)));
    assert_eq!(files.chown.as_deref(), Some("1"));
}

#[test]
fn c29_to_c31_modes() {
    for mode in ["64a", "8", "10000", "0o755"] {
        case(&format!("F\nCOPY --chmod={mode} a b")).check_error(
            &format!(
                "invalid chmod parameter: '{mode}'. it should be octal string and between 0 and \
                 07777"
            ),
            mode,
        );
    }
    let symbolic = files("COPY --chmod=u=rwX,go=rX a b").chmod;
    assert_eq!(symbolic, Some(Chmod::Symbolic("u=rwX,go=rX".into())));
    case("F\nCOPY --chmod=zz a b")
        .check_error("invalid chmod parameter: 'zz'. invalid syntax", "zz");
    assert!(!files("COPY --link --chmod=755 a b").link);
    assert!(files("COPY --link a b").link);
    assert_eq!(files("COPY --chmod=$E --chown=$E a b").chmod, None);
}

#[test]
fn owners() {
    assert_eq!(files("COPY --chown=:5 a b").chown.as_deref(), Some(":5"));
    assert_eq!(files("COPY --chown=$E a b").chown, None);
    assert_eq!(
        files("COPY --link --chown=root:0 a b").chown.as_deref(),
        Some("root:0")
    );
    case("F\nCOPY --link --chown=app a b")
        .check_error("--chown=app with --link needs numeric IDs", "app");
}

#[test]
fn c33_to_c39_remote_sources() {
    for (line, message, place) in [
        (
            "COPY https://x.y/z /a",
            "source can't be a URL for COPY",
            "https://x.y/z",
        ),
        (
            "COPY git@x.y:a/b /a",
            "source can't be a git ref for COPY",
            "git@x.y:a/b",
        ),
        (
            "ADD --keep-git-dir=false https://x.y/z.git?keep-git-dir=true /a",
            "inconsistent keep-git-dir configuration",
            "https://x.y/z.git?keep-git-dir=true",
        ),
        (
            "ADD --checksum=abce https://x.y/z.git?checksum=abcd /a",
            "checksum mismatch \"abcd\" != \"abce\"",
            "https://x.y/z.git?checksum=abcd",
        ),
        (
            "ADD https://x.y/z.git?foo=1 /a",
            "unexpected query \"foo\"",
            "https://x.y/z.git?foo=1",
        ),
        (
            "ADD --checksum=md5:00 https://x.y/z /a",
            "unsupported digest algorithm",
            "md5:00",
        ),
        (
            "ADD --checksum=sha256:00 https://x.y/z /a",
            "invalid checksum digest format",
            "sha256:00",
        ),
        (
            "ADD https://x.y/%00 /a",
            "invalid URL: its last element cannot be the name of a file",
            "https://x.y/%00",
        ),
        (
            "ADD --checksum=sha256:00 f /a",
            "checksum requires HTTP(S) or Git sources",
            "sha256:00",
        ),
        (
            "ADD --checksum=sha256:00 f g /a",
            "checksum can't be specified for multiple sources",
            "sha256:00",
        ),
    ] {
        case(&format!("F\n{line}")).check_error(message, place);
    }
    check(
        "ADD https://x.y http://u:p@x.y/d/z?q /a/",
        &["https://x.y as __unnamed__", "http://x.y/d/z?q as z"],
        "/a/",
    );
    check(
        "ADD https://x.y/z.git?tag=v1&subdir=s&submodules=false&keep-git-dir git@h:r.git#m /a",
        &[
            "https://x.y/z.git refs/tags/v1 [s] Some(true) false",
            "git@h:r.git m [] None true",
        ],
        "/a",
    );
    check(
        "ADD HTTPS://x.y/z ftp://x/y github.com/a/b /a",
        &["/HTTPS:/x.y/z", "/ftp:/x/y", "/github.com/a/b"],
        "/a",
    );
}

#[test]
fn a15_a30_quotes_that_do_not_end() {
    let message = |word: &str| {
        format!(
            "failed to process {word}: unexpected end of statement while looking for matching \
             double-quote"
        )
    };
    case("F\nLABEL a=\"b c\nRUN x").check_error(&message(r#""\"b c""#), "\"b c");
    let found = case("F\nCOPY \"a b\" /x").run().unwrap_err();
    assert_eq!(found[0].message, message(r#""\"a""#));
}

#[test]
fn h7_of_two_heredocs_with_one_name_the_last_counts() {
    check(
        "COPY <<A <<A /d/\n1\nA\n2\nA",
        &["<<A 2\n", "<<A 2\n"],
        "/d/",
    );
}

#[test]
fn c40_parents_keep_their_marker() {
    check("COPY --parents ./x/./y/*.txt /p/", &["/x/./y/*.txt"], "/p/");
}

#[test]
fn unpacking() {
    assert_eq!(files("COPY a.tar /").unpack, Unpack::Never);
    assert_eq!(files("ADD a.tar /").unpack, Unpack::Local);
    assert_eq!(files("ADD --unpack=false a.tar /").unpack, Unpack::Never);
    assert_eq!(files("ADD --unpack a.tar /").unpack, Unpack::Always);
    case("F\nADD --unpack --chown=1 a /b").check_history(&["+ADD --chown=1 a /b # buildkit"]);
}

#[test]
fn heredoc_files() {
    let text = "COPY <<A x <<B /d/\n1\nA\n2\nB\n";
    check(text, &["/x", "<<A 1\n", "<<B 2\n"], "/d/");
    case(&format!("F\n{text}")).check_history(&["+COPY x <<A <<B /d/ # buildkit"]);
    check("COPY <<E'O'F /x\n$a\nEOF", &["<<EOF $a\n"], "/x");
    check("ADD <<-A /x\n\t1\n\tA", &["<<A 1\n"], "/x");
}

#[test]
fn h19_to_h21_heredoc_expansion() {
    let case_of = |body: &str| case(&format!("F\nENV D=/dd\nCOPY <<F /a\n{body}\nF"));
    let content = |body: &str| match case_of(body).only_files().sources.pop() {
        Some(FileSource::Inline { content, .. }) => content,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        content(r#"$D \$D "$D" '$D' \n \\"#),
        "/dd $D \"/dd\" '/dd' n \\\n"
    );
    assert_eq!(content("[$NOPE] ${NOPE:-def}"), "[] def\n");
    case_of("${NOPE:-def}").check_warnings(&["Usage of undefined variable '$NOPE'"]);
    case_of("${NOPE:?boom}").check_error(
        r#"failed to process "${NOPE:?boom}\n": NOPE: boom"#,
        "${NOPE:?boom}\n",
    );
}

#[test]
fn heredoc_names_must_be_names() {
    case("F\nCOPY <<\"../x\" /a\n../x").check_history(&["+COPY <<../x /a # buildkit"]);
    case("F\nCOPY <<\"a/b\" /a\na/b").check_error(
        "\"a/b\" cannot be the name of a file made from a heredoc",
        "COPY <<\"a/b\" /a",
    );
}

#[test]
fn h1_to_h24_run_heredocs() {
    let argv = |text: &str| case(&format!("F\n{text}")).only_run().argv[2].clone();
    assert_eq!(argv("RUN <<EOF\na\nEOF"), "a\n");
    assert_eq!(argv("RUN <<-EOF\n\techo\n\tEOF"), "echo\n");
    assert_eq!(argv("RUN <<EOF\n$a \\$b\nEOF"), "$a \\$b\n");
    assert_eq!(
        argv("RUN cat <<-F | tr a b\n\tx\nF"),
        "cat <<-F | tr a b\n\tx\nF"
    );
    assert_eq!(argv("RUN <<F bash\nx\nF"), "<<F bash\nx\nF");
    assert_eq!(
        argv("RUN cat <<A <<B\n1\nA\n2\nB"),
        "cat <<A <<B\n1\nA\n2\nB"
    );
    let case = case("F\nRUN <<F\n#!/usr/bin/env python\nprint(1)\nF");
    let run = case.only_run();
    assert_eq!(run.argv, ["/bin/sh", "-c", "/dev/pipes/F"]);
    let script = (
        "F".to_owned(),
        "#!/usr/bin/env python\nprint(1)\n".to_owned(),
    );
    assert_eq!(run.pipe_scripts, [script]);
    case.check_history(&["+RUN /bin/sh -c /dev/pipes/F # buildkit"]);
    assert_eq!(case.titles()[1], "[1/1] RUN <<F (#!/usr/bin/env python...)");
}

#[test]
fn origins_point_to_the_words() {
    let text = "FROM scratch\nCOPY --chown=1 a b <<E /d\nbody\nE\n";
    let steps = case(text).steps();
    let origin = &steps[1].origin;
    let words: Vec<_> = origin
        .arguments
        .iter()
        .map(|span| &text[span.start..span.end])
        .collect();
    assert_eq!(words, ["a", "b", "body\n", "/d"]);
    let whole = &text[origin.span.start..origin.span.end];
    assert!(
        whole.starts_with("COPY --chown") && whole.trim_end().ends_with("\nE"),
        "{whole:?}"
    );
    assert_eq!(origin.display, "COPY --chown=1 a b <<E /d");
}

#[test]
fn heredocs_alone_need_no_source_stage() {
    let text = "FROM scratch AS a\nWORKDIR /a\nFROM scratch\nCOPY --from=a <<E /d\nx\nE";
    let case = case(text);
    assert!(
        case.steps()
            .iter()
            .all(|step| !matches!(step.kind, StepKind::Workdir(_)))
    );
}

#[test]
fn passwords_of_urls_stay_inside() {
    let case = case("F\nADD http://me:hunter2@x.y/z https://hunter2@x.y/r.git /a/");
    case.check_history(&["+ADD http://xx:xxxxxxx@x.y/z https://xxxxxxx@x.y/r.git /a/ # buildkit"]);
    let plan = case.plan();
    let shown = format!("{} {} {plan:?}", plan.to_text(), plan.to_json());
    assert!(!shown.contains("hunter2"), "{shown}");
}
