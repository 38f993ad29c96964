// SPDX-License-Identifier: MIT
//
// library.js - the door to the library: the functions of explorer.h, called in WebAssembly. Numbers are read where the
// library keeps them; nothing is computed here.

const LOSSES = ['sum', 'square', 'next'];
const REASONS = ['', 'masked', 'oneKey', 'dropped', 'noTarget', 'lastKey'];
const CHALLENGES = ['zero', 'copy', 'vanish'];

let wasm; // the exported functions
const entryNames = [];

// The module's imports: no environment, no files, no output.
function wasiStubs() {
    const done = () => 0;
    const memory = () => new DataView(wasm.memory.buffer);
    return {
        environ_get: done,
        environ_sizes_get: (count, size) => {
            memory().setUint32(count, 0, true);
            memory().setUint32(size, 0, true);
            return 0;
        },
        fd_close: done,
        fd_seek: done,
        fd_write: done,
        proc_exit: () => { throw new Error('the library ended'); },
    };
}

async function loadLibrary(base64) {
    const packed = Uint8Array.from(atob(base64), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
    const bytes = await new Response(stream).arrayBuffer();
    const { instance } = await WebAssembly.instantiate(bytes, { wasi_snapshot_preview1: wasiStubs() });
    wasm = instance.exports;
    wasm._initialize();
    for (let at; (at = wasm.explorer_name(entryNames.length)) !== 0;) entryNames.push(textAt(at));
}

function textAt(address) {
    const bytes = new Uint8Array(wasm.memory.buffer);
    return new TextDecoder().decode(bytes.subarray(address, bytes.indexOf(0, address)));
}

let textBuffer = 0;
function withText(text) {
    const bytes = new TextEncoder().encode(text + '\0');
    wasm.free(textBuffer);
    textBuffer = wasm.malloc(bytes.length);
    new Uint8Array(wasm.memory.buffer).set(bytes, textBuffer);
    return textBuffer;
}

// One model: a sentence, its parameters, and every matrix. A cell is { entry, index } with the entry's name.
class Model {
    constructor(text, heads, size, loss, seed) {
        this.words = text.trim().split(/\s+/).slice(0, 12);
        this.at = wasm.explorer_new(withText(this.words.join(' ')), heads, size, LOSSES.indexOf(loss), seed);
        if (this.at === 0) throw new RangeError('words');
        this.heads = heads;
        this.loss = loss;
        this.count = wasm.malloc(4);
        this.vocabulary = [];
        this.words.forEach((word, i) => { this.vocabulary[wasm.explorer_word(this.at, i)] = word; });
    }

    free() {
        wasm.free(this.count);
        wasm.explorer_free(this.at);
    }

    set(options) {
        this.options = options;
        return wasm.explorer_set(this.at, options.scale, options.causal, options.residual, options.temperature,
            options.dropout);
    }

    // { heads, rows, cols, values }; null when the model has no such matrix.
    matrix(name) {
        const entry = entryNames.indexOf(name), rows = wasm.explorer_rows(this.at, entry);
        if (rows === 0) return null;
        const heads = wasm.explorer_heads(this.at, entry), cols = wasm.explorer_cols(this.at, entry);
        const values = new Float64Array(wasm.memory.buffer, wasm.explorer_values(this.at, entry), heads * rows * cols);
        return { heads, rows, cols, values };
    }

    value(cell) {
        return this.matrix(cell.entry).values[cell.index];
    }

    get lossValue() {
        return this.matrix('L').values[0];
    }

    given(name) {
        return wasm.explorer_given(entryNames.indexOf(name)) !== 0;
    }

    terms(cell) {
        const from = wasm.explorer_terms(this.at, entryNames.indexOf(cell.entry), cell.index, this.count);
        const view = new DataView(wasm.memory.buffer);
        const factor = at => {
            const entry = view.getInt32(at, true);
            return entry < 0 ? null : { entry: entryNames[entry], index: view.getInt32(at + 4, true) };
        };
        return Array.from({ length: view.getInt32(this.count, true) }, (_, i) => {
            const at = from + 40 * i;
            return {
                op: String.fromCharCode(view.getInt32(at, true)),
                a: factor(at + 4),
                b: factor(at + 12),
                coef: view.getFloat64(at + 24, true),
                value: view.getFloat64(at + 32, true),
            };
        });
    }

    uses(cell) {
        const from = wasm.explorer_uses(this.at, entryNames.indexOf(cell.entry), cell.index, this.count);
        const count = new DataView(wasm.memory.buffer).getInt32(this.count, true);
        const pairs = new Int32Array(wasm.memory.buffer, from, 2 * count);
        return Array.from({ length: count }, (_, i) => ({ entry: entryNames[pairs[2 * i]], index: pairs[2 * i + 1] }));
    }

    zeroReason(cell) {
        return REASONS[wasm.explorer_zero(this.at, entryNames.indexOf(cell.entry), cell.index)];
    }

    // NaN: the matrix has no gradient.
    slope(cell) {
        return wasm.explorer_slope(this.at, entryNames.indexOf(cell.entry), cell.index);
    }

    // The change of the loss when `step` is added to the cell.
    poke(cell, step) {
        return wasm.explorer_poke(this.at, entryNames.indexOf(cell.entry), cell.index, step) - this.lossValue;
    }

    change(cell, value) {
        return wasm.explorer_change(this.at, entryNames.indexOf(cell.entry), cell.index, value);
    }

    train(rate) {
        return wasm.explorer_train(this.at, rate, true);
    }

    // { scores, weights, gradients } of random queries and keys of size d.
    spread(d, scaled) {
        const from = wasm.explorer_spread(this.at, d, scaled); // first: the memory may grow, and the buffer then is new
        const all = new Float64Array(wasm.memory.buffer, from, 3 * 144);
        return { scores: all.slice(0, 144), weights: all.slice(144, 288), gradients: all.slice(288) };
    }

    judge(challenge, cell, reason) {
        const entry = cell === null ? 0 : entryNames.indexOf(cell.entry);
        return wasm.explorer_judge(this.at, CHALLENGES.indexOf(challenge), entry, cell === null ? 0 : cell.index,
            REASONS.indexOf(reason)) !== 0;
    }
}
