// SPDX-License-Identifier: MIT
//
// inspector.js - what is said of one cell: the sum that makes it, where it goes, why it is 0, what a poke of it does.

let pinned = null;  // the cell that stays
let shownCell = null;
let pokeStep = 0.5;

function clearMarks() {
    document.querySelectorAll('.own, .source, .use').forEach(td => td.classList.remove('own', 'source', 'use'));
}

function mark(cell, kind) {
    const td = tdOf(cell);
    if (td) td.classList.add(kind);
}

function cellButton(cell, kind) {
    const button = element('button', { type: 'button', class: `link ${kind}-key` }, cellName(cell));
    button.addEventListener('click', () => goTo(cell));
    return button;
}

// ---- The sum ----

const OPERATIONS = {
    '*': t => `${coefText(t.coef)}${cellName(t.a)} · ${cellName(t.b)}`,
    '+': t => `${coefText(t.coef)}${cellName(t.a)}`,
    e: t => `exp(${cellName(t.a)} − max)`,
    s: t => `${coefText(t.coef)}(${cellName(t.a)} − ${cellName(t.b)})²`,
    '-': t => `${coefText(t.coef)}(${cellName(t.a)} − ${cellName(t.b)})`,
    l: t => `${coefText(t.coef)}${cellName(t.b)} · log ${cellName(t.a)}`,
};

const coefText = coef => (coef === 1 ? '' : coef === -1 ? '− ' : `${plain(coef)} · `);

function termNumbers(t) {
    const a = plain(model.value(t.a)), b = t.b ? plain(model.value(t.b)) : '';
    const guard = x => (x[0] === '−' ? `(${x})` : x);
    return {
        '*': `${coefText(t.coef)}${guard(a)} · ${guard(b)}`, '+': `${coefText(t.coef)}${guard(a)}`, e: `exp(${a} − max)`,
        s: `${coefText(t.coef)}(${a} − ${guard(b)})²`, '-': `${coefText(t.coef)}(${a} − ${guard(b)})`,
        l: `${coefText(t.coef)}${guard(b)} · log ${a}`,
    }[t.op];
}

function termsTable(cell, terms) {
    const table = element('table', { class: 'terms' });
    table.append(element('tr', {}, element('th', {}, say('term')), element('th', {}, say('numbers')),
        element('th', {}, '=')));
    let sum = 0;
    for (const t of terms) {
        sum += t.value;
        table.append(element('tr', {}, element('td', {}, OPERATIONS[t.op](t)), element('td', {}, termNumbers(t)),
            element('td', {}, plain(t.value))));
    }
    const total = terms[0].op === 'e' ? [say('ofSum'), `${plain(sum)}`] : [say('total'), plain(sum)];
    table.append(element('tr', {}, element('td', {}, total[0]), element('td', {}), element('td', {}, total[1])));
    return table;
}

function inspectSum(box, cell) {
    const terms = model.terms(cell);
    box.append(element('h3', {}, say('madeOf')));
    if (terms.length === 0) {
        const { index, entry } = cell, m = model.matrix(entry), at = index % (m.rows * m.cols);
        const hidden = isMasked(entry, Math.floor(at / m.cols), at % m.cols);
        box.append(element('p', {}, say(hidden ? 'hiddenCell' : model.given(entry) ? 'givenCell' : 'ruleCell')));
        return;
    }
    box.append(element('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': say('madeOf') },
        termsTable(cell, terms)));
    for (const t of terms) {
        mark(t.a, 'source');
        if (t.b) mark(t.b, 'source');
    }
    const sources = uniqueCells(terms.flatMap(t => (t.b ? [t.a, t.b] : [t.a])));
    box.append(element('p', { class: 'soft' }, say('from'), ' ', ...sources.slice(0, 24).map(c => cellButton(c, 'source'))));
}

function uniqueCells(cells) {
    return [...new Map(cells.map(c => [`${c.entry} ${c.index}`, c])).values()];
}

function inspectUses(box, cell) {
    const uses = model.uses(cell);
    uses.forEach(use => mark(use, 'use'));
    const groups = new Map();
    for (const use of uses) groups.set(use.entry, [...(groups.get(use.entry) || []), use]);
    box.append(element('h3', {}, say('goesTo')));
    if (uses.length === 0) box.append(element('p', {}, say('goesNowhere')));
    for (const [entry, cells] of groups)
        box.append(element('p', { class: 'soft' }, `${label(entry)}: `,
            ...cells.slice(0, 8).map(c => cellButton(c, 'use')), cells.length > 8 ? ` … (${cells.length})` : ''));
}

// ---- Poke ----

// Halving the step makes the difference of real and predicted change four times smaller, where the loss bends.
function halvings(cell, slope) {
    return [1, 0.5, 0.25, 0.125].map(part => {
        const step = pokeStep * part, real = model.poke(cell, step), predicted = slope * step;
        return { step, real, predicted, apart: real - predicted };
    });
}

function pokeTable(rows, most) {
    const table = element('table', { class: 'terms', id: 'poke-table' });
    table.append(element('tr', {}, ...['pokeStep', 'pokePredicted', 'pokeReal', 'pokeApart', 'pokeRatio'].map(name =>
        element('th', {}, say(name)))));
    rows.forEach((row, i) => {
        const straight = Math.abs(row.apart) <= 1e-12 * Math.max(1, most);
        const ratio = i === 0 ? '' : straight ? '–' : plain(rows[i - 1].apart / row.apart);
        table.append(element('tr', {}, element('td', {}, plain(row.step)), element('td', {}, plain(row.predicted)),
            element('td', {}, plain(row.real)), element('td', {}, straight ? '0' : row.apart.toExponential(2).replace(/-/g, '−')),
            element('td', {}, ratio)));
    });
    return table;
}

