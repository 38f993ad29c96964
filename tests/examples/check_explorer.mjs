// SPDX-License-Identifier: MIT
//
// check_explorer.mjs PAGE PROGRAM - opens the page from file:// and demands: no request, no message on the console, the
// program's numbers in every cell, the program's losses in training, the quadratic law of pokes, all of it by keyboard,
// no scrolling sideways at 360 px, every text in both languages.
import { strict as assert } from 'node:assert';
import { execFileSync } from 'node:child_process';
import { resolve } from 'node:path';
import { openPage } from './chromium.mjs';

const [file, program] = process.argv.slice(2);
const SENTENCES = ['the cat sat on the mat', 'to be or not to be', 'every query reads one key at a time'];
const page = await openPage('file://' + resolve(file));
const { evaluate, key } = page;
let compared = 0;

const native = options => JSON.parse(execFileSync(program, options, { encoding: 'utf8', maxBuffer: 1e8 }));

// Sets controls by their ids, as a reader would.
const SET = `((values) => {
    for (const [id, value] of Object.entries(values)) {
        const control = document.getElementById(id);
        if (typeof value === 'boolean') control.checked = value; else control.value = value;
    }
    document.getElementById('text').dispatchEvent(new Event('change', { bubbles: true }));
})`;
const set = values => evaluate(`${SET}(${JSON.stringify(values)})`);

// What every cell says to a screen reader, which has six decimals or five digits, and what the library has.
const READ = `Object.fromEntries([...tables].map(([name, t]) => [name, {
    said: t.cells.map(td => td.getAttribute('aria-label').replace(/.*: /, '')), values: Array.from(model.matrix(name).values),
    seen: t.cells.map(td => td.textContent) }]))`;

// The same double, but for the last digits where the two libms differ.
function same(got, want, where) {
    assert.ok(Math.abs(got - want) <= 1e-13 * (1 + Math.abs(want)), `${where}: ${got}, program ${want}`);
}

function compareMatrices(shown, { matrices }, where) {
    const hidden = Object.keys(matrices).filter(name => !(name in shown));
    assert.deepEqual(hidden, ['dtarget'], where);
    for (const [name, { said, values, seen }] of Object.entries(shown)) {
        const want = matrices[name].values;
        assert.equal(values.length, want.length, name);
        values.forEach((x, i) => same(x, want[i], `${where} ${name}[${i}]`));
        said.forEach((text, i) => {
            compared++;
            if (text === 'hidden by the mask') return assert.equal(seen[i], '');
            same(Math.abs(Number(text.replace('−', '-')) - want[i]) <= 5.1e-7 + 1e-4 * Math.abs(want[i]) ? 0 : 1, 0,
                `${where} ${name}[${i}] says ${text}, program ${want[i]}:`);
            assert.equal(text === '0', want[i] === 0, `${where} ${name}[${i}]: an exact 0`);
        });
    }
}

async function checkNumbers() {
    const yes = (on, name) => (on ? `--${name}` : `--no-${name}`);
    for (let seed = 1; seed <= 5; seed++)
        for (const text of SENTENCES)
            for (let switches = 0; switches < 8; switches++) {
                const scale = !(switches & 1), causal = !(switches & 2), residual = !!(switches & 4);
                await set({ text, seed, scale, causal, residual });
                const want = native(['--text', text, '--seed', seed, yes(scale, 'scale'), yes(causal, 'causal'),
                    yes(residual, 'residual')]);
                compareMatrices(await evaluate(READ), want, `"${text}" seed ${seed} switches ${switches}`);
            }
    await set({ text: SENTENCES[0], seed: 3, scale: true, causal: true, residual: true, loss: 'next', size: 3, dropout: 0.25 });
    compareMatrices(await evaluate(READ), native(['--seed', 3, '--residual', '--loss', 'next', '--size', 3, '--dropout', 0.25]),
        'next word with dropout');
    await set({ dropout: 0, residual: false, size: 4 });
}

async function checkTraining() {
    for (const loss of ['square', 'next']) {
        await set({ loss, seed: 1 });
        const got = await evaluate('for (let i = 0; i < 200; i++) trainOnce(); losses.map(Math.fround)');
        const want = native(['--loss', loss, '--steps', 200]).losses.map(Math.fround);
        assert.equal(want.length, 200);
        assert.deepEqual(got, want, `losses of ${loss}`);
    }
    await set({ loss: 'sum' });
}

const focused = () => evaluate('document.activeElement.getAttribute("aria-label") || document.activeElement.id');

