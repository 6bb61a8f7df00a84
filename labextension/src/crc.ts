/** zlib.crc32 of a text's UTF-8 bytes, lone surrogates passed through as Python's "surrogatepass" does. */

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return value;
});

export function crc32(text: string): number {
  let crc = 0xffffffff;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    crc = code < 0x80 ? step(crc, code) : utf8(code).reduce(step, crc);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

function step(crc: number, byte: number): number {
  return (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] ?? 0);
}

/** The bytes of a code point beyond ASCII. */
function utf8(code: number): number[] {
  if (code < 0x800) {
    return [0xc0 | (code >> 6), tail(code)];
  }
  if (code < 0x10000) {
    return [0xe0 | (code >> 12), tail(code >> 6), tail(code)];
  }
  return [0xf0 | (code >> 18), tail(code >> 12), tail(code >> 6), tail(code)];
}

function tail(code: number): number {
  return 0x80 | (code & 0x3f);
}
