//! Compression: the same bytes always, and no damage or bomb gets through.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{self, Read as _, Write};
use std::process::{Command, Stdio};

use rbuild_image::error::ImageError;
use rbuild_image::layer::{Compression, Method, compress, decompress};
use rbuild_image::media::Encoding;

/// Bytes that compress somewhat, a little more than two members of them.
fn sample() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 26
    };
    (0..2_200_000)
        .map(|_| b"etaoinshrdlu\n"[next() as usize % 13])
        .collect()
}

fn compressed(data: &[u8], method: impl Into<Method>, n_threads: usize, piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    compress::<_, ImageError>(&mut out, method, n_threads, |sink| {
        for piece in data.chunks(piece) {
            sink.write_all(piece).map_err(ImageError::io("test"))?;
        }
        Ok(())
    })
    .unwrap();
    out
}

fn decompressed(data: &[u8]) -> Result<(Encoding, Vec<u8>), ImageError> {
    let (encoding, mut reader) = decompress(Box::new(data), None)?;
    let mut out = Vec::new();
    reader
        .read_to_end(&mut out)
        .map_err(ImageError::io("test"))?;
    Ok((encoding, out))
}

#[test]
fn threads_and_pieces_make_no_difference() {
    let data = sample();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let first = compressed(&data, compression, 1, data.len());
        for (n_threads, piece) in [(0, 1 << 20), (2, 100_003), (7, 4096), (100, 1 << 21)] {
            assert!(
                compressed(&data, compression, n_threads, piece) == first,
                "{compression:?}"
            );
        }
        let (encoding, back) = decompressed(&first).unwrap();
        assert_eq!(encoding, compression.encoding());
        assert!(back == data);
        let empty = compressed(b"", compression, 2, 1);
        assert_eq!(decompressed(&empty).unwrap().1, b"");
    }
}

#[test]
fn levels() {
    // Words: of single letters at random no level makes much.
    let letters = sample();
    let words: Vec<&[u8]> = letters.chunks(7).take(50).collect();
    let data: Vec<u8> = letters[..300_000]
        .chunks(2)
        .map(|pair| words[usize::from(pair[0].wrapping_mul(7) ^ pair[1]) % words.len()])
        .collect::<Vec<_>>()
        .concat();
    for (compression, levels, default) in [
        (Compression::Gzip, [1, 9], 6),
        (Compression::Zstd, [1, 12], 3),
    ] {
        let at = |level| Method::at_level(compression, level);
        let sizes = levels.map(|level| {
            let packed = compressed(&data, at(level), 1, data.len());
            assert!(compressed(&data, at(level), 5, 100_003) == packed);
            assert!(decompressed(&packed).unwrap().1 == data);
            packed.len()
        });
        assert!(sizes[0] > sizes[1], "{sizes:?}");
        let usual = compressed(&data, compression, 2, 4096);
        for level in [default, -1, i64::MIN] {
            assert!(compressed(&data, at(level), 2, 4096) == usual, "{level}");
        }
        assert_eq!(at(-1), compression.into());
        assert_eq!(at(i64::MAX), at(22));
    }
    assert_eq!(
        Method::at_level(Compression::None, 9),
        Compression::None.into()
    );
}

#[test]
fn gzip_members_are_of_one_mebibyte() {
    let data = sample();
    let whole = compressed(&data, Compression::Gzip, 2, 10_000);
    let parts = data
        .chunks(1 << 20)
        .map(|chunk| compressed(chunk, Compression::Gzip, 1, 10_000));
    assert!(whole == parts.collect::<Vec<_>>().concat());
    assert!(compressed(b"", Compression::Gzip, 1, 1).len() >= 20);
}

#[test]
fn an_error_of_the_output_ends_it() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("disk full"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let data = vec![7; 40 << 20];
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let result = compress::<_, ImageError>(&mut Broken, compression, 3, |sink| {
            sink.write_all(&data).map_err(ImageError::io("test"))
        });
        result.unwrap_err();
        let result = compress(&mut io::sink(), compression, 3, |_| {
            Err::<(), _>(ImageError::BadDigest {
                text: "mine".to_owned(),
            })
        });
        assert!(matches!(result, Err(ImageError::BadDigest { .. })));
    }
}