// From the top by Tab to the first matrix, by arrows and pages to a score; pin, poke, unpin.
async function checkKeyboard() {
    await evaluate('document.getElementById("all").focus()');
    await key('Tab');
    assert.match(await focused(), /^E 0, 0: /);
    await key('ArrowRight');
    await key('ArrowDown');
    assert.match(await focused(), /^E 1, 1: /);
    for (let i = 0; i < 9; i++) await key('PageDown');
    assert.match(await focused(), /^S 0, 0: /);
    for (const name of ['ArrowDown', 'ArrowDown', 'ArrowRight']) await key(name);
    assert.match(await focused(), /^S 2, 1: /);
    assert.match(await evaluate('document.getElementById("inspector").textContent'), /S\[2,1\]/);
    await key('Enter');
    assert.equal(await evaluate('pinned.entry'), 'S');
    await key('Enter');
    assert.equal(await focused(), 'unpin');
    for (let i = 0; i < 40 && await focused() !== 'poke'; i++) await key('Tab');
    assert.equal(await focused(), 'poke');
    const before = await evaluate('pokeStep');
    await key('ArrowRight');
    assert.ok(await evaluate('pokeStep') > before);
    await key('Escape');
    assert.equal(await evaluate('pinned'), null);
    assert.match(await focused(), /^S 2, 1: /);
    await evaluate('document.getElementById("forth").focus()');
    await key('Enter');
    assert.match(await evaluate('document.getElementById("step-text").textContent'), /^1\/19/);
    await evaluate('document.getElementById("all").click()');
}

async function checkPoke() {
    await evaluate('pokeStep = 0.02; pin({ entry: "S", index: 7 })');
    const rows = await evaluate(`[...document.querySelectorAll('#poke-table tr')].slice(1).map(row =>
        [...row.cells].map(cell => Number(cell.textContent.replaceAll('−', '-'))))`);
    assert.equal(rows.length, 4);
    rows.slice(1).forEach(row => assert.ok(Math.abs(row[4] - 4) < 0.1, `ratio ${row[4]}`));
    await evaluate('pin({ entry: "V", index: 0 })');
    assert.match(await evaluate('document.getElementById("inspector").textContent'), /straight line/);
    await evaluate('unpin()');
}

// By its own controls: prepare, set three numbers, check.
async function checkChallenges() {
    const check = name => evaluate(`(() => { const box = document.getElementById('challenge-${name}');
        box.querySelectorAll('button')[1].click(); return box.querySelector('[role=status]').className; })()`);
    const begin = name => evaluate(`document.querySelector('#challenge-${name} button').click()`);
    await begin('zero');
    assert.equal(await check('zero'), 'bad');
    await evaluate('pin({ entry: "dS", index: 1 })');
    assert.equal(await check('zero'), 'good');
    await begin('copy');
    assert.equal(await check('copy'), 'bad');
    for (const at of [1, 6, 11]) {
        await evaluate(`pin({ entry: "Wq", index: ${16 + at} })`);
        await evaluate(`(() => { const input = document.getElementById('change'); input.value = 8;
            input.dispatchEvent(new Event('change')); })()`);
    }
    assert.equal(await check('copy'), 'good');
    await begin('vanish');
    const results = [];
    for (let row = 0; row < 6; row++) {
        await evaluate(`pin({ entry: "dQ", index: ${4 * row} })`);
        results.push(await check('vanish'));
    }
    assert.equal(results.filter(result => result === 'good').length, 1);
    await evaluate('unpin()');
}

async function checkLayout() {
    const sizes = { text: 'a b c d e f g h i j k l', heads: 4, size: 8, loss: 'next', temperature: 0 };
    for (const width of [360, 800, 1400]) {
        await page.call('Emulation.setDeviceMetricsOverride', { width, height: 800, deviceScaleFactor: 1, mobile: false });
        await set(sizes);
        await evaluate('pin({ entry: "dX", index: 9 })');
        assert.ok(await evaluate('document.documentElement.scrollWidth') <= width, `${width} px scrolls sideways`);
    }
    await evaluate('unpin()');
}

async function checkTexts() {
    const missing = await evaluate(`(() => {
        const names = l => Object.keys(TEXT[l]).sort().join();
        const used = [...document.querySelectorAll('[data-text], [data-name]')].map(n => n.dataset.text || n.dataset.name);
        return [names('en') === names('ru') ? '' : 'names differ', ...used.filter(name => !TEXT.ru[name]),
            ...STEPS.map(s => 'step_' + s[1]).filter(name => !TEXT.ru[name])].filter(Boolean);
    })()`);
    assert.deepEqual(missing, []);
    await evaluate(`(() => { const s = document.getElementById('language'); s.value = 'ru'; s.dispatchEvent(new Event('change')); })()`);
    assert.equal(await evaluate('document.documentElement.lang'), 'ru');
    assert.match(await evaluate('document.body.innerText'), /Градиенты внимания/);
    const unnamed = await evaluate(`[...document.querySelectorAll('button, input, select')].filter(control =>
        !control.textContent.trim() && !control.getAttribute('aria-label') && !control.closest('label')).length`);
    assert.equal(unnamed, 0, 'controls without a name');
}

try {
    await checkNumbers();
    await checkTraining();
    await checkPoke();
    await checkKeyboard();
    await checkChallenges();
    await checkLayout();
    await checkTexts();
    assert.deepEqual(page.requests.slice(1), [], 'requests');
    assert.deepEqual(page.messages, [], 'console');
    console.log(`check_explorer: ${compared} cells and 400 losses are the program's; 0 requests, 0 messages`);
} finally {
    await page.close();
}
