// SPDX-License-Identifier: MIT
//
// check_explorer.mjs PAGE FOLDER - opens the page from file:// and demands: no request, no message on the console; in
// every cell the numbers of the programs in FOLDER, attention_gradients for a plain head and explorer for all else;
// explorer's losses in training, the quadratic law of pokes, all of it by keyboard, no scrolling sideways at 360 px, no
// motion where none is wanted, every text in both languages.
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { openPage } from './chromium.mjs';

const [file, programs] = process.argv.slice(2);
const SENTENCES = ['the cat sat on the mat', 'to be or not to be', 'every query reads one key at a time'];
const folder = mkdtempSync(join(tmpdir(), 'attngrad-'));
const page = await openPage('file://' + resolve(file));
const { evaluate, key } = page;
let compared = 0;

const run = (program, options) =>
    execFileSync(join(programs, program), options, { encoding: 'utf8', maxBuffer: 1e8 });
const explorer = options => JSON.parse(run('explorer', options));

function attentionGradients(options) {
    const trace = join(folder, 'trace.json');
    run('attention_gradients', [...options, '--json', trace]);
    return JSON.parse(readFileSync(trace, 'utf8')).entries;
}

// Sets controls by their ids, as a reader would.
const SET = `((values) => {
    for (const [id, value] of Object.entries(values)) {
        const control = document.getElementById(id);
        if (typeof value === 'boolean') control.checked = value; else control.value = value;
    }
    document.getElementById('text').dispatchEvent(new Event('change', { bubbles: true }));
})`;
const set = values => evaluate(`${SET}(${JSON.stringify(values)})`);

// Of every matrix that is shown: what each cell says to a screen reader, what it shows, and what the library has.
const READ = `Object.fromEntries([...tables].map(([name, t]) => [name, {
    said: t.cells.map(td => td.getAttribute('aria-label').replace(/.*: /, '')), values: Array.from(model.matrix(name).values),
    seen: t.cells.map(td => td.textContent) }]))`;

const numberOf = text => Number(text.replace('−', '-'));

// The same double, but for the last digits where the two libms differ.
function assertSame(got, want, where) {
    assert.ok(Math.abs(got - want) <= 1e-13 * (1 + Math.abs(want)), `${where} is ${got}, the program has ${want}`);
}

// A cell says six decimals, or five digits of small numbers; it shows two digits or three.
function assertShown(said, seen, want, where) {
    const size = Math.abs(want), half = size >= 9.95 ? 0.5 : size >= 0.995 ? 0.05 : 0.005;
    assert.ok(Math.abs(numberOf(said) - want) <= (size < 1e-3 ? 5.1e-5 * size : 5.1e-7),
        `${where} says ${said}, the program has ${want}`);
    assert.ok(seen === '≈0' ? size < 0.005 : Math.abs(numberOf(seen) - want) <= half * 1.0001,
        `${where} shows ${seen}, the program has ${want}`);
    assert.equal(said === '0', want === 0, `${where} says ${said}, the program has ${want}: an exact 0 is '0'`);
}

// Every number on the page against `want`, an array for each name.
function compareMatrices(shown, want, where) {
    for (const [name, { said, values, seen }] of Object.entries(shown)) {
        assert.equal(values.length, want[name]?.length, `${where}: the number of elements of ${name}`);
        values.forEach((x, i) => assertSame(x, want[name][i], `${where} ${name}[${i}]`));
        said.forEach((text, i) => {
            const cell = `${where} ${name}[${i}]`;
            compared++;
            if (text === 'hidden by the mask') assert.equal(seen[i], '', `${cell} is hidden, and shows ${seen[i]}`);
            else assertShown(text, seen[i], want[name][i], cell);
        });
    }
}

