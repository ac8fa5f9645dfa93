// ZIP archives to read.
import { deflateRawSync } from 'node:zlib';

/** A ZIP archive of files, deflated or stored. */
export function zip(files, method = 8) {
  const [parts, directory] = [[], []];
  let offset = 0;
  for (const [name, text] of Object.entries(files)) {
    const [path, data] = [Buffer.from(name), method === 8 ? deflateRawSync(text) : Buffer.from(text)];
    const sizes = [method, 0, 0, 0, data.length, Buffer.byteLength(text)];
    const header = (signature, version, rest) => {
      const bytes = Buffer.alloc(rest);
      bytes.writeUInt32LE(signature);
      const at = 4 + version;
      bytes.writeUInt16LE(sizes[0], at + 4);
      bytes.writeUInt32LE(sizes[4], at + 14);
      bytes.writeUInt32LE(sizes[5], at + 18);
      bytes.writeUInt16LE(path.length, at + 22);
      return bytes;
    };
    const central = header(0x02014b50, 2, 46);
    central.writeUInt32LE(offset, 42);
    directory.push(central, path);
    const local = Buffer.concat([header(0x04034b50, 0, 30), path, data]);
    parts.push(local);
    offset += local.length;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(Object.keys(files).length, 10);
  end.writeUInt32LE(central.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, central, end]);
}