function pokeChart(cell, slope) {
    const reach = Math.max(1, Math.abs(pokeStep)), points = [];
    for (let i = -24; i <= 24; i++) points.push([reach * i / 24, model.poke(cell, reach * i / 24)]);
    const most = Math.max(...points.map(p => Math.abs(p[1])), Math.abs(slope * reach)) || 1;
    const x = step => 150 + 140 * step / reach, y = change => 75 - 65 * change / most;
    const path = points.map((p, i) => `${i ? 'L' : 'M'}${x(p[0]).toFixed(1)} ${y(p[1]).toFixed(1)}`).join('');
    const real = model.poke(cell, pokeStep);
    const chart = drawing(300, 150, say('pokeChart'));
    chart.append(shape('line', { class: 'axis', x1: 5, x2: 295, y1: 75, y2: 75 }),
        shape('line', { class: 'axis', x1: 150, x2: 150, y1: 5, y2: 145 }),
        shape('path', { class: 'line', d: `M${x(-reach)} ${y(-slope * reach)}L${x(reach)} ${y(slope * reach)}` }),
        shape('path', { class: 'real', d: path }),
        shape('line', { class: 'real', 'stroke-width': 1, x1: x(pokeStep), x2: x(pokeStep), y1: y(slope * pokeStep), y2: y(real) }),
        shape('circle', { class: 'dot', cx: x(pokeStep), cy: y(real), r: 4 }));
    return chart;
}

function fillPoke(box, cell, slope) {
    box.textContent = '';
    const rows = halvings(cell, slope), most = Math.abs(rows[0].real);
    const straight = rows.every(row => Math.abs(row.apart) <= 1e-12 * Math.max(1, most));
    box.append(pokeChart(cell, slope), element('p', { class: 'soft' }, say('pokeLegend')), pokeTable(rows, most),
        element('p', {}, say(straight ? 'pokeStraight' : 'pokeLaw')));
}

function inspectPoke(box, cell) {
    const slope = model.slope(cell);
    if (Number.isNaN(slope)) return;
    const result = element('div', {}), shown = element('output', {}, plain(pokeStep));
    const slider = element('input', { type: 'range', id: 'poke', min: -2, max: 2, step: 0.05, value: pokeStep });
    slider.addEventListener('input', () => {
        pokeStep = Number(slider.value) || 0.05;
        shown.textContent = plain(pokeStep);
        fillPoke(result, cell, slope);
    });
    box.append(element('h3', {}, say('poke')), element('p', {}, say('slopeIs', cellName(cell), exact(slope))),
        element('label', {}, element('span', {}, say('pokeAdd'), ' ', shown), slider), result);
    fillPoke(result, cell, slope);
}

function inspectChange(box, cell) {
    if (!model.given(cell.entry)) return;
    const input = element('input', { type: 'number', step: 0.1, id: 'change', value: Number(model.value(cell).toPrecision(6)) });
    input.addEventListener('change', () => {
        if (!Number.isFinite(input.valueAsNumber)) return;
        model.change(cell, Math.max(-1000, Math.min(1000, input.valueAsNumber)));
        repaint();
        document.getElementById('change')?.focus();
    });
    box.append(element('label', {}, element('span', {}, say('setValue', cellName(cell))), input));
}

// ---- The whole ----

function inspect(cell) {
    shownCell = cell;
    const box = document.getElementById('inspector');
    box.textContent = '';
    clearMarks();
    if (cell === null) {
        box.append(element('p', { class: 'soft' }, say('touch')));
        return;
    }
    const isPinned = pinned !== null && pinned.entry === cell.entry && pinned.index === cell.index;
    mark(cell, 'own');
    const title = element('h3', {}, cellName(cell), isPinned ? ' ' : '');
    if (isPinned) {
        const free = element('button', { type: 'button', class: 'link', id: 'unpin' }, say('unpin'));
        free.addEventListener('click', unpin);
        title.append(free);
    }
    box.append(title, element('p', { class: 'big' }, `= ${exact(model.value(cell))}`),
        element('p', { class: 'soft' }, `${label(cell.entry)} = ${formula(cell.entry)}. `, say('about_' + cell.entry)));
    const reason = model.zeroReason(cell);
    if (reason) box.append(element('p', { class: 'why' }, say('why_' + reason)));
    inspectSum(box, cell);
    inspectUses(box, cell);
    if (isPinned) {
        inspectChange(box, cell);
        inspectPoke(box, cell);
    } else
        box.append(element('p', { class: 'soft' }, say('pinToPoke')));
}

function pin(cell) {
    pinned = cell;
    inspect(cell);
}

function unpin() {
    const td = pinned && tdOf(pinned);
    pinned = null;
    inspect(null);
    td?.focus({ preventScroll: true });
}

// Shows a cell that another one names: its head, its matrix, the focus.
function goTo(cell) {
    const m = model.matrix(cell.entry);
    if (m.heads > 1 && Math.floor(cell.index / (m.rows * m.cols)) !== chosenHead)
        chooseHead(Math.floor(cell.index / (m.rows * m.cols)));
    showEveryStep(cell.entry);
    pin(cell);
    const td = tdOf(cell);
    td?.scrollIntoView({ block: 'center', behavior: 'auto' });
    td?.focus({ preventScroll: true });
}
