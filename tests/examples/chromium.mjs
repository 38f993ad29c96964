// SPDX-License-Identifier: MIT
//
// chromium.mjs - a headless Chromium, driven over a pipe by its DevTools protocol; no package is needed.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

// Opens a page. The result has evaluate(expression), key(name, modifier), call(method, parameters), and lists of what the
// page asked of the network and wrote to its console.
export async function openPage(address, { width = 1400, height = 900 } = {}) {
    const profile = mkdtempSync(join(tmpdir(), 'attngrad-'));
    const child = spawn(process.env.CHROMIUM || 'chromium', ['--headless=new', '--no-sandbox', '--disable-gpu',
        '--disable-dev-shm-usage', '--remote-debugging-pipe', '--no-first-run', '--lang=en', `--user-data-dir=${profile}`,
        'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    const requests = [], messages = [], waiting = new Map();
    let number = 0, rest = '', session;

    function receive(message) {
        const { id, method, params, result, error } = message;
        if (id) {
            const { resolve, reject } = waiting.get(id);
            waiting.delete(id);
            return error ? reject(new Error(error.message)) : resolve(result);
        }
        if (method === 'Network.requestWillBeSent' && !/^(data|blob):/.test(params.request.url))
            requests.push(params.request.url);
        if (method === 'Runtime.consoleAPICalled') messages.push(JSON.stringify(params.args));
        if (method === 'Runtime.exceptionThrown') messages.push(JSON.stringify(params.exceptionDetails));
        if (method === 'Log.entryAdded') messages.push(params.entry.text);
    }
    child.stdio[4].setEncoding('utf8').on('data', text => {
        const parts = (rest + text).split('\0');
        rest = parts.pop();
        parts.forEach(part => receive(JSON.parse(part)));
    });
    child.on('error', error => { waiting.forEach(({ reject }) => reject(error)); });

    function call(method, params = {}) {
        return new Promise((resolve, reject) => {
            waiting.set(++number, { resolve, reject });
            child.stdio[3].write(JSON.stringify({ id: number, method, params, sessionId: session }) + '\0');
        });
    }
    async function evaluate(expression) {
        const { result, exceptionDetails } = await call('Runtime.evaluate',
            { expression, returnByValue: true, awaitPromise: true });
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description || exceptionDetails.text);
        return result.value;
    }
    async function key(name, modifier = '') {
        const codes = { Enter: 13, Escape: 27, Tab: 9, ArrowLeft: 37, ArrowUp: 38, ArrowRight: 39, ArrowDown: 40,
            PageUp: 33, PageDown: 34, Home: 36, End: 35, ' ': 32 };
        const modifiers = { '': 0, Alt: 1, Control: 2, Meta: 4, Shift: 8 }[modifier];
        const event = { key: name, code: name, windowsVirtualKeyCode: codes[name], modifiers };
        if (name === 'Enter') event.text = '\r';
        await call('Input.dispatchKeyEvent', { type: 'keyDown', ...event });
        await call('Input.dispatchKeyEvent', { type: 'keyUp', ...event });
    }
    async function close() {
        await call('Browser.close').catch(() => {});
        await new Promise(resolve => (child.exitCode === null ? child.on('exit', resolve) : resolve()));
        rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    }

    const { targetId } = await call('Target.createTarget', { url: 'about:blank' });
    session = (await call('Target.attachToTarget', { targetId, flatten: true })).sessionId;
    for (const domain of ['Network', 'Runtime', 'Log', 'Page']) await call(`${domain}.enable`);
    await call('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false });
    await call('Page.navigate', { url: address });
    for (let i = 0; await evaluate('document.documentElement?.dataset.ready') !== 'true'; i++) {
        if (i === 300) throw new Error(`the page is not ready: ${messages.join('; ')}`);
        await new Promise(resolve => setTimeout(resolve, 100));
    }
    return { call, evaluate, key, close, requests, messages };
}