/// Runs a program over `input`, or nothing if there is no such program.
fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program}");
    Some(output.stdout)
}

#[test]
fn other_programs_agree() {
    let data = sample();
    let gzip = compressed(&data, Compression::Gzip, 2, 1 << 20);
    let zstd = compressed(&data, Compression::Zstd, 2, 1 << 20);
    for (program, arguments, packed) in [
        ("gzip", &["-dc"][..], &gzip),
        (
            "python3",
            &[
                "-c",
                "import gzip,sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))",
            ],
            &gzip,
        ),
        ("zstd", &["-dc"], &zstd),
    ] {
        if let Some(back) = filter(program, arguments, packed) {
            assert!(back == data, "{program}");
        }
    }
    for (program, encoding) in [
        ("gzip", Encoding::Gzip),
        ("bzip2", Encoding::Bzip2),
        ("xz", Encoding::Xz),
        ("zstd", Encoding::Zstd),
    ] {
        let Some(one) = filter(program, &["-c"], &data) else {
            continue;
        };
        assert!(
            decompressed(&one).unwrap() == (encoding, data.clone()),
            "{program}"
        );
        // Several streams in a row are one.
        let twice = [one.as_slice(), &one].concat();
        assert!(
            decompressed(&twice).unwrap().1 == data.repeat(2),
            "{program}"
        );
        // What is cut, flipped or continued with rubbish is refused.
        decompressed(&one[..one.len() / 2]).unwrap_err();
        decompressed(&one[..one.len() - 1]).unwrap_err();
        let mut flipped = one.clone();
        flipped[one.len() / 2] ^= 0x10;
        decompressed(&flipped).unwrap_err();
        let rubbish = [one.as_slice(), b"rubbish behind it"].concat();
        decompressed(&rubbish).unwrap_err();
    }
}

#[test]
fn a_limit_holds() {
    let data = vec![0; 5 << 20];
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed = compressed(&data, compression, 2, 1 << 20);
        let read = |limit| {
            let (_, mut reader) = decompress(Box::new(packed.as_slice()), Some(limit)).unwrap();
            io::copy(&mut reader, &mut io::sink())
        };
        assert_eq!(read(5 << 20).unwrap(), 5 << 20);
        let error = read((5 << 20) - 1).unwrap_err();
        assert!(
            error.to_string().contains("is larger than 5242879 bytes"),
            "{error}"
        );
    }
}

#[test]
fn windows_are_bounded() {
    // A zstd frame that declares a window of 2 GiB, and an xz stream with a 4 GiB dictionary.
    let mut out = Vec::new();
    let mut encoder = zstd::stream::write::Encoder::new(&mut out, 1).unwrap();
    encoder.window_log(31).unwrap();
    encoder.write_all(&[7; 1000]).unwrap();
    encoder.finish().unwrap();
    decompressed(&out).unwrap_err();
    let mut filters = liblzma::stream::Filters::new();
    let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
    options.dict_size(1 << 30);
    filters.lzma2(&options);
    let mut packed = Vec::new();
    let stream =
        liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32);
    if let Ok(stream) = stream {
        let mut encoder = liblzma::write::XzEncoder::new_stream(&mut packed, stream);
        encoder.write_all(b"x").unwrap();
        encoder.finish().unwrap();
        decompressed(&packed).unwrap_err();
    }
}

#[test]
fn plain_bytes_stay_plain() {
    for data in [
        &b""[..],
        b"x",
        b"hello world, this is longer than any magic",
    ] {
        assert_eq!(
            decompressed(data).unwrap(),
            (Encoding::Plain, data.to_vec())
        );
    }
}

#[test]
fn names() {
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        assert_eq!(
            Compression::from_name(compression.name()),
            Some(compression)
        );
        assert_eq!(
            Compression::from_encoding(compression.encoding()),
            Some(compression)
        );
        assert!(
            !compression
                .media_type(rbuild_image::media::Format::Oci)
                .is_empty()
        );
    }
    assert_eq!(Compression::from_name("xz"), None);
}
