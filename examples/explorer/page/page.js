// SPDX-License-Identifier: MIT
//
// page.js - the page's state and events: controls, steps, keys, language and theme. Begins everything.

let model = null;
let language = 'en';
let step = -1; // of visibleSteps; -1: everything is shown
let playing = 0;

const byId = id => document.getElementById(id);

function element(tag, attributes, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
}

function shape(tag, attributes) {
    const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
}

function drawing(width, height, name) {
    return shape('svg', { class: 'chart', viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': name });
}

// The text of a name in the language, with {0}, {1} replaced.
function say(name, ...values) {
    const text = TEXT[language][name];
    return text === undefined ? '' : text.replace(/\{(\d)\}/g, (_, i) => values[i]);
}

// ---- The model ----

function readOptions() {
    return {
        scale: byId('scale').checked, causal: byId('causal').checked, residual: byId('residual').checked,
        temperature: Number((10 ** (Number(byId('temperature').value) / 2)).toPrecision(3)),
        dropout: Number(byId('dropout').value),
    };
}

// A new model from the controls; the one before stays when the sentence is too short.
function renew() {
    let made;
    try {
        made = new Model(byId('text').value, Number(byId('heads').value), Number(byId('size').value), byId('loss').value,
            Math.max(0, Math.floor(Number(byId('seed').value) || 0)));
    } catch (error) {
        byId('problem').textContent = say('tooShort');
        return;
    }
    byId('problem').textContent = made.words.length < byId('text').value.trim().split(/\s+/).length ? say('tooLong') : '';
    stopTraining();
    model?.free();
    model = made;
    losses = [];
    model.set(readOptions());
    chosenHead = Math.min(chosenHead, model.heads - 1);
    rebuild();
}

// After a switch: the sizes stay, but matrices may come and go.
function switched() {
    if (!model) return;
    model.set(readOptions());
    rebuild();
}

function rebuild() {
    const still = pinned && model.matrix(pinned.entry) && pinned.index < model.matrix(pinned.entry).values.length;
    if (!still) pinned = null;
    buildMatrices();
    buildHeads();
    showStep();
    repaint();
}

// After numbers have changed.
function repaint() {
    byId('temperature-value').textContent = plain(readOptions().temperature);
    byId('dropout-value').textContent = plain(readOptions().dropout);
    paintMatrices();
    inspect(pinned);
    drawTraining();
}

function buildHeads() {
    const box = byId('head-choice');
    box.textContent = '';
    for (let h = 0; model.heads > 1 && h < model.heads; h++) {
        const button = element('button', { type: 'button', 'aria-pressed': h === chosenHead }, say('head', h + 1));
        button.addEventListener('click', () => chooseHead(h));
        box.append(button);
    }
}

function chooseHead(h) {
    chosenHead = h;
    buildHeads();
    paintMatrices();
    inspect(pinned);
}

// ---- Steps ----

const visibleSteps = () => STEPS.filter(([, , names]) => names.some(name => model.matrix(name) !== null));

function showStep() {
    const steps = visibleSteps();
    step = Math.min(step, steps.length - 1);
    const past = step < 0 ? steps : steps.slice(0, step + 1);
    const shown = new Set(past.flatMap(([, , names]) => names)), now = new Set(step < 0 ? [] : steps[step][2]);
    for (const [name, table] of tables) {
        table.box.hidden = !shown.has(name);
        table.box.classList.toggle('now', now.has(name));
    }
    const backward = byId('h-backward');
    if (backward) backward.hidden = !past.some(([pass]) => pass === 'backward');
    byId('step-text').textContent = step < 0 ? say('stepsAbout', steps.length)
        : `${step + 1}/${steps.length} · ${say(steps[step][0])}: ${say('step_' + steps[step][1])}`;
    byId('all').setAttribute('aria-pressed', step < 0);
    byId('play').textContent = say(playing ? 'pause' : 'play');
}

function goStep(to) {
    const count = visibleSteps().length;
    step = Math.max(0, Math.min(count - 1, to));
    showStep();
    const first = [...tables.values()].find(table => table.box.classList.contains('now'));
    first?.box.scrollIntoView({ block: 'center', behavior: 'auto' });
}

function stopPlaying() {
    clearInterval(playing);
    playing = 0;
    showStep();
}

function play() {
    if (playing) return stopPlaying();
    if (step === visibleSteps().length - 1) step = -1;
    playing = setInterval(() => (step + 1 < visibleSteps().length ? goStep(step + 1) : stopPlaying()), 1800);
    goStep(step + 1);
}

// Makes a matrix visible that the current step does not show yet.
function showEveryStep(name) {
    if (!tables.get(name)?.box.hidden) return;
    step = -1;
    showStep();
}

// ---- Events ----

function moveFocus(td, key) {
    const table = tables.get(td.dataset.entry), at = Number(td.dataset.at), { cols, rows } = table;
    const row = Math.floor(at / cols), col = at % cols;
    const to = {
        ArrowLeft: [row, col - 1], ArrowRight: [row, col + 1], ArrowUp: [row - 1, col], ArrowDown: [row + 1, col],
        Home: [row, 0], End: [row, cols - 1],
    }[key];
    if (to[0] < 0 || to[1] < 0 || to[0] >= rows || to[1] >= cols) return;
    focusCell(table.cells[to[0] * cols + to[1]]);
}

function focusCell(td) {
    tables.get(td.dataset.entry).cells.forEach(cell => { cell.tabIndex = -1; });
    td.tabIndex = 0;
    td.focus();
}

// Page Up and Page Down: the same kind of cell in the matrix before or behind.
function moveMatrix(td, by) {
    const shown = [...tables.values()].filter(table => !table.box.hidden);
    const to = shown[shown.indexOf(tables.get(td.dataset.entry)) + by];
    if (to) focusCell(to.cells.find(cell => cell.tabIndex === 0));
}

// Enter pins; on the pinned cell it goes on to what can be done with it.
function pinOrEnter(cell) {
    if (pinned && pinned.entry === cell.entry && pinned.index === cell.index)
        document.querySelector('#inspector input, #inspector button').focus();
    else
        pin(cell);
}

function onCellKey(event) {
    const td = event.target.closest('.cells td');
    if (!td || event.altKey || event.ctrlKey || event.metaKey) return; // these are the browser's
    if (/^(Arrow|Home|End)/.test(event.key)) moveFocus(td, event.key);
    else if (event.key === 'Enter' || event.key === ' ') pinOrEnter(cellOf(td));
    else if (event.key === 'PageDown' || event.key === 'PageUp') moveMatrix(td, event.key === 'PageDown' ? 1 : -1);
    else return;
    event.preventDefault();
}

function listen() {
    const matrices = byId('matrices');
    const over = event => {
        const td = event.target.closest('.cells td');
        if (td && pinned === null) inspect(cellOf(td));
    };
    matrices.addEventListener('pointerover', over);
    matrices.addEventListener('focusin', over);
    matrices.addEventListener('click', event => {
        const td = event.target.closest('.cells td');
        if (td) pin(cellOf(td));
    });
    matrices.addEventListener('keydown', onCellKey);
    document.addEventListener('keydown', event => {
        if (event.key === 'Escape') unpin();
    });
    byId('controls').addEventListener('submit', event => event.preventDefault());
    ['text', 'heads', 'size', 'loss', 'seed'].forEach(id => byId(id).addEventListener('change', renew));
    ['scale', 'causal', 'residual'].forEach(id => byId(id).addEventListener('change', switched));
    ['temperature', 'dropout'].forEach(id => byId(id).addEventListener('input', switched));
    byId('forth').addEventListener('click', () => goStep(step + 1));
    byId('back').addEventListener('click', () => goStep(step < 0 ? visibleSteps().length - 1 : step - 1));
    byId('play').addEventListener('click', play);
    byId('all').addEventListener('click', () => { step = -1; stopPlaying(); });
    byId('language').addEventListener('change', () => setLanguage(byId('language').value));
    byId('theme').addEventListener('change', setTheme);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', setTheme);
    matchMedia('print').addEventListener('change', paintMatrices);
}

// ---- Language and theme ----

function setLanguage(to) {
    language = to;
    document.documentElement.lang = to;
    document.title = say('title');
    document.querySelectorAll('[data-text]').forEach(node => { node.textContent = say(node.dataset.text); });
    document.querySelectorAll('[data-name]').forEach(node => { node.setAttribute('aria-label', say(node.dataset.name)); });
    buildChallenges();
    if (model) rebuild();
    drawSpread();
}

function setTheme() {
    const chosen = byId('theme').value, dark = matchMedia('(prefers-color-scheme: dark)').matches;
    document.documentElement.dataset.theme = chosen || (dark ? 'dark' : 'light');
    if (model) repaint();
}

async function begin() {
    await loadLibrary(LIBRARY);
    byId('text').value = 'the cat sat on the mat';
    language = byId('language').value = navigator.language.startsWith('ru') ? 'ru' : 'en';
    setTheme();
    listen();
    listenLessons();
    renew();
    setLanguage(language);
    document.documentElement.dataset.ready = 'true';
}

begin().catch(error => {
    byId('problem').textContent = `${say('tooOld')} (${error.message})`;
});