// The page's matrices from a head's trace. Around the head the page has the words' vectors, the loss sum(dO * Y), and
// with a residual Y = O + X, which sends dO to X besides. E and pos are given; the trace has their sum, X.
function pageOfTrace(entries, { E, pos }, words, residual) {
    const of = name => entries[name].values.flat(Infinity), X = of('X'), dO = of('dO'), d = X.length / words.length;
    const plus = (a, b) => a.map((x, i) => x + b[i]), vocabulary = [...new Set(words)];
    const Y = residual ? plus(of('O'), X) : of('O'), dX = residual ? plus(of('dX'), dO) : of('dX');
    const same = ['Q', 'K', 'V', 'P', 'O', 'dV', 'dP', 'delta', 'dS', 'dQ', 'dK'].map(name => [name, of(name)]);
    X.forEach((x, i) => assertSame(E.values[d * vocabulary.indexOf(words[Math.floor(i / d)]) + i % d] + pos.values[i], x,
        `E[word] + pos at ${i}`));
    return {
        ...Object.fromEntries(same), X, dO, Y, dX, E: E.values, pos: pos.values, S: of('U'), target: dO, dY: dO, dpos: dX,
        mask: of('S').map(x => Number(Number.isFinite(x))), L: [dO.reduce((sum, g, i) => sum + g * Y[i], 0)],
        Wq: of('W.q.weight'), Wk: of('W.k.weight'), Wv: of('W.v.weight'),
        dWq: of('dW.q.weight'), dWk: of('dW.k.weight'), dWv: of('dW.v.weight'),
        dE: vocabulary.flatMap(word => Array.from({ length: d }, (_, c) =>
            words.reduce((sum, w, t) => sum + (w === word ? dX[d * t + c] : 0), 0))),
    };
}

async function checkNumbers() {
    for (let seed = 1; seed <= 5; seed++)
        for (const text of SENTENCES)
            for (let switches = 0; switches < 8; switches++) {
                const scale = !(switches & 1), causal = !(switches & 2), residual = !!(switches & 4);
                await set({ text, seed, scale, causal, residual });
                const shown = await evaluate(READ), trace = attentionGradients(['--text', text, '--seed', seed, '--d', 4,
                    ...(scale ? [] : ['--no-scale']), ...(causal ? [] : ['--non-causal'])]);
                compareMatrices(shown, pageOfTrace(trace, shown, text.split(' '), residual),
                    `"${text}" seed ${seed}, scale ${scale}, causal ${causal}, residual ${residual}:`);
            }
}

// What attention_gradients does not have: several heads, other losses, dropout, temperature.
async function checkOtherModels() {
    const plain = { text: SENTENCES[0], seed: 3, scale: true, causal: true, residual: false, loss: 'sum', size: 4, heads: 1,
        dropout: 0, temperature: 0 };
    const models = [
        [{ residual: true, loss: 'next', size: 3, dropout: 0.25 },
            ['--residual', '--loss', 'next', '--size', 3, '--dropout', 0.25]],
        [{ heads: 3, size: 2, loss: 'square', causal: false }, ['--heads', 3, '--size', 2, '--loss', 'square', '--no-causal']],
        [{ heads: 4, size: 8, temperature: -1, dropout: 0.5 },
            ['--heads', 4, '--size', 8, '--temperature', 0.316, '--dropout', 0.5]],
    ];
    for (const [controls, options] of models) {
        await set({ ...plain, ...controls });
        const shown = await evaluate(READ), { matrices } = explorer(['--seed', 3, ...options]);
        const want = Object.fromEntries(Object.entries(matrices).map(([name, { values }]) => [name, values]));
        assert.deepEqual(Object.keys(want).filter(name => !(name in shown)), ['dtarget'], `not on the page, ${options}`);
        compareMatrices(shown, want, `explorer ${options.join(' ')}:`);
    }
    await set(plain);
}

async function checkTraining() {
    for (const loss of ['square', 'next']) {
        await set({ loss, seed: 1 });
        const got = await evaluate(`new Promise(resolve => {
            document.getElementById('train-run').click();
            const wait = setInterval(() => running || resolve(clearInterval(wait) || losses.map(Math.fround)), 50);
        })`);
        const want = explorer(['--loss', loss, '--steps', 200]).losses.map(Math.fround);
        assert.equal(want.length, 200, `the number of losses of explorer --loss ${loss} --steps 200`);
        assert.deepEqual(got, want, `losses of ${loss}`);
    }
    await set({ loss: 'sum' });
}

const focused = () => evaluate('document.activeElement.getAttribute("aria-label") || document.activeElement.id');
async function assertFocus(pattern, after) {
    assert.match(await focused(), pattern, `the focus after ${after}`);
}

