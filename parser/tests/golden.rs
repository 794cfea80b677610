//! Whole files and their dumps. `SNAPSHOTS=overwrite cargo test` writes new ones.
#![expect(
    clippy::disallowed_methods,
    reason = "snapbox's macro looks for its own file"
)]

use rbuild_parser::{dump::dump, parse};
use snapbox::{IntoData as _, assert_data_eq, str};

fn tree(source: &str) -> String {
    dump(&parse(source.as_bytes()))
}

#[test]
fn stages_and_comments() {
    let source = "# escape=`
# the base
ARG V=1 W
FROM --platform=$P a:$V AS Base
ENV A=\"1\" `
  # not a comment of anything
  B='2 3'
LABEL old  style
FROM scratch
";
    assert_data_eq!(
        tree(source),
        str![[r#"
escape '`'
directive escape 0..10 "`"
comment 13..21 "the base"
arg 22..31 keyword=ARG
  name 26..27 "V"
  default 28..29 "1"
  name 30..31 "W"
from 32..63 keyword=FROM
  platform 48..50 "$P"
  base 51..55 "a:$V"
  as 56..58 "AS"
  name 59..63 "base"
  env 64..115 keyword=ENV
    key 68..69 "A"
    value 70..73 "\"1\""
    key 108..109 "B"
    value 110..115 "'2 3'"
  label 116..132 keyword=LABEL
    legacy
    key 122..125 "old"
    value 127..132 "style"
from 133..145 keyword=FROM
  base 138..145 "scratch"

"#]]
        .raw()
    );
}

#[test]
fn transfers_and_commands() {
    let source = "FROM scratch
COPY --from=x --chown=1:2 --exclude=*.md <<-E a /d
\tt
E
ADD --keep-git-dir --checksum=sha256:0 https://x /y
RUN --mount=type=cache,target=/c --network=none make \\
    all
RUN <<'EOF'
echo $A
EOF
SHELL [\"/bin/bash\", \"-c\"]
CMD [\"a\", \"\\u0062\"]
ENTRYPOINT run me
HEALTHCHECK --interval=1m30s --retries=2 CMD [\"x\"]
EXPOSE 80 443/tcp
VOLUME /a
ONBUILD COPY <<X /x
1
X
STOPSIGNAL SIGTERM
";
    assert_data_eq!(
        tree(source),
        str![[r#"
escape '\\'
from 0..12 keyword=FROM
  base 5..12 "scratch"
  copy 13..68 keyword=COPY
    from 25..26 "x"
    chown 35..38 "1:2"
    exclude 49..53 "*.md"
    source heredoc 0
    source 59..60 "a"
    dest 61..63 "/d"
    heredoc 64..67 "E" fd=0 expand chomp "\tt\n"
  add 69..120 keyword=ADD
    keep-git-dir true
    checksum 99..107 "sha256:0"
    source 108..117 "https://x"
    dest 118..120 "/y"
  run 121..183 keyword=RUN
    mount 133..153 "type=cache,target=/c"
    network 164..168 "none"
    shell 169..183 "make     all"
  run 184..207 keyword=RUN
    shell 188..195 "<<'EOF'"
    heredoc-only
    heredoc 196..204 "EOF" fd=0 "echo $A\n"
  shell 208..233 keyword=SHELL
    word 215..226 "/bin/bash"
    word 228..232 "-c"
  cmd 234..253 keyword=CMD
    exec
    word 239..242 "a"
    word 244..252 "b"
  entrypoint 254..271 keyword=ENTRYPOINT
    shell 265..271 "run me"
  healthcheck 272..322 keyword=HEALTHCHECK
    interval=90000000000 timeout=0 start-period=0 start-interval=0 retries=2
    exec
    word 318..321 "x"
  expose 323..340 keyword=EXPOSE
    word 330..332 "80"
    word 333..340 "443/tcp"
  volume 341..350 keyword=VOLUME
    word 348..350 "/a"
  onbuild 351..374 keyword=ONBUILD
    trigger 359..374 "COPY <<X /x\n1\nX"
    heredoc 371..373 "X" fd=0 expand "1\n"
  stopsignal 375..393 keyword=STOPSIGNAL
    value 386..393 "SIGTERM"

"#]]
        .raw()
    );
}

#[test]
fn findings() {
    let source = "FROM scratch as 1
NOPE
RUN a \\

  b
COPY --link --link=1 x
ENV =x y
";
    assert_data_eq!(tree(source), str![[r#"
escape '\\'
from 0..17 keyword=FROM
  base 5..12 "scratch"
  as 13..15 "as"
  name 16..17 "1"
  run 23..35 keyword=RUN
    shell 27..35 "a   b"
error 16..17 parse::stage-name: invalid name for build stage: "1", name can't start with a number or contain symbols
error 18..22 parse::unknown-instruction: unknown instruction: NOPE (did you mean COPY?)
warning 32..35 NoEmptyContinuation: Empty continuation line
error 36..58 parse::missing-destination: COPY requires at least two arguments, but only one was provided. Destination could not be determined
error 48..56 parse::duplicate-flag: duplicate flag specified: --link
error 66..67 parse::missing-equals: Syntax error - can't find = in "y". Must be of the form: name=value

"#]].raw());
}
