// Last step of the build: what the browsers get is compressed once, here, and the licences of all that is in it are
// gathered in licences.txt.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const dist = join(root, 'dist');

/** Packages that come along with the ones the UI names, from the lock file. */
function bundled() {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(lock.packages)
    .filter(([path, entry]) => path.startsWith('node_modules/') && !entry.dev && !entry.devOptional && !entry.optional)
    .map(([path, entry]) => ({ path, name: path.slice(path.lastIndexOf('node_modules/') + 13), version: entry.version }))
    .sort((a, b) => a.name.localeCompare(b.name) || a.version.localeCompare(b.version));
}

function licences() {
  const parts = ['The web interface contains these packages, each under its own licence.\n'];
  for (const { path, name, version } of bundled()) {
    const folder = join(root, path);
    const facts = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    const licence = typeof facts.license === 'string' ? facts.license : facts.license?.type;
    if (!licence) throw new Error(`${name} ${version} does not say its licence`);
    const entries = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isFile());
    const texts = entries.map((entry) => entry.name).filter((file) => /^(licen[cs]e|notice|copying)/i.test(file));
    parts.push(`${'='.repeat(80)}\n${name} ${version}: ${licence}\n`);
    for (const file of texts) parts.push(`${readFileSync(join(folder, file), 'utf8').trim()}\n`);
  }
  return parts.join('\n');
}

function files(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? files(path) : [path];
  });
}

writeFileSync(join(dist, 'licences.txt'), licences());
let plain = 0;
let small = 0;
for (const file of files(dist)) {
  if (!/\.(js|css|svg|txt)$/.test(file)) continue;
  const bytes = readFileSync(file);
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  writeFileSync(`${file}.br`, brotli);
  writeFileSync(`${file}.gz`, gzipSync(bytes, { level: 9 }));
  if (file.endsWith('.js') || file.endsWith('.css')) {
    plain += bytes.length;
    small += brotli.length;
  }
}
process.stdout.write(`scripts and styles: ${Math.round(plain / 1024)} KiB, ${Math.round(small / 1024)} KiB as sent\n`);
