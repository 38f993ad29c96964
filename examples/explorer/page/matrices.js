// SPDX-License-Identifier: MIT
//
// matrices.js - the matrices as heat maps: what is shown, in which step, with which formula and colours.

// The steps of both passes; a step that has none of its matrices is left out.
const STEPS = [
    ['forward', 'embed', ['E', 'pos', 'X']],
    ['forward', 'queries', ['Wq', 'Q']],
    ['forward', 'keys', ['Wk', 'K']],
    ['forward', 'values', ['Wv', 'V']],
    ['forward', 'scores', ['S', 'mask']],
    ['forward', 'weights', ['P']],
    ['forward', 'drop', ['drop', 'A']],
    ['forward', 'mix', ['O']],
    ['forward', 'join', ['Wo', 'Y']],
    ['forward', 'predict', ['Wu', 'logits', 'prob']],
    ['forward', 'lossStep', ['target', 'L']],
    ['backward', 'dPredict', ['dlogits', 'dWu']],
    ['backward', 'dJoin', ['dY']],
    ['backward', 'dMix', ['dWo', 'dO']],
    ['backward', 'dValues', ['dV']],
    ['backward', 'dWeights', ['dA', 'dP']],
    ['backward', 'dDelta', ['delta']],
    ['backward', 'dScores', ['dS']],
    ['backward', 'dQueries', ['dQ', 'dK']],
    ['backward', 'dProjections', ['dWq', 'dWk', 'dWv']],
    ['backward', 'dInput', ['dX']],
    ['backward', 'dEmbed', ['dpos', 'dE']],
];

// Names as they are read: Wq with a subscript would need markup in every list, so plain letters.
const SHOWN = { dlogits: 'dlogits', delta: 'delta', mask: 'M', drop: 'R' };
const label = name => SHOWN[name] || name;

function formula(name) {
    const { options, heads, loss } = model, many = heads > 1, drops = options.dropout > 0;
    const a = options.scale ? '1/√d' : '1', by = options.temperature === 1 ? '' : ` / ${plain(options.temperature)}`;
    const next = loss === 'next';
    return {
        X: 'E[word] + pos', Q: 'X Wqᵀ', K: 'X Wkᵀ', V: 'X Wvᵀ', S: `a Q Kᵀ,  a = ${a}${by}`,
        mask: 'j ≤ i', P: 'softmax(S | M)', A: 'P ∘ R', drop: '0, 1/(1−p)', O: drops ? 'A V' : 'P V',
        Y: (many ? 'Σₕ O Woᵀ' : 'O') + (options.residual ? ' + X' : ''), logits: 'Y Wuᵀ', prob: 'softmax(logits)',
        L: { sum: 'Σ target ∘ Y', square: 'mean (Y − target)²', next: '−mean log prob[next]' }[loss],
        dlogits: '(prob − target)/(T−1)', dWu: 'dlogitsᵀ Y',
        dY: { sum: 'target', square: '2 (Y − target)/(T d)', next: 'dlogits Wu' }[loss],
        dWo: 'dYᵀ O', dO: many ? 'dY Wo' : 'dY', dV: drops ? 'Aᵀ dO' : 'Pᵀ dO', dA: 'dO Vᵀ',
        dP: drops ? 'dA ∘ R' : 'dO Vᵀ', delta: 'rowsum(P ∘ dP)', dS: 'P ∘ (dP − delta)', dQ: 'a dS K', dK: 'a dSᵀ Q',
        dWq: 'dQᵀ X', dWk: 'dKᵀ X', dWv: 'dVᵀ X',
        dX: (many ? 'Σₕ ' : '') + '(dQ Wq + dK Wk + dV Wv)' + (options.residual ? ' + dY' : ''),
        dpos: 'dX', dE: 'Σ dX[word]', target: next ? '' : undefined,
    }[name] || say('given');
}

const isGradient = name => name === 'delta' || (name[0] === 'd' && name !== 'drop');

// ---- Numbers ----

const minus = text => text.replace('-', '−');

