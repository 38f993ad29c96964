// SPDX-License-Identifier: MIT
//
// lessons.js - training, the spread of scores with and without 1/sqrt(d), and the challenges.

let losses = [];
let running = 0;

// ---- Training ----

function trainOnce() {
    losses.push(model.train(Number(byId('rate').value) || 0));
    repaint();
}

function stopTraining() {
    cancelAnimationFrame(running);
    running = 0;
    byId('train-run').textContent = say('trainRun');
}

function runTraining() {
    if (running) return stopTraining();
    byId('train-run').textContent = say('pause');
    const next = () => {
        trainOnce();
        if (losses.length % 200 === 0 || !Number.isFinite(losses.at(-1))) return stopTraining();
        running = requestAnimationFrame(next);
    };
    running = requestAnimationFrame(next);
}

function drawTraining() {
    byId('train-state').textContent = say('trainState', losses.length, plain(model.lossValue));
    const box = byId('train-chart');
    box.textContent = '';
    const shown = losses.filter(Number.isFinite);
    if (shown.length < 2) return;
    const high = Math.max(...shown), low = Math.min(...shown, 0), span = high - low || 1;
    const chart = drawing(520, 160, say('trainChart'));
    const x = i => 45 + 465 * i / (shown.length - 1), y = v => 145 - 130 * (v - low) / span;
    const path = shown.map((v, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join('');
    chart.append(shape('line', { class: 'axis', x1: 45, x2: 510, y1: 145, y2: 145 }), shape('path', { class: 'real', d: path }),
        chartText(2, 18, plain(high)), chartText(2, 148, plain(low)), chartText(470, 158, String(shown.length)));
    box.append(chart);
}

function chartText(x, y, text) {
    const made = shape('text', { x, y });
    made.append(text);
    return made;
}

// ---- 1/sqrt(d) ----

const median = values => Array.from(values, Math.abs).sort((a, b) => a - b)[values.length >> 1];
const deviation = values => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

function histogram(values, most, name) {
    const bins = new Array(31).fill(0);
    for (const v of values) bins[Math.max(0, Math.min(30, Math.round(15 + 15 * v / most)))]++;
    const tallest = Math.max(...bins), chart = drawing(310, 92, name);
    bins.forEach((count, i) => chart.append(shape('rect', {
        x: 10 * i + 1, width: 8, y: 72 - 68 * count / tallest, height: 68 * count / tallest,
    })));
    chart.append(shape('line', { class: 'axis', x1: 0, x2: 310, y1: 72, y2: 72 }), chartText(0, 88, `−${plain(most)}`),
        chartText(151, 88, '0'), chartText(268, 88, plain(most)));
    return chart;
}

function drawSpread() {
    const box = byId('spread-charts'), d = Number(byId('spread-size').value);
    box.textContent = '';
    const both = [true, false].map(scaled => model.spread(d, scaled));
    const reach = part => Math.max(...both.flatMap(run => Array.from(run[part], Math.abs)));
    both.forEach((run, i) => {
        const side = element('div', {}), largest = [];
        for (let row = 0; row < 12; row++) largest.push(Math.max(...run.weights.slice(12 * row, 12 * row + 12)));
        const fades = say('spreadGradients', plain(median(run.gradients)));
        side.append(element('h3', {}, say(i === 0 ? 'spreadScaled' : 'spreadPlain')),
            element('p', {}, say('spreadScores', plain(deviation(run.scores)))),
            histogram(run.scores, reach('scores'), say('spreadScores', plain(deviation(run.scores)))),
            element('p', {}, fades), histogram(run.gradients, reach('gradients'), fades),
            element('p', {}, say('spreadWeights', plain(largest.reduce((sum, v) => sum + v, 0) / 12))));
        box.append(side);
    });
}

// ---- Challenges ----

// Puts the controls into a state, and makes the model of it.
function prepare(settings) {
    const base = { text: 'the cat sat on the mat', heads: 1, size: 4, loss: 'sum', seed: 1, scale: true, causal: true,
        residual: false, temperature: 0, dropout: 0 };
    for (const [id, value] of Object.entries({ ...base, ...settings }))
        if (typeof value === 'boolean') byId(id).checked = value;
        else byId(id).value = value;
    pinned = null;
    step = -1;
    renew();
}

// One-hot positions, words without vectors, keys of head 2 that are the positions: only Wq of head 2 is missing.
function prepareCopy() {
    prepare({ text: 'a b c d', heads: 2, size: 4 });
    const fill = (entry, from, value) => {
        for (let i = 0; i < 16; i++) model.change({ entry, index: from + i }, value(Math.floor(i / 4), i % 4));
    };
    fill('E', 0, () => 0);
    fill('pos', 0, (i, j) => Number(i === j));
    fill('Wk', 16, (i, j) => Number(i === j));
    fill('Wq', 16, () => 0);
    chooseHead(1);
    repaint();
}

const CHALLENGE = {
    zero: { prepare: () => prepare({}), reasons: ['masked', 'oneKey', 'noTarget', 'dropped', 'lastKey'] },
    copy: { prepare: prepareCopy },
    vanish: { prepare: () => prepare({ seed: 2, temperature: -2 }) },
};

function judge(name, select, answer) {
    const needsCell = name !== 'copy';
    if (needsCell && pinned === null) {
        answer.className = 'bad';
        answer.textContent = say('pinFirst');
        return;
    }
    const right = model.judge(name, pinned, select ? select.value : '');
    answer.className = right ? 'good' : 'bad';
    answer.textContent = say(`${name}_${right ? 'right' : 'wrong'}`, pinned ? cellName(pinned) : '');
}

function buildChallenges() {
    const list = byId('challenge-list');
    list.textContent = '';
    for (const [name, { prepare: start, reasons }] of Object.entries(CHALLENGE)) {
        const box = element('div', { class: 'challenge', id: 'challenge-' + name });
        const buttons = element('div', { class: 'buttons' });
        const begin = element('button', { type: 'button' }, say('prepare'));
        begin.addEventListener('click', () => {
            start();
            byId('matrices').focus();
            byId('matrices').scrollIntoView();
        });
        buttons.append(begin);
        let select = null;
        if (reasons) {
            select = element('select', {});
            for (const reason of reasons) select.append(element('option', { value: reason }, say('reason_' + reason)));
            buttons.append(element('label', {}, element('span', {}, say('because')), select));
        }
        const answer = element('p', { role: 'status' }), check = element('button', { type: 'button' }, say('check'));
        check.addEventListener('click', () => judge(name, select, answer));
        buttons.append(check);
        box.append(element('p', {}, say(`${name}_task`)), buttons, answer);
        list.append(box);
    }
}

function listenLessons() {
    byId('train-step').addEventListener('click', trainOnce);
    byId('train-run').addEventListener('click', runTraining);
    byId('train-reset').addEventListener('click', renew);
    byId('spread-size').addEventListener('change', drawSpread);
}
