//! Tags, integers and byte strings as protobuf writes them.

pub(crate) const VARINT: u32 = 0;
pub(crate) const FIXED64: u32 = 1;
pub(crate) const BYTES: u32 = 2;

pub(crate) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

pub(crate) fn tag(out: &mut Vec<u8>, number: u32, wire: u32) {
    varint(out, u64::from(number << 3 | wire));
}

pub(crate) fn bytes_field(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    tag(out, number, BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn varint_field(out: &mut Vec<u8>, number: u32, n: u64) {
    tag(out, number, VARINT);
    varint(out, n);
}

pub(crate) fn double_field(out: &mut Vec<u8>, number: u32, x: f64) {
    tag(out, number, FIXED64);
    out.extend_from_slice(&x.to_le_bytes());
}