// From the top by Tab to the first matrix, by arrows and pages to a score; pin, poke, unpin.
async function checkKeyboard() {
    await evaluate('document.getElementById("all").focus()');
    await key('Tab');
    await assertFocus(/^E 0, 0: /, 'Tab from the steps');
    await key('ArrowRight');
    await key('ArrowDown');
    await assertFocus(/^E 1, 1: /, 'right and down');
    for (let i = 0; i < 9; i++) await key('PageDown');
    await assertFocus(/^S 0, 0: /, 'nine times Page Down');
    for (const name of ['ArrowDown', 'ArrowDown', 'ArrowRight']) await key(name);
    await assertFocus(/^S 2, 1: /, 'down, down, right');
    assert.match(await evaluate('document.getElementById("inspector").textContent'), /S\[2,1\]/,
        'the inspector follows the focus');
    await key('Enter');
    assert.equal(await evaluate('pinned.entry'), 'S', 'Enter pins');
    await key('Enter');
    await assertFocus(/^unpin$/, 'Enter on the pinned cell');
    for (let i = 0; i < 40 && await focused() !== 'poke'; i++) await key('Tab');
    await assertFocus(/^poke$/, 'Tab through the inspector');
    const before = await evaluate('pokeStep');
    await key('ArrowRight');
    assert.ok(await evaluate('pokeStep') > before, 'right on the slider makes the poke larger');
    await key('Escape');
    assert.equal(await evaluate('pinned'), null, 'Escape frees');
    await assertFocus(/^S 2, 1: /, 'Escape');
    await checkForeignKeys();
    await checkSteps();
}

// Forwards, back, played, stopped, all.
async function checkSteps() {
    for (const [button, step, what] of [['forth', '1/19', 'Play'], ['forth', '2/19', 'Play'], ['back', '1/19', 'Play'],
        ['play', '2/19', 'Pause'], ['play', '2/19', 'Play'], ['all', 'All 19', 'Play']]) {
        await evaluate(`document.getElementById("${button}").focus()`);
        await key('Enter');
        const [text, play] = await evaluate(`['step-text', 'play'].map(id => document.getElementById(id).textContent)`);
        assert.ok(text.startsWith(step), `after ${button} the step is ${step}, not ${text}`);
        assert.equal(play, what, `what the play button says after ${button}`);
    }
}

// Keys with Alt, Control or Meta are the browser's, as Alt with an arrow is a step in its history.
async function checkForeignKeys() {
    await evaluate('addEventListener("keydown", event => { window.taken = event.defaultPrevented; })');
    for (const [name, modifiers, taken] of [['ArrowRight', 'Alt', false], ['ArrowDown', 'Control', false],
        ['ArrowUp', 'Meta', false], ['End', 'Control', false], ['ArrowUp', '', true], ['ArrowDown', '', true]]) {
        await key(name, modifiers);
        assert.equal(await evaluate('window.taken'), taken, `${modifiers} ${name}: taken from the browser`);
    }
    await assertFocus(/^S 2, 1: /, "the browser's keys");
}

async function checkPoke() {
    await evaluate('pokeStep = 0.02; pin({ entry: "S", index: 7 })');
    const rows = await evaluate(`[...document.querySelectorAll('#poke-table tr')].slice(1).map(row =>
        [...row.cells].map(cell => Number(cell.textContent.replaceAll('−', '-'))))`);
    assert.equal(rows.length, 4, 'rows of the table of pokes');
    rows.slice(1).forEach(row => assert.ok(Math.abs(row[4] - 4) < 0.1,
        `half the step makes the difference ${row[4]} times smaller, not 4 times`));
    await evaluate('pin({ entry: "V", index: 0 })');
    assert.match(await evaluate('document.getElementById("inspector").textContent'), /straight line/,
        'the loss is a straight line in V');
    await evaluate('unpin()');
}

