//! SPDY/3.1 from the side that opens streams, as much of it as remote commands need: kubelets and container runtimes speak it, and
//! their peers of the WebSocket kind are translated to it. Upstream: moby/spdystream, which knows no flow control either.
//!
//! Header blocks are sent in deflate's stored form and those of answers are skipped: no compression dictionary is needed.

use bytes::{BufMut as _, Bytes, BytesMut};
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _};

const FIN: u8 = 1;
const SYN_STREAM: u16 = 1;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
/// Data frames that are sent hold at most this much.
const CHUNK: usize = 64 << 10;

/// Composes frames; the header blocks of one connection are one zlib stream.
#[derive(Default)]
pub struct Composer {
    begun: bool,
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(0x8000 | 3);
    out.put_u16(kind);
    out.put_u8(flags);
    out.put_uint(length as u64, 3);
}

impl Composer {
    /// Opens a stream. Ids are odd and grow.
    pub fn open(&mut self, stream: u32, headers: &[(&str, &str)]) -> Bytes {
        let mut plain = BytesMut::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(k, v)| [*k, *v]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut block = BytesMut::new();
        if !self.begun {
            self.begun = true;
            block.put_slice(&[0x78, 0x01]);
        }
        // One stored block, and an empty one that makes readers hand out what they have.
        for part in [&plain[..], &[]] {
            block.put_u8(0);
            block.put_u16_le(part.len() as u16);
            block.put_u16_le(!(part.len() as u16));
            block.put_slice(part);
        }
        let mut out = BytesMut::new();
        control(&mut out, SYN_STREAM, 0, 10 + block.len());
        out.put_u32(stream);
        out.put_u32(0);
        out.put_u16(0);
        out.put_slice(&block);
        out.freeze()
    }
}

/// Content of a stream, in as many frames as it takes.
pub fn data(stream: u32, content: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(content.len() + 8);
    for piece in content.chunks(CHUNK) {
        out.put_u32(stream);
        out.put_u8(0);
        out.put_uint(piece.len() as u64, 3);
        out.put_slice(piece);
    }
    out.freeze()
}

/// Nothing more will be sent on a stream.
pub fn end(stream: u32) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u32(stream);
    out.put_u8(FIN);
    out.put_uint(0, 3);
    out.freeze()
}

/// What the other side says.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Data {
        stream: u32,
        content: Bytes,
        fin: bool,
    },
    /// The other side has ended a stream in both directions.
    Reset {
        stream: u32,
    },
    /// To be sent back as it is.
    Ping(Bytes),
    GoAway,
    /// Of no interest to who only opens streams.
    Other,
}

/// The next frame; `None` at the end of the connection.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Option<Frame>> {
    let mut head = [0; 8];
    match from.read_exact(&mut head).await {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(e) => return Err(e),
    }
    let [a, b, c, d, flags, x, y, z] = head;
    let length = usize::from(x) << 16 | usize::from(y) << 8 | usize::from(z);
    let mut payload = BytesMut::zeroed(length);
    from.read_exact(&mut payload).await?;
    let payload = payload.freeze();
    if a & 0x80 == 0 {
        return Ok(Some(Frame::Data { stream: u32::from_be_bytes([a, b, c, d]), content: payload, fin: flags & FIN != 0 }));
    }
    let id = || match payload.first_chunk::<4>() {
        Some(id) => Ok(u32::from_be_bytes(*id) & 0x7fff_ffff),
        None => Err(Error::new(ErrorKind::InvalidData, "a SPDY frame that is too short")),
    };
    Ok(Some(match u16::from_be_bytes([c, d]) {
        RST_STREAM => Frame::Reset { stream: id()? },
        // Those with odd ids answer our own, of which there are none.
        PING if id()? % 2 == 0 => Frame::Ping(Bytes::from([&head[..], &payload[..]].concat())),
        GOAWAY => Frame::GoAway,
        // Fin may come with the answer to an opening.
        2 if flags & FIN != 0 => Frame::Data { stream: id()?, content: Bytes::new(), fin: true },
        _ => Frame::Other,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn header_blocks_are_one_zlib_stream() {
        let mut composer = Composer::default();
        let (a, b) = (composer.open(1, &[("streamtype", "error")]), composer.open(3, &[("streamtype", "stdin")]));
        for (frame, id) in [(&a, 1), (&b, 3)] {
            assert_eq!(frame[..5], [0x80, 3, 0, 1, 0]);
            assert_eq!(usize::from(frame[7]), frame.len() - 8);
            assert_eq!(frame[11], id);
        }
        let blocks = [&a[18..], &b[18..]].concat();
        let mut plain = vec![0; 2 * (4 + 4 + 10 + 4 + 5)];
        flate2::read::ZlibDecoder::new(&blocks[..]).read_exact(&mut plain).unwrap();
        let one = |v: &str| [b"\0\0\0\x01\0\0\0\x0astreamtype\0\0\0\x05", v.as_bytes()].concat();
        assert_eq!(plain, [one("error"), one("stdin")].concat());
    }

    #[tokio::test]
    async fn frames_are_read_as_they_are_written() {
        let long = vec![7; CHUNK + 1];
        let ping = [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2];
        let stream = [&data(5, &long)[..], &end(5), &ping, &[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 5]].concat();
        let mut from = &stream[..];
        let mut got = Vec::new();
        while let Some(f) = read(&mut from).await.unwrap() {
            got.push(f);
        }
        let content = |c: &[u8], fin| Frame::Data { stream: 5, content: Bytes::copy_from_slice(c), fin };
        let ping = Frame::Ping(Bytes::copy_from_slice(&ping));
        assert_eq!(got, [content(&long[1..], false), content(&[7], false), content(&[], true), ping, Frame::Reset { stream: 9 }]);
        assert!(read(&mut &[0, 0, 0, 1, 0, 0, 0, 9, 1][..]).await.is_err(), "cut off");
    }
}
