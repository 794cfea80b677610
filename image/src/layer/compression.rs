//! Compressing layers, always to the same bytes, and decompressing what others have compressed.

use std::io::{self, BufReader, Cursor, Read, Write};

use crate::error::ImageError;
use crate::media::{Encoding, Format, layer_encoding};

use super::gzip;

/// The largest window of a zstd stream, as a power of two: 128 MiB, what zstd itself allows without
/// being told.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Memory that an xz stream may ask for, in bytes; `xz -9` makes 65 MiB.
const XZ_MEMORY: u64 = 128 << 20;

/// Each of zstd's threads holds some 10 MB.
const MAX_ZSTD_THREADS: u32 = 4;

const BUFFER: usize = 128 * 1024;

/// How a layer blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, in members of 1 MiB each. Every program reads it.
    Gzip,
    /// zstd: smaller and faster; old programs do not read it.
    Zstd,
}

impl Compression {
    /// Returns how streams of this compression look.
    #[must_use]
    pub fn encoding(self) -> Encoding {
        match self {
            Self::None => Encoding::Plain,
            Self::Gzip => Encoding::Gzip,
            Self::Zstd => Encoding::Zstd,
        }
    }

    /// Returns the compression of a layer that looks like `encoding`; layers have only these.
    #[must_use]
    pub fn from_encoding(encoding: Encoding) -> Option<Self> {
        match encoding {
            Encoding::Plain => Some(Self::None),
            Encoding::Gzip => Some(Self::Gzip),
            Encoding::Zstd => Some(Self::Zstd),
            Encoding::Xz | Encoding::Bzip2 => None,
        }
    }

    /// Returns the compression that a layer's media type names.
    #[must_use]
    pub fn of_layer(media_type: &str) -> Option<Self> {
        layer_encoding(media_type).and_then(Self::from_encoding)
    }

    /// Returns the name: `none`, `gzip`, `zstd`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Returns the compression with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Zstd]
            .into_iter()
            .find(|compression| compression.name() == name)
    }

    /// Returns the media type of a layer so compressed.
    #[must_use]
    pub fn media_type(self, format: Format) -> &'static str {
        // Every compression here is one that layers may have.
        format.layer(self.encoding()).unwrap_or_default()
    }
}

/// A compression and how hard it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method {
    /// The compression.
    pub compression: Compression,
    level: Option<i32>,
}

impl Method {
    /// Returns the compression at a level, or at the nearest that it has: gzip has 0 to 9, zstd 0 to
    /// 22. A negative one means the default, of which it makes no difference that it was named.
    #[must_use]
    pub fn at_level(compression: Compression, level: i64) -> Self {
        let highest = match compression {
            Compression::None => return compression.into(),
            Compression::Gzip => 9,
            Compression::Zstd => 22,
        };
        let level = i32::try_from(level.min(highest)).ok();
        let level = level.filter(|level| *level >= 0);
        Self { compression, level }
    }

    /// Returns the level that was asked for.
    #[must_use]
    pub fn level(self) -> Option<i32> {
        self.level
    }

    /// Returns the level that is used; nothing where there are none.
    #[must_use]
    pub(super) fn used_level(self) -> Option<i32> {
        match self.compression {
            Compression::None => None,
            Compression::Gzip => Some(self.level.unwrap_or(gzip::DEFAULT_LEVEL)),
            Compression::Zstd => Some(self.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)),
        }
    }
}

impl From<Compression> for Method {
    fn from(compression: Compression) -> Self {
        Self {
            compression,
            level: None,
        }
    }
}

/// Finds out what `input` is compressed with and returns that and the decompressed bytes.
///
/// Several gzip members, zstd frames, xz or bzip2 streams in a row are one. Memory is bounded: 128
/// MiB for the window of a zstd or the dictionary of an xz stream, and with `limit_bytes` reading
/// fails after so many decompressed bytes. Damage, an early end and rubbish at the end show as
/// errors of the reader; it reads `input` to its end.
///
/// # Errors
/// [`ImageError::Io`] if the beginning of `input` cannot be read, or a decoder cannot be made.
pub fn decompress<'a>(
    mut input: Box<dyn Read + Send + 'a>,
    limit_bytes: Option<u64>,
) -> Result<(Encoding, Box<dyn Read + Send + 'a>), ImageError> {
    let mut start = Vec::with_capacity(Encoding::SNIFF_BYTES);
    input
        .by_ref()
        .take(Encoding::SNIFF_BYTES as u64)
        .read_to_end(&mut start)
        .map_err(ImageError::io("read compressed data"))?;
    let encoding = Encoding::sniff(&start);
    let input = BufReader::with_capacity(BUFFER, Cursor::new(start).chain(input));
    let decoder: Box<dyn Read + Send + 'a> = match encoding {
        Encoding::Plain => Box::new(input),
        Encoding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)
                .map_err(ImageError::io("start zstd"))?;
            decoder
                .window_log_max(ZSTD_WINDOW_LOG)
                .map_err(ImageError::io("start zstd"))?;
            Box::new(decoder)
        }
        Encoding::Xz => {
            let flags = liblzma::stream::CONCATENATED;
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)
                .map_err(|error| ImageError::io("start xz")(error.into()))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Encoding::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
    };
    Ok((encoding, limited(decoder, limit_bytes)))
}

fn limited<'a>(
    reader: Box<dyn Read + Send + 'a>,
    limit_bytes: Option<u64>,
) -> Box<dyn Read + Send + 'a> {
    match limit_bytes {
        None => reader,
        Some(limit_bytes) => Box::new(Limited {
            reader,
            left: limit_bytes,
            limit_bytes,
        }),
    }
}

/// Fails instead of reading more than it may.
struct Limited<'a> {
    reader: Box<dyn Read + Send + 'a>,
    left: u64,
    limit_bytes: u64,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.reader.read(buffer)?;
        match self.left.checked_sub(n_bytes as u64) {
            Some(left) => self.left = left,
            None => {
                return Err(io::Error::other(ImageError::TooLarge {
                    what: "the decompressed archive".to_owned(),
                    limit_bytes: self.limit_bytes,
                }));
            }
        }
        Ok(n_bytes)
    }
}

/// Compresses to `out` what `produce` writes. The bytes that come out do not depend on how it is
/// written, nor on `n_threads`, the number of threads besides this one.
///
/// # Errors
/// What `produce` returns; errors of `out` reach it through its writer, or come as
/// [`ImageError::Io`].
pub fn compress<T, E: From<ImageError>>(
    out: &mut dyn Write,
    method: impl Into<Method>,
    n_threads: usize,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let method = method.into();
    match (method.compression, method.used_level()) {
        (Compression::Gzip, Some(level)) => gzip::compress(out, level, n_threads, produce),
        (Compression::Zstd, Some(level)) => compress_zstd(out, level, n_threads, produce),
        _ => produce(out),
    }
}

fn compress_zstd<T, E: From<ImageError>>(
    out: &mut dyn Write,
    level: i32,
    n_threads: usize,
    produce: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    // Without a thread of its own zstd cuts its blocks otherwise, so it always has one.
    let n_threads = u32::try_from(n_threads)
        .unwrap_or(MAX_ZSTD_THREADS)
        .clamp(1, MAX_ZSTD_THREADS);
    let start = || {
        let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
        encoder.include_checksum(true)?;
        encoder.multithread(n_threads)?;
        Ok(encoder)
    };
    let mut encoder = start().map_err(ImageError::io("start zstd"))?;
    let value = produce(&mut encoder)?;
    encoder
        .finish()
        .map_err(ImageError::io("write a compressed layer"))?;
    Ok(value)
}