// By its own controls: prepare, set three numbers, check.
async function checkChallenges() {
    const assertJudged = async (name, want, what) => {
        const got = await evaluate(`(() => { const box = document.getElementById('challenge-${name}');
            box.querySelectorAll('button')[1].click(); return box.querySelector('[role=status]').className; })()`);
        assert.equal(got, want, `challenge ${name}, ${what}`);
    };
    const begin = name => evaluate(`document.querySelector('#challenge-${name} button').click()`);
    await begin('zero');
    await assertJudged('zero', 'bad', 'nothing is pinned');
    await evaluate('pin({ entry: "dS", index: 1 })');
    await assertJudged('zero', 'good', 'a masked score');
    await begin('copy');
    await assertJudged('copy', 'bad', 'nothing is done');
    for (const at of [1, 6, 11]) {
        await evaluate(`pin({ entry: "Wq", index: ${16 + at} })`);
        await evaluate(`(() => { const input = document.getElementById('change'); input.value = 8;
            input.dispatchEvent(new Event('change')); })()`);
    }
    await assertJudged('copy', 'good', 'each query is the key before it, 8 times over');
    await begin('vanish');
    const norms = await evaluate(`Array.from({ length: 6 }, (_, i) =>
        Math.hypot(...model.matrix('dQ').values.subarray(4 * i, 4 * i + 4)))`);
    for (let row = 0; row < 6; row++) {
        await evaluate(`pin({ entry: "dQ", index: ${4 * row} })`);
        await assertJudged('vanish', norms[row] === Math.min(...norms.slice(1)) ? 'good' : 'bad', `row ${row} of ${norms}`);
    }
    await evaluate('unpin()');
}

const setLanguage = to => evaluate(`(() => { const select = document.getElementById('language');
    select.value = '${to}'; select.dispatchEvent(new Event('change')); })()`);

async function checkLayout() {
    const sizes = { text: 'a b c d e f g h i j k l', heads: 4, size: 8, loss: 'next', temperature: 0 };
    for (const [width, language] of [[360, 'ru'], [360, 'en'], [800, 'en'], [1400, 'en']]) {
        await setLanguage(language);
        await page.call('Emulation.setDeviceMetricsOverride', { width, height: 800, deviceScaleFactor: 1, mobile: false });
        await set(sizes);
        for (const entry of ['dX', 'S']) {
            await evaluate(`pin({ entry: '${entry}', index: 9 })`);
            const [wide, inner, room] = await evaluate(`(box => [document.documentElement.scrollWidth, box.scrollWidth,
                box.clientWidth])(document.getElementById('inspector'))`);
            assert.ok(wide <= width, `at ${width} px the page in ${language} is ${wide} px wide`);
            assert.ok(inner <= room, `at ${width} px what is said of ${entry} in ${language} takes ${inner} px of ${room}`);
        }
    }
    await evaluate('unpin()');
    for (const [motion, seconds] of [['reduce', '0s'], ['no-preference', '0.2s']]) {
        await page.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-reduced-motion', value: motion }] });
        assert.equal(await evaluate('getComputedStyle(document.querySelector(".matrix")).transitionDuration'), seconds,
            `prefers-reduced-motion: ${motion}`);
    }
}

async function checkTexts() {
    const missing = await evaluate(`(() => {
        const names = l => Object.keys(TEXT[l]).sort().join();
        const used = [...document.querySelectorAll('[data-text], [data-name]')].map(n => n.dataset.text || n.dataset.name);
        return [names('en') === names('ru') ? '' : 'names differ', ...used.filter(name => !TEXT.ru[name]),
            ...STEPS.map(s => 'step_' + s[1]).filter(name => !TEXT.ru[name])].filter(Boolean);
    })()`);
    assert.deepEqual(missing, [], 'texts that a language lacks');
    await setLanguage('ru');
    assert.equal(await evaluate('document.documentElement.lang'), 'ru', 'the language of the page');
    assert.match(await evaluate('document.body.innerText'), /Градиенты внимания/, 'the title in Russian');
    const unnamed = await evaluate(`[...document.querySelectorAll('button, input, select')].filter(control =>
        !control.textContent.trim() && !control.getAttribute('aria-label') && !control.closest('label')).length`);
    assert.equal(unnamed, 0, 'controls without a name');
}

try {
    await checkNumbers();
    await checkOtherModels();
    await checkTraining();
    await checkPoke();
    await checkKeyboard();
    await checkChallenges();
    await checkLayout();
    await checkTexts();
    assert.deepEqual(page.requests.slice(1), [], 'requests');
    assert.deepEqual(page.messages, [], 'console');
    console.log(`check_explorer: ${compared} cells and 400 losses are the programs'; 0 requests, 0 messages`);
} finally {
    await page.close();
    rmSync(folder, { recursive: true });
}