function plain(x) { // for sentences: up to 4 significant digits
    return minus(String(Number(x.toPrecision(4))));
}

function exact(x) { // for the inspector
    const size = Math.abs(x);
    return minus(x === 0 ? '0' : size < 1e-3 || size >= 1e5 ? x.toExponential(4) : x.toFixed(6));
}

function brief(x) { // for a cell: at most 4 characters and a sign
    const size = Math.abs(x);
    if (x === 0) return '0';
    if (size >= 1000) return minus((x < 0 ? '-' : '') + size.toExponential(0).replace('e+', 'e'));
    if (size >= 9.95) return minus(x.toFixed(0));
    if (size >= 0.995) return minus(x.toFixed(1));
    if (size >= 0.005) return minus(x.toFixed(2).replace('0.', '.'));
    return '≈0'; // its colour has the sign
}

// ---- Colours: safe for colour-blind eyes, light to dark in one direction, and no red beside green ----

const VALUE_SCALE = [[0, 34, 78], [65, 77, 107], [124, 123, 120], [188, 175, 111], [254, 232, 56]]; // cividis
const GRADIENT_SCALE = {
    light: [[33, 81, 156], [146, 183, 220], [247, 246, 243], [240, 170, 105], [168, 72, 6]],
    dark: [[126, 182, 255], [50, 92, 150], [38, 40, 45], [158, 84, 26], [255, 166, 87]],
};

const darkNow = () => document.documentElement.dataset.theme === 'dark' && !matchMedia('print').matches;

// Colour of t in -1 .. 1.
function colour(scale, t) {
    const x = (Math.max(-1, Math.min(1, t)) + 1) * 2, i = Math.min(3, Math.floor(x)), part = x - i;
    return scale[i].map((low, c) => Math.round(low + (scale[i + 1][c] - low) * part));
}

const css = rgb => `rgb(${rgb.join(' ')})`;

function inkOn(rgb) {
    const linear = rgb.map(c => (c / 255) ** 2.2);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.22 ? '#111' : '#fff';
}

// ---- Drawing ----

let tables = new Map(); // name -> { box, cells: [td], range }
let chosenHead = 0;

const headOffset = m => (m.heads > 1 ? chosenHead * m.rows * m.cols : 0);

function sentenceLabels(name, count) {
    const perWord = { E: 1, Wu: 1, dE: 1, dWu: 1 };
    if (perWord[name]) return model.vocabulary;
    return count === model.words.length ? model.words : Array.from({ length: count }, (_, i) => String(i));
}

function columnLabels(name, count) {
    if (/^(S|mask|P|drop|A|dA|dP|dS)$/.test(name)) return model.words;
    if (/^d?(logits)$|^prob$/.test(name) || (name === 'target' && model.loss === 'next')) return model.vocabulary;
    return Array.from({ length: count }, (_, i) => String(i));
}

const rowLabels = (name, m) =>
    /^d?W[qkvo]$/.test(name) ? Array.from({ length: m.rows }, (_, i) => String(i)) : sentenceLabels(name, m.rows);

function makeMatrix(name, m) {
    const box = element('div', { class: 'matrix', id: 'm-' + name });
    const sizes = `${m.rows}×${m.cols}`;
    box.append(element('h4', {}, label(name), element('small', {}, `  ${sizes}`)),
        element('p', { class: 'formula' }, formula(name)));
    const table = element('table', {
        class: m.cols > 8 ? 'cells many' : 'cells', role: 'grid',
        'aria-label': `${label(name)}, ${formula(name)}, ${sizes}`,
    });
    const columns = columnLabels(name, m.cols);
    const head = element('tr', {}, element('th', {}));
    columns.forEach(text => head.append(element('th', { scope: 'col', title: text }, text)));
    table.append(element('thead', {}, head));
    const body = element('tbody', {}), cells = [];
    rowLabels(name, m).forEach((text, i) => {
        const row = element('tr', {}, element('th', { scope: 'row', title: text }, text));
        for (let j = 0; j < m.cols; j++) {
            const cell = element('td', { tabindex: i + j === 0 ? 0 : -1, role: 'gridcell' });
            Object.assign(cell.dataset, { entry: name, at: i * m.cols + j });
            cells.push(cell);
            row.append(cell);
        }
        body.append(row);
    });
    table.append(body);
    const range = element('p', { class: 'range', 'aria-hidden': 'true' });
    box.append(table, range);
    tables.set(name, { box, cells, range, rows: m.rows, cols: m.cols });
    return box;
}

