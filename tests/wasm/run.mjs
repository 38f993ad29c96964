// SPDX-License-Identifier: MIT
//
// run.mjs PROGRAM SUITE... - runs the test program for WebAssembly in Node, with the tree as its only folder.
import { readFileSync } from 'node:fs';
import { WASI } from 'node:wasi';

const [program, ...suites] = process.argv.slice(2);
const wasi = new WASI({
    version: 'preview1',
    args: [program, ...suites],
    env: { TMPDIR: 'build' },
    preopens: { '.': '.' },
});
const { instance } = await WebAssembly.instantiate(readFileSync(program), wasi.getImportObject());
process.exit(wasi.start(instance));