// Builds the boxes of a model: after a change of sizes.
function buildMatrices() {
    tables = new Map();
    const main = document.getElementById('matrices');
    main.textContent = '';
    let last = '';
    for (const [pass, , names] of STEPS) {
        const group = element('div', { class: 'group' });
        for (const name of names) {
            const m = model.matrix(name);
            if (m !== null) group.append(makeMatrix(name, m));
        }
        if (!group.hasChildNodes()) continue;
        if (pass !== last) main.append(element('h3', { id: 'h-' + pass }, say(pass)));
        last = pass;
        main.append(group);
    }
}

// Whether the mask hides this element, so that its number means nothing.
function isMasked(name, i, j) {
    return /^(S|P|drop|A|dA|dP|dS)$/.test(name) && model.matrix('mask').values[i * model.words.length + j] === 0;
}

function paintMatrix(name) {
    const table = tables.get(name), m = model.matrix(name), from = headOffset(m), gradient = isGradient(name);
    const values = Array.from(m.values.subarray(from, from + m.rows * m.cols));
    const seen = values.filter((_, i) => !isMasked(name, Math.floor(i / m.cols), i % m.cols) || name === 'mask');
    const most = Math.max(...seen.map(Math.abs).filter(Number.isFinite), 0) || 1;
    const low = !gradient && Math.min(...seen) >= 0 ? 0 : -most; // weights begin at 0
    const scale = gradient ? GRADIENT_SCALE[darkNow() ? 'dark' : 'light'] : VALUE_SCALE;
    values.forEach((x, index) => {
        const cell = table.cells[index], i = Math.floor(index / m.cols), j = index % m.cols;
        const masked = isMasked(name, i, j), zero = !masked && x === 0;
        const rgb = colour(scale, low === 0 ? 2 * x / most - 1 : x / most);
        cell.textContent = masked ? '' : brief(x);
        cell.classList.toggle('masked', masked);
        cell.classList.toggle('zero', zero);
        cell.style.backgroundColor = css(rgb);
        cell.style.color = inkOn(rgb);
        cell.setAttribute('aria-label', `${label(name)} ${i}, ${j}: ${masked ? say('hidden') : exact(x)}`);
    });
    table.range.textContent = '';
    const colours = [-1, -0.5, 0, 0.5, 1].map(t => css(colour(scale, t))).join(', ');
    table.range.append(low === 0 ? '0' : '−' + plain(most),
        element('i', { style: `background: linear-gradient(90deg, ${colours})` }), plain(most));
}

function paintMatrices() {
    for (const name of tables.keys()) paintMatrix(name);
}

// ---- Finding cells ----

// The matrix's element behind a table cell, with the chosen head.
function cellOf(td) {
    const m = model.matrix(td.dataset.entry);
    return { entry: td.dataset.entry, index: headOffset(m) + Number(td.dataset.at) };
}

// The table cell of an element; null when its head is not shown.
function tdOf(cell) {
    const table = tables.get(cell.entry);
    if (!table) return null;
    const m = model.matrix(cell.entry);
    return table.cells[cell.index - headOffset(m)] || null;
}

// "dS[2,1]", with the head where there are several.
function cellName(cell) {
    const m = model.matrix(cell.entry), size = m.rows * m.cols, at = cell.index % size;
    const head = m.heads > 1 ? `${say('headShort')}${Math.floor(cell.index / size) + 1}·` : '';
    return `${head}${label(cell.entry)}[${Math.floor(at / m.cols)},${at % m.cols}]`;
}
